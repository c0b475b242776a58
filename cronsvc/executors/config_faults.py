"""What is wrong with a config, from a strict pydantic model, in the words that people get."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cronsvc.errors import FieldError, InvalidInput

PATH = "taskPayload.config"

Model = TypeVar("Model", bound=BaseModel)


def read_config(model: type[Model], config: object, *, kind: str) -> Model:
    """The config as `model`; InvalidInput names every bad field below `taskPayload.config` and repeats no value.

    A field's description completes the sentence "must be …".
    """
    return read_part(model, config, path=PATH, kind=kind)


def read_part(model: type[Model], config: object, *, path: str, kind: str) -> Model:
    """`read_config` for a part of a config, which stands at `path` and is called `kind`."""
    if not isinstance(config, Mapping):  # a definition written by SQL may hold anything
        raise InvalidInput.of(path, "must be an object")
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        faults: dict[str, str] = {}
        for fault in error.errors(include_input=False, include_context=False, include_url=False):
            name = str(fault["loc"][0])[:100] if fault["loc"] else ""
            field = f"{path}.{name}" if name else path
            faults.setdefault(field, _reason(model, name, fault["type"], str(fault["msg"]), kind))
        raise InvalidInput([FieldError(field, reason) for field, reason in faults.items()]) from None


def _reason(model: type[BaseModel], name: str, fault: str, message: str, kind: str) -> str:
    known = {field.alias or key: field for key, field in model.model_fields.items()}
    if fault == "missing":
        return "is required"
    if fault == "value_error":
        return message.removeprefix("Value error, ")
    if name in known:
        return f"must be {known[name].description}"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"is not a setting of {kind}; {hint}known are {', '.join(known)}"


def known_names(names: Mapping[str, Any]) -> str:
    """The names for a sentence that ends in "known: …"."""
    return ", ".join(sorted(names)) or "none"
