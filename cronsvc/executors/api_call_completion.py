"""API_CALL that its target ends later.

    "completion": {"mode": "callback", "heartbeatSeconds": 60, "timeoutSeconds": 10800}

The request carries a URL that is good for this attempt alone. A target that answers 202 has taken the work over: the
attempt leaves the worker, and the target POSTs to `<url>/progress` before `heartbeatSeconds` have passed, again and
again, and to `<url>/complete` before `timeoutSeconds` have. Any other answer is the end, as without `completion`. Once
the status 202 is there it counts, even if the rest of the answer breaks off.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cronsvc.domain.execution import Awaiting, ErrorDetail, Outcome
from cronsvc.errors import FieldError, InvalidInput, Unavailable
from cronsvc.executors.api_call_answer import Exchange
from cronsvc.executors.api_call_config import PreparedCall
from cronsvc.executors.base import NotInstalled, RunContext

FIELD = "completion"
PATH = f"taskPayload.config.{FIELD}"
CALLBACKS_PATH = "/api/v1/callbacks"
URL_HEADER = "X-Cronsvc-Callback-Url"
PLAIN_URL_HEADER = "Callback-Url"  # the same for targets that know nothing of us
HEARTBEAT_HEADER = "X-Cronsvc-Callback-Heartbeat-Seconds"
TIMEOUT_HEADER = "X-Cronsvc-Callback-Timeout-Seconds"

ACCEPTED = 202
LONGEST_SECONDS = 604_800  # as long as an attempt may take in a worker

NO_PUBLIC_URL = "cannot be had here: targets need a URL to call, and the operator has not set CRONSVC_PUBLIC_URL"


class CompletionConfig(BaseModel):
    """The member `completion` of an API_CALL's config."""

    model_config = ConfigDict(strict=True, extra="forbid")

    mode: Literal["sync", "callback"] = "callback"
    heartbeatSeconds: int | None = Field(None, ge=1, le=LONGEST_SECONDS)  # noqa: N815 a person writes it so
    timeoutSeconds: int = Field(10_800, ge=1, le=LONGEST_SECONDS)  # noqa: N815

    @model_validator(mode="after")
    def _heartbeat_fits(self) -> "CompletionConfig":
        if self.heartbeatSeconds is not None and self.heartbeatSeconds > self.timeoutSeconds:
            raise ValueError("heartbeatSeconds must not be longer than timeoutSeconds")
        return self


WORDS = {
    "mode": "must be callback or sync",
    "heartbeatSeconds": f"must be a whole number from 1 to {LONGEST_SECONDS}, or null: 60, or the timeout if shorter",
    "timeoutSeconds": f"must be a whole number from 1 to {LONGEST_SECONDS}",
}
DEFAULT_HEARTBEAT_SECONDS = 60


class CallbackFault(Exception):
    """No token could be made, so nothing was sent."""


def with_completion(
    config: Mapping[str, Any], public_url: str | None, prepare: Callable[[Mapping[str, Any]], PreparedCall]
) -> PreparedCall:
    """What `prepare` makes of the rest of the config, with its completion; every fault of both is named at once."""
    if not isinstance(config, Mapping) or config.get(FIELD) is None:
        return prepare(config)
    faults = list(_faults(config))
    try:
        call = prepare({name: value for name, value in config.items() if name != FIELD})
    except InvalidInput as error:
        raise InvalidInput([*error.errors, *faults]) if faults else error from None
    if faults:
        raise InvalidInput(faults)
    wanted = CompletionConfig.model_validate(config[FIELD])
    if wanted.mode == "sync":
        return call
    if public_url is None:
        # A worker that has not been told hands it back, for one that has.
        raise NotInstalled([FieldError(PATH, NO_PUBLIC_URL)])
    heartbeat = wanted.heartbeatSeconds or min(DEFAULT_HEARTBEAT_SECONDS, wanted.timeoutSeconds)
    return replace(call, completion=Awaiting(heartbeat, wanted.timeoutSeconds))


def _faults(config: Mapping[str, Any]) -> Iterator[FieldError]:
    try:
        CompletionConfig.model_validate(config[FIELD])
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_context=False, include_url=False):
            name = str(fault["loc"][0])[:100] if fault["loc"] else ""
            if name in WORDS:
                yield FieldError(f"{PATH}.{name}", WORDS[name])
            elif name:
                yield FieldError(f"{PATH}.{name}", f"is not a setting of completion; known are {', '.join(WORDS)}")
            elif fault["type"] == "value_error":
                yield FieldError(PATH, str(fault["msg"]).removeprefix("Value error, "))
            else:
                yield FieldError(PATH, f"must be an object with {', '.join(WORDS)}")
    headers = config.get("headers")
    for name in headers if isinstance(headers, dict) else ():
        if isinstance(name, str) and name.lower() == PLAIN_URL_HEADER.lower():
            yield FieldError(f"taskPayload.config.headers.{name}", "is set by cronsvc when there is a completion")


async def callback_headers(config: PreparedCall, context: RunContext, public_url: str | None) -> list[tuple[str, str]]:
    """What tells the target where to call; nothing for a call that ends with its answer. CallbackFault: no token."""
    wanted = config.completion
    if wanted is None:
        return []
    if context.callback_tokens is None or public_url is None:
        raise CallbackFault("no callback can be offered here; nothing was sent")
    try:
        token = await context.callback_tokens.token(context.timeout_seconds + wanted.timeout_seconds)
    except Unavailable:
        raise CallbackFault(
            "the token for the callback could not be signed: Postgres is away; nothing was sent"
        ) from None
    context.secrets.hide(token)  # a target may echo what it was sent
    url = f"{public_url}{CALLBACKS_PATH}/{token}"
    return [
        (URL_HEADER, url),
        (PLAIN_URL_HEADER, url),
        (HEARTBEAT_HEADER, str(wanted.heartbeat_seconds)),
        (TIMEOUT_HEADER, str(wanted.timeout_seconds)),
    ]


def not_offered(fault: CallbackFault) -> Outcome:
    """The outcome of an attempt whose target was not called."""
    return Outcome(error=ErrorDetail("callback_unavailable", str(fault)))


def taken_over(config: PreparedCall, exchange: Exchange) -> Outcome | None:
    """The outcome when the target has answered that it takes the work over; None when its answer is the end."""
    if config.completion is None or exchange.status != ACCEPTED:
        return None
    return Outcome(awaiting=config.completion, http_status=ACCEPTED)
