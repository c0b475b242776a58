"""Errors as RFC 9457 problem documents.

Every answer that is not a success is one of PROBLEMS: its `type` is a stable URI that leads to a page, its `detail`
says what is wrong here, and `errors` lists every bad field. The text of an unforeseen exception never leaves: it is
logged under the request id that the answer carries.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from cronsvc import errors
from cronsvc.errors import FieldError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
MOST_ERRORS = 100
"""So many faults of one request are listed; whoever has more has another problem."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One way to fail. `meaning` is what its page tells the person who met it."""

    slug: str
    status: int
    title: str
    meaning: str

    @property
    def type(self) -> str:
        """The stable URI of this kind, relative to the service."""
        return f"/problems/{self.slug}"


INVALID = ProblemKind(
    "invalid-input",
    422,
    "The request cannot be carried out as written",
    "One or more fields are wrong; each is listed in `errors` with what would be right. Nothing was changed.",
)
MALFORMED = ProblemKind(
    "malformed-request",
    400,
    "The request cannot be read",
    "The body is not JSON as cronsvc reads it: broken syntax, a name given twice, NaN, numbers beyond 64 bits, or "
    "nesting deeper than 32 levels. Nothing was changed.",
)
UNAUTHENTICATED = ProblemKind(
    "unauthenticated",
    401,
    "An API key is needed",
    "Send `Authorization: Bearer <API key>` with a key that exists, has not expired and was not revoked.",
)
FORBIDDEN = ProblemKind(
    "forbidden",
    403,
    "This credential does not reach that far",
    "The key is good, but its role or its namespaces do not allow this. An administrator can issue another key.",
)
NOT_FOUND = ProblemKind(
    "not-found", 404, "There is no such thing", "It does not exist, was deleted, or lies in a namespace you cannot see."
)
METHOD_NOT_ALLOWED = ProblemKind(
    "method-not-allowed", 405, "This path does not take that method", "The `Allow` header lists the methods that work."
)
TOO_SLOW = ProblemKind(
    "request-timeout", 408, "The request took too long to arrive", "The body did not arrive in time. Send it again."
)
CONFLICT = ProblemKind(
    "conflict", 409, "The present state refuses this", "The request is well formed but clashes with what is there now."
)
GONE = ProblemKind(
    "gone",
    410,
    "That is over",
    "What this speaks for has ended, was cancelled or belongs to a later attempt. Stop; calling again changes nothing.",
)
PRECONDITION = ProblemKind(
    "precondition-failed",
    412,
    "It has changed since you read it",
    "`If-Match` (or `revision` in the body) names an older revision. Read it again, apply your change to that.",
)
TOO_LARGE = ProblemKind(
    "content-too-large", 413, "The body is too large", "Keep large data elsewhere and let the job fetch it."
)
MEDIA = ProblemKind(
    "unsupported-media-type",
    415,
    "The body is not of the type that is read here",
    "Send the body as JSON with `Content-Type: application/json`, or as the detail of the problem says.",
)
MISDIRECTED = ProblemKind(
    "misdirected-request",
    421,
    "cronsvc does not answer under that name",
    "The `Host` header is not one of the names in `CRONSVC_ALLOWED_HOSTS`, is missing, or is given twice.",
)
TOO_MANY = ProblemKind(
    "too-many-requests",
    429,
    "Too many requests",
    "The minute is full for this key, person or address. The `Retry-After` header says when there is room again.",
)
UNEXPECTED = ProblemKind(
    "internal-error",
    500,
    "Something went wrong on our side",
    "The log of the API process has the details under the request id in the answer.",
)
UNAVAILABLE = ProblemKind(
    "unavailable",
    503,
    "A server behind cronsvc cannot be reached",
    "Postgres or Redis is away for the moment. The `Retry-After` header says when to try again.",
)

PROBLEMS: Mapping[str, ProblemKind] = {
    kind.slug: kind
    for kind in (
        INVALID,
        MALFORMED,
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        TOO_SLOW,
        CONFLICT,
        GONE,
        PRECONDITION,
        TOO_LARGE,
        MEDIA,
        MISDIRECTED,
        TOO_MANY,
        UNEXPECTED,
        UNAVAILABLE,
    )
}

_KIND_OF_ERROR: Mapping[type[errors.CronsvcError], ProblemKind] = {
    errors.InvalidInput: INVALID,
    errors.NotFound: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.Gone: GONE,
    errors.PreconditionFailed: PRECONDITION,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.Forbidden: FORBIDDEN,
    errors.Unavailable: UNAVAILABLE,
}


class Refused(errors.CronsvcError):
    """A request that the web floor itself turns away, before any service is asked."""

    def __init__(self, kind: ProblemKind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure, ready to be rendered as a document or as a page."""

    kind: ProblemKind
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] | None = None


def problem_of(error: errors.CronsvcError) -> Problem:
    """Turn an error that crossed floors into what the caller may read. A class without an entry is our defect."""
    if isinstance(error, Refused):
        return Problem(error.kind, error.detail, headers=error.headers)
    kind = next((_KIND_OF_ERROR[parent] for parent in type(error).__mro__ if parent in _KIND_OF_ERROR), UNEXPECTED)
    if isinstance(error, errors.InvalidInput):
        return Problem(kind, _detail_of(error.errors), error.errors)
    if kind is UNEXPECTED:
        return Problem(kind, kind.meaning)
    if kind is UNAVAILABLE:
        # What the driver said may name hosts and users; the log has it.
        return Problem(kind, kind.meaning, headers={"Retry-After": str(RETRY_SECONDS)})
    headers = {"WWW-Authenticate": 'Bearer realm="cronsvc"'} if kind is UNAUTHENTICATED else None
    return Problem(kind, str(error) or kind.meaning, headers=headers)


def _detail_of(errors_: Sequence[FieldError]) -> str:
    if len(errors_) == 1:
        return f"{errors_[0].field}: {errors_[0].reason}" if errors_[0].field else errors_[0].reason
    if len(errors_) >= MOST_ERRORS:
        return f"Very many fields are wrong; the first {MOST_ERRORS} are listed in errors."
    return f"{len(errors_)} fields are wrong; each is listed in errors."


def problem_document(problem: Problem, *, request_id: str) -> dict[str, object]:
    """Return the members of a problem document."""
    document: dict[str, object] = {
        "type": problem.kind.type,
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "requestId": request_id,
    }
    if problem.errors:
        document["errors"] = [{"field": error.field, "reason": error.reason} for error in problem.errors[:MOST_ERRORS]]
    return document


def problem_response(problem: Problem, *, request_id: str) -> Response:
    """Render a problem as application/problem+json."""
    # ASCII escapes keep the answer valid UTF-8 whatever the caller sent us (a lone surrogate, for one).
    return Response(
        json.dumps(problem_document(problem, request_id=request_id), ensure_ascii=True),
        status_code=problem.kind.status,
        headers=dict(problem.headers or {}),
        media_type=MEDIA_TYPE,
    )
