"""The callback token of a request: in its path, or in the Authorization header beside which an API key would do, too.

A token is told from an API key by its first letters alone, so a bad one is never tried as the other.
"""

import re

from starlette.requests import Request

from cronsvc.domain.callback_token import PREFIX, CallbackGrant
from cronsvc.errors import Unauthenticated
from cronsvc.services.callbacks import REFUSED, Callbacks

_BEARER = re.compile(rf"bearer +({PREFIX}[\x21-\x7e]{{1,512}}) *", re.IGNORECASE | re.ASCII)


async def path_grant(request: Request, callbacks: Callbacks) -> CallbackGrant:
    """What the token in the path may speak for; Unauthenticated without a good one."""
    return await callbacks.authenticate(request.path_params["token"])


async def header_grant(request: Request, callbacks: Callbacks) -> CallbackGrant | None:
    """What the token in the header may speak for, None when there is none. Unauthenticated: bad, or for another one."""
    given = request.headers.getlist("authorization")
    match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        return None
    grant = await callbacks.authenticate(match.group(1))
    if request.path_params["executionId"] != str(grant.execution_id):
        raise Unauthenticated(REFUSED)
    return grant
