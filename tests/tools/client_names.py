"""What the generated client calls things: rules, and the few names that the rules would make ugly."""

import keyword
import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel
from pydantic.alias_generators import to_camel, to_snake

METHOD_NAMES: Mapping[str, str] = {
    "backfillJob": "start",
    "cleanupJobs": "cleanup",
    "listJobExecutions": "of_job",
}
"""Operations whose method is named by hand."""

NOUNS: Mapping[str, str] = {"monitoring": "Jobs", "maintenance": "MaintenanceWindow"}
"""What the operations of a tag are about, where it is not the tag's own singular."""


def snake(name: str) -> str:
    """The name in Python. ValueError: the API's name could not be told from it."""
    found = to_snake(name)
    if to_camel(found) != name:
        raise ValueError(f"{name} is not camelCase as Python names can tell it")
    return f"{found}_" if keyword.iskeyword(found) else found


def member(name: str) -> str:
    """The name of a model's field: as `snake`, and beside what every model has."""
    found = snake(name)
    return f"{found}_" if hasattr(BaseModel, found) or found == "etag" else found


def parameter(name: str) -> str:
    """The name of an argument: as `snake`, and beside the builtins that lists of arguments would hide."""
    found = snake(name)
    return f"{found}_" if found in ("all", "id", "type", "format", "min", "max") else found


def class_name(words: str) -> str:
    """`dead letters` is DeadLetters."""
    return "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", words) if word)


def module_name(tag: str) -> str:
    """The module and the attribute of a tag's operations."""
    return "_".join(re.findall(r"[a-z0-9]+", tag.lower()))


def method_name(operation: str, tag: str) -> str:
    """The method's name within its group: `createJob` is `create`, `pauseJobs` is `pause_many`, `getMe` is `me`."""
    if operation in METHOD_NAMES:
        return METHOD_NAMES[operation]
    whole = class_name(tag)
    noun = NOUNS.get(tag, whole[:-1] if whole.endswith("s") else whole)
    rest, many = operation, False
    for form in (f"{noun}s", noun):
        if form in operation:
            rest, many = operation.replace(form, "", 1), form != noun
            break
    words = to_snake(rest)
    first, _, others = words.partition("_")
    if first in ("get", "list") and others:
        words = others
    elif many and first != "list":
        words = f"{words}_many"
    return f"{words}_" if keyword.iskeyword(words) else words


def model_names(schemas: Iterable[str]) -> dict[str, str]:
    """A class name for each schema; `Answer` at the end is left out where that leaves no doubt.

    Two models of one name come with their modules before it; the module's subject tells them apart.
    """
    plain = {schema: _without_module(schema) for schema in schemas}
    taken = set(plain.values())
    names = {}
    for schema, name in plain.items():
        short = name.removesuffix("Answer")
        names[schema] = short if short and short not in taken and short not in ("Pages",) else name
    if len(set(names.values())) < len(names):
        raise ValueError(f"two models would have one name: {sorted(names.values())}")
    return names


def _without_module(schema: str) -> str:
    *modules, name = re.split(r"__", schema)
    name = re.sub(r"[^A-Za-z0-9]+(\w)", lambda match: match[1].upper(), name)
    if not modules:
        return name
    subject = class_name(modules[-1].removesuffix("_models"))
    return name if name.startswith(subject) else subject + name
