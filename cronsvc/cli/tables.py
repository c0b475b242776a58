"""How commands print: aligned columns for people, with `--json` the API's documents for programs.

What others wrote, such as a job's description or a target's error, is shown and never acted on by the terminal: every
character that is not printable appears as its escape.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cronsvc.client.shapes import Answer

AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers, as JSON.")]


def print_document(found: "Answer") -> None:
    """Print an answer as the API writes it."""
    print(json.dumps(found.model_dump(mode="json", by_alias=True), indent=2))


def print_documents(found: "Iterable[Answer]") -> None:
    """Print answers as one array, each as the API writes it."""
    print(json.dumps([each.model_dump(mode="json", by_alias=True) for each in found], indent=2))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print the rows below their titles; an absent value is a dash, an instant is RFC 3339 in UTC."""
    cells = [list(titles), *([text(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def text(value: object) -> str:
    """One cell, in one line."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        instant = value.astimezone(UTC)
        return instant.isoformat(timespec="seconds" if instant.microsecond == 0 else "milliseconds").replace(
            "+00:00", "Z"
        )
    return harmless(str(value))


def harmless(words: str) -> str:
    """The text with escapes in place of what is not printable: line breaks, control sequences, marks that hide."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in words)
