"""Documents that have a revision: the ETag they are answered with, and the If-Match by which a change names it."""

import re

from starlette.responses import Response

from cronsvc.errors import InvalidInput
from cronsvc.web.answers import answer
from cronsvc.web.models import AnswerModel
from cronsvc.web.routing import Call

_ETAG = re.compile(r'"(\d{1,18})"', re.ASCII)


def revised(document: AnswerModel, revision: int, *, location: str | None = None) -> Response:
    """A document with its ETag; 201 for one that was made at `location`, else 200."""
    headers = {"ETag": f'"{revision}"'} | ({"Location": location} if location else {})
    return answer(document, status=201 if location else 200, headers=headers)


def expected_revision(call: Call) -> int | None:
    """The revision that If-Match names; None for any. InvalidInput: it is not an ETag of ours."""
    text = call.request.headers.get("if-match")
    if text is None or text.strip() == "*":
        return None
    match = _ETAG.fullmatch(text.strip())
    if match is None:
        raise InvalidInput.of("If-Match", 'must be an ETag as GET answered it, in quotes, such as "7"')
    return int(match.group(1))
