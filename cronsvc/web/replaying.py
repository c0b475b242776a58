"""Idempotency-Key around any handler: the same request again gets the same answer, and nothing is done twice.

What is kept is a success. A request that changed nothing (refused, tried out, or Postgres was away for all of its
items) leaves its key free. An answer that cannot be given again, because it is too large, a stream, or says that a part
was not done, is kept as a 409 that says what happened: then a new key is needed for what is missing.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace

import structlog
from starlette.requests import Request
from starlette.responses import Response

from cronsvc.errors import Conflict, InvalidInput, Unavailable
from cronsvc.services.replaying import LARGEST_ANSWER, KeyedRequest, StillRunning, TooManyKeys
from cronsvc.services.triggering import FIELD
from cronsvc.store.effects import Claim
from cronsvc.store.request_keys import KeptAnswer
from cronsvc.web.problems import CONFLICT, TOO_MANY, Refused, problem_of, problem_response
from cronsvc.web.routing import Call, Route, request_id_of

log = structlog.get_logger("cronsvc.web")

ANSWER_NOT_KEPT = "answer_not_kept"
_KEPT_HEADERS = ("content-type", "etag", "location")
_RETRY_SECONDS = "2"
_FULL_SECONDS = "3600"
_UNFINISHED = "cronsvc.unfinished"


def leave_unfinished(request: Request, words: str) -> None:
    """Say that a part of what was asked for was not done, and which: the answer is not given again."""
    request.scope[_UNFINISHED] = words


def once(route: Route) -> Route:
    """Return the route with a handler that honours the header, where the route takes it and its handler does not."""
    if not route.takes_idempotency_key or route.keeps_key_itself:
        return route

    async def handler(call: Call) -> Response:
        keys = call.request.headers.getlist(FIELD)
        if not keys:
            return await route.handler(call)
        if len(keys) > 1:
            raise InvalidInput.of(FIELD, "is given twice; give it once")
        return await _once(route, call, keys[0])

    return replace(route, handler=handler)


async def _once(route: Route, call: Call, key: str) -> Response:
    replays = call.services.replays
    try:
        begun = await replays.begin(KeyedRequest(call.caller, route.name, key, _content(call)))
    except StillRunning as error:
        raise Refused(CONFLICT, str(error), {"Retry-After": _RETRY_SECONDS}) from None
    except TooManyKeys as error:
        raise Refused(TOO_MANY, str(error), {"Retry-After": _FULL_SECONDS}) from None
    if isinstance(begun, KeptAnswer):
        return Response(begun.body, begun.status, headers=dict(begun.headers) | {"Idempotent-Replayed": "true"})
    try:
        with replays.acting(begun):
            response = await route.handler(call)
    except Exception:
        await _release(call, begun)
        raise
    if not begun.took_effect and (_is_tried_out(call) or _UNFINISHED in call.request.scope):
        await _release(call, begun)
        return response
    try:
        await replays.keep(begun, _kept(call, response))
    except Unavailable as error:  # what was asked for is done; only a repetition will not learn how it ended
        log.warning(ANSWER_NOT_KEPT, route=route.name, reason=str(error))
    return response


def _is_tried_out(call: Call) -> bool:
    return isinstance(call.document, dict) and call.document.get("dryRun") is True


def _kept(call: Call, response: Response) -> KeptAnswer:
    """The answer for whoever asks again; in place of one that cannot be given again, what has become of the request."""
    body = getattr(response, "body", None)  # a stream has none
    words = call.request.scope.get(_UNFINISHED)
    if words is None and body is not None and len(body) <= LARGEST_ANSWER:
        return KeptAnswer(response.status_code, _headers(response), bytes(body))
    if words is None:
        words = f"was carried out and answered with {response.status_code}, in more than is kept"
    said = f"the first request with this key {words}. Look at what is there, and use a new key for what is missing"
    problem = problem_response(problem_of(Conflict(said)), request_id=request_id_of(call.request))
    headers = _headers(problem) | {name: value for name, value in _headers(response).items() if name == "location"}
    return KeptAnswer(problem.status_code, headers, bytes(problem.body))


async def _release(call: Call, claim: Claim) -> None:
    with suppress(Unavailable):  # then the key is free by itself after a while
        await call.services.replays.release(claim)


def _headers(response: Response) -> dict[str, str]:
    return {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}


def _content(call: Call) -> bytes:
    """What was asked for, spelled in one way whatever the order of members."""
    document = call.document
    if isinstance(document, bytes):
        document = hashlib.sha256(document).hexdigest()
    url = call.request.url
    return json.dumps([url.path, url.query, document], sort_keys=True, separators=(",", ":")).encode()
