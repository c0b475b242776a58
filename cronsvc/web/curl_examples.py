"""The curl examples of the docs page and of the OpenAPI document, one for each route.

They live as text a person can paste in `examples/*.sh`; a test runs exactly that text against a server. A line

    #: <route name> <expected status> [VARIABLE=thing …]

begins an example and is not shown. `VARIABLE=thing` tells the test what must stand behind a variable where its name
alone does not say it; `with=thing` what must be there besides. Comments before the first example are for maintainers.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "examples"

_HEADING = re.compile(r"#: (?P<route>[A-Za-z]\w*) (?P<status>[1-5]\d\d)(?P<things>(?: [A-Za-z_]\w*=[a-z_]+)*)")
_VARIABLE = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*)\}|([A-Z][A-Z0-9_]*))")
_MOMENTS = {"FROM": "2026-03-01T00:00:00Z", "UNTIL": "2026-03-09T06:00:00Z"}
_BODY_OPTIONS = ("-d", "--data", "--data-raw")
_JSON_TYPES = {f"Content-Type: application/{name}json" for name in ("", "merge-patch+")}


class ExampleError(ValueError):
    """A file of examples says something that cannot be read; the message names file and line."""


@dataclass(frozen=True)
class Example:
    """One command as a person would type it. `things`: (variable or `with`, what stands behind it)."""

    route: str
    status: int
    command: str
    things: tuple[tuple[str, str], ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """What the shell must know, in order of appearance."""
        return tuple(dict.fromkeys(map(_name_of, _VARIABLE.finditer(self.command))))

    @cached_property
    def body(self) -> Any:
        """The JSON body it sends, with ids and moments for its variables; None for no body, a form or a file."""
        command, _, piped = self.command.partition("<<JSON\n")
        words = shlex.split(command)
        if not _JSON_TYPES.intersection(words):
            return None
        sent = [after for option, after in pairwise(words) if option in _BODY_OPTIONS]
        if piped:
            sent.append(piped.removesuffix("JSON"))
        return json.loads(_VARIABLE.sub(_stand_in, sent[-1])) if sent else None


def _stand_in(variable: re.Match[str]) -> str:
    """What the OpenAPI document shows for a variable: an id, or a moment."""
    name = _name_of(variable)
    return "42" if name.endswith("_ID") else _MOMENTS.get(name, "2026-03-08T00:00:00Z")


def _name_of(variable: re.Match[str]) -> str:
    return variable[1] or variable[2]


def read_examples(text: str, origin: str) -> Iterator[Example]:
    """Yield the examples of one file. ExampleError: a heading that is none, or one without a command."""
    heading: re.Match[str] | None = None
    began, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), "#:"], start=1):
        if not line.startswith("#:"):
            lines.append(line)
            continue
        if heading is not None:
            command = "\n".join(lines).strip()
            if not command:
                raise ExampleError(f"{origin}:{began}: {heading['route']} has no command")
            pairs = (pair.partition("=") for pair in heading["things"].split())
            things = tuple((variable, thing) for variable, _, thing in pairs)
            yield Example(heading["route"], int(heading["status"]), command, things)
        heading, began, lines = _HEADING.fullmatch(line), number, []
        if heading is None and line != "#:":
            raise ExampleError(f"{origin}:{number}: an example begins with '#: <route name> <status> [VARIABLE=thing]'")


@cache
def load_examples(folder: Path = FOLDER) -> Mapping[str, Example]:
    """Return the examples of all files by route name. ExampleError: one that cannot be read, or two of a route."""
    found: dict[str, Example] = {}
    for file in sorted(folder.glob("*.sh")):
        for example in read_examples(file.read_text(encoding="utf-8"), file.name):
            if example.route in found:
                raise ExampleError(f"{file.name}: {example.route} has two examples")
            found[example.route] = example
    return found
