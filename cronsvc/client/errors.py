"""What can go wrong between a caller and the service, as classes.

`ApiError` and what follows it are answers: the service said no, and why. `Unreachable` is the lack of one, and
`UnexpectedAnswer` one that is not cronsvc's. No message holds the API key, a body, or a path (it may hold a token).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cronsvc.errors import CronsvcError, FieldError, InvalidInput

__all__ = [
    "ApiError",
    "BadCall",
    "ClientError",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Gone",
    "Invalid",
    "Misconfigured",
    "NotFound",
    "PreconditionFailed",
    "RateLimited",
    "ServiceFailed",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]


def _again(kind: type[Exception], given: tuple[Any, ...], attributes: Mapping[str, Any]) -> Exception:
    """An error that was pickled or copied; made without `__init__`, which takes more than `given`."""
    error = kind.__new__(kind, *given)
    error.args = given
    error.__dict__.update(attributes)
    return error


class ClientError(CronsvcError):
    """A call did not get what it was made for."""


class Misconfigured(ClientError, ValueError):
    """The client was made with a URL or a key that cannot be one."""


class BadCall(ClientError, ValueError):
    """The call cannot be sent: a value that no request can hold, or a client that is closed. Nothing has left."""


class UnexpectedAnswer(ClientError):
    """What answered is not cronsvc, or a version that this client does not understand."""


class Unreachable(ClientError):
    """No answer came.

    `unclear` is true when the request may have been carried out all the same.
    """

    def __init__(self, message: str, *, unclear: bool) -> None:
        super().__init__(message)
        self.unclear = unclear

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


class ApiError(ClientError):
    """The service refused or failed; `type`, `title` and `detail` are those of its problem document.

    `errors` lists every bad field. `retry_after` in seconds, where the service said so. `request_id` is what the
    log of the API knows the request by.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        type: str = "about:blank",  # noqa: A002 the name it has in RFC 9457
        title: str = "",
        request_id: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
    ) -> None:
        Exception.__init__(self, detail)  # not super(): InvalidInput, a second parent of Invalid, takes fields
        self.detail = detail
        self.status = status
        self.type = type
        self.title = title
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.detail or self.title or f"the answer has the status {self.status}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


class Invalid(ApiError, InvalidInput):
    """The request cannot be carried out as written; `errors` says what would be right."""

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), **given: object) -> None:
        ApiError.__init__(self, detail, errors=errors or (FieldError("", detail),), **given)  # type: ignore[arg-type]


class Unauthenticated(ApiError):
    """The API key is missing, unknown, expired or revoked."""


class Forbidden(ApiError):
    """The key is good, but its role or its namespaces do not reach this."""


class NotFound(ApiError):
    """There is no such thing, or the key does not reach where it is."""


class Conflict(ApiError):
    """The present state refuses this."""


class Gone(ApiError):
    """What the request speaks for is over."""


class PreconditionFailed(ApiError):
    """It has changed since it was read: read it again, and apply the change to that."""


class TooLarge(ApiError):
    """The body is too large."""


class RateLimited(ApiError):
    """Too many requests; `retry_after` says when there is room again."""


class Unavailable(ApiError):
    """The service, or a server behind it, is away for the moment."""


class ServiceFailed(ApiError):
    """Something went wrong in the service; its log has more under `request_id`."""


BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: TooLarge,
    422: Invalid,
    429: RateLimited,
    500: ServiceFailed,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
"""The class for each status that has one of its own; any other is an ApiError."""
