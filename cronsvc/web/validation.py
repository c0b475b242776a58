"""From what a caller sent to a model, or to a list of everything that is wrong with it, in words.

pydantic finds the faults; this file says them the way a colleague would: which field, what is wrong, what would be
right. Nothing of pydantic's own wording leaves.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails
from starlette.datastructures import QueryParams

from cronsvc.errors import FieldError, InvalidInput
from cronsvc.web.body import check_texts
from cronsvc.web.models import RequestModel, api_names
from cronsvc.web.problems import MOST_ERRORS

M = TypeVar("M", bound=BaseModel)

# What people call things elsewhere.
_OTHER_NAMES: Mapping[str, str] = {
    "cron": "cronExpression",
    "schedule": "cronExpression",
    "expression": "cronExpression",
    "interval": "every",
    "payload": "taskPayload",
    "task": "taskPayload",
    "tz": "timezone",
    "enabled": "isActive",
    "active": "isActive",
    "retries": "maxAttempts",
    "attempts": "maxAttempts",
    "timeout": "timeoutSeconds",
    "jitter": "jitterSeconds",
    "id": "jobId",
}

_TYPE_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number within 64 bits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def read_model(model: type[M], document: Any) -> M:
    """Validate a parsed JSON document; InvalidInput lists every bad field by its API path."""
    if not isinstance(document, dict):
        raise InvalidInput.of("", f"the body must be a JSON object, not {_json_word(document)}")
    try:
        # JSON mode is what makes `strict` usable: enums and lists have only their JSON spelling here.
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        found = error
    whole = _with_whole_numbers(document, found)
    if whole is not None:
        try:
            return model.model_validate_json(json.dumps(whole))
        except ValidationError as error:
            found = error
    raise InvalidInput(explain(model, found)) from None


def _with_whole_numbers(document: dict[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """The document with 3.0 as 3 where a whole number was wanted: JSON has one kind of number. None: nowhere."""
    if error.error_count() > MOST_ERRORS:
        return None  # it is refused anyway, and this would cost as much again
    places = {
        detail["loc"]: int(value)
        for detail in error.errors(include_url=False, include_context=False)
        if detail["type"] == "int_type"
        and isinstance(value := detail["input"], float)
        and value.is_integer()
        and abs(value) < 2**53
    }
    return _replaced(document, (), places) if places else None


def _replaced(value: Any, place: tuple[int | str, ...], places: Mapping[tuple[int | str, ...], int]) -> Any:
    if place in places and isinstance(value, float):
        return places[place]
    if isinstance(value, dict):
        return {name: _replaced(each, (*place, name), places) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, (*place, at), places) for at, each in enumerate(value)]
    return value


def read_query(model: type[M], params: QueryParams) -> M:
    """Validate a query string; a parameter given twice or unknown is refused like a bad value."""
    given: dict[str, str] = {}
    twice: list[FieldError] = []
    for name, value in params.multi_items():
        if name in given:
            twice.append(FieldError(name, "is given twice; give it once"))
        given[name] = value
    bad = [*twice, *check_texts(given)][:MOST_ERRORS]
    if bad:
        raise InvalidInput(bad)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InvalidInput(explain(model, error)) from None


def explain(model: type[BaseModel], error: ValidationError) -> list[FieldError]:
    """Turn pydantic's findings into FieldErrors, one a place, in the order of the document; MOST_ERRORS at most.

    The bound is what a body of thousands of unknown names costs: each is compared with every name that is known.
    """
    found: dict[str, FieldError] = {}
    for detail in error.errors(include_url=False):
        field = ".".join(str(part) for part in detail["loc"])
        if field not in found:
            found[field] = FieldError(field, _reason(model, detail))
        if len(found) == MOST_ERRORS:
            break
    return list(found.values())


def _reason(model: type[BaseModel], detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(model, detail["loc"])
        case "value_error":
            return str(context["error"])
        case "enum" | "literal_error":
            return f"must be one of: {str(context['expected']).replace(chr(39), '').replace(' or ', ', ')}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "greater_than":
            return f"must be more than {context['gt']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "too_long":
            return f"must have at most {context['max_length']} entries"
        case "too_short":
            return f"must have at least {context['min_length']} entries"
        case kind if kind in _TYPE_WORDS:
            words = _TYPE_WORDS[kind]
            wrong_type = kind.endswith("_type") and not isinstance(detail["input"], BaseModel)
            return f"{words}, not {_json_word(detail['input'])}" if wrong_type else words
        case _:
            return "has a value that is not accepted here"


def _unknown(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """Say that a name is unknown, and which one was probably meant."""
    owner = _model_at(model, location[:-1])
    names = api_names(owner) if owner else []
    given = str(location[-1])
    if owner is not None and issubclass(owner, RequestModel) and given in owner.read_only:
        return "is set by cronsvc; leave it out"
    guess = _likely(given, names)
    if guess:
        return f"unknown field; did you mean {guess}?"
    return f"unknown field; known here: {', '.join(names)}" if names else "unknown field; leave it out"


def _likely(given: str, names: Sequence[str]) -> str | None:
    for candidate in (to_camel(given), _OTHER_NAMES.get(given.lower(), "")):
        if candidate in names:
            return candidate
    by_lower = {name.lower(): name for name in names}
    plain = given.replace("_", "").replace("-", "").lower()
    longer = [name for lower, name in by_lower.items() if len(plain) >= 3 and lower.startswith(plain)]
    if longer:
        return longer[0]
    close = difflib.get_close_matches(plain, by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def _model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """Follow a path of API names down to the model that owns the last of them; None when it leaves the models."""
    current: type[BaseModel] | None = model
    for part in location:
        if current is None:
            return None
        fields = {field.alias or name: field for name, field in current.model_fields.items()}
        current = _model_in(fields[str(part)].annotation) if str(part) in fields else None
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)


def _json_word(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
