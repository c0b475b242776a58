"""/api/v1/callbacks/{token} and the same for operators: what targets say of what they took over."""

import re

from starlette.responses import Response

from cronsvc.domain.execution import ErrorDetail
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.services.callbacks import Answer, Ending, Line, News
from cronsvc.web.answers import answer
from cronsvc.web.callback_models import ERROR_TYPE, CallbackAnswer, CallbackCompleteIn, CallbackProgressIn
from cronsvc.web.routing import Call

_KNOWN_TYPE = re.compile(ERROR_TYPE, re.ASCII)


async def report_progress(call: Call) -> Response:
    """Note a sign of life, by the bearer of a token or by an operator."""
    body: CallbackProgressIn = call.body
    lines = [Line(each) if isinstance(each, str) else Line(each.message, each.level, each.fields) for each in body.log]
    news = News(body.progress, body.note, lines)
    callbacks = call.services.callbacks
    if call.callback is not None:
        return _told(await callbacks.progress(call.callback, news))
    return _told(await callbacks.progress_as(call.id_in_path("executionId"), call.caller, news))


async def complete(call: Call) -> Response:
    """End an execution, by the bearer of a token or by an operator."""
    ending = _ending(call.body)
    callbacks = call.services.callbacks
    if call.callback is not None:
        return _told(await callbacks.complete(call.callback, ending))
    return _told(await callbacks.complete_as(call.id_in_path("executionId"), call.caller, ending))


def _ending(body: CallbackCompleteIn) -> Ending:
    is_success = body.status == "success"
    faults = []
    if is_success and body.error is not None:
        faults.append(FieldError("error", "is for a failure; leave it out, or set status to failure"))
    elif body.error is not None and not _KNOWN_TYPE.fullmatch(body.error.type):
        faults.append(
            FieldError("error.type", "must be a lower case word with digits and _, and none of our own words")
        )
    if faults:
        raise InvalidInput(faults)
    error = None if body.error is None else ErrorDetail(body.error.type, body.error.message)
    return Ending(is_success, result=body.result, error=error, retry=body.retry)


def _told(told: Answer) -> Response:
    return answer(
        CallbackAnswer(
            execution_id=told.execution_id,
            status=told.status,
            status_reason=told.status_reason,
            cancel_requested=told.cancel_requested,
            heartbeat_due=told.heartbeat_due,
            end_due=told.end_due,
            repeated=told.repeated,
        )
    )
