"""Idempotency-Key around any handler: the same request again gets the same answer, and nothing is done twice.

What is kept is a success. A request that was refused leaves its key free, because it changed nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import structlog
from starlette.responses import Response

from cronsvc.errors import InvalidInput, Unavailable
from cronsvc.services.replaying import KeyedRequest, StillRunning
from cronsvc.services.triggering import FIELD
from cronsvc.store.effects import Claim
from cronsvc.store.request_keys import KeptAnswer
from cronsvc.web.problems import CONFLICT, Refused
from cronsvc.web.routing import Call, Route

log = structlog.get_logger("cronsvc.web")

ANSWER_NOT_KEPT = "answer_not_kept"
_KEPT_HEADERS = ("content-type", "etag", "location")
_RETRY_SECONDS = "2"


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
    if isinstance(begun, KeptAnswer):
        return Response(begun.body, begun.status, headers=dict(begun.headers) | {"Idempotent-Replayed": "true"})
    try:
        with replays.acting(begun):
            response = await route.handler(call)
    except Exception:
        await _release(call, begun)
        raise
    try:
        await replays.keep(begun, KeptAnswer(response.status_code, _headers(response), bytes(response.body)))
    except Unavailable as error:  # what was asked for is done; only a repetition will not learn how it ended
        log.warning(ANSWER_NOT_KEPT, route=route.name, reason=str(error))
    return response


async def _release(call: Call, claim: Claim) -> None:
    with suppress(Unavailable):  # then the key is free by itself after a while
        await call.services.replays.release(claim)


def _headers(response: Response) -> Mapping[str, str]:
    return {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}


def _content(call: Call) -> bytes:
    """What was asked for, spelled in one way whatever the order of members."""
    document = call.document
    if isinstance(document, bytes):
        document = hashlib.sha256(document).hexdigest()
    url = call.request.url
    return json.dumps([url.path, url.query, document], sort_keys=True, separators=(",", ":")).encode()
