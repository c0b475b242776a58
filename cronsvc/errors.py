"""Errors that cross floors.

A caller above learns from the class what happened and from the message what to do; doors turn the class into an
exit code or a problem document. Bad input carries every bad field at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CronsvcError(Exception):
    """Something cronsvc can explain to the person who asked."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: its API name as a dotted path (`taskPayload.config.url`), and what would be right."""

    field: str
    reason: str


class InvalidInput(CronsvcError):
    """The request cannot be carried out as written; nothing was changed."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.reason}" for error in errors))
        self.errors = tuple(errors)

    @classmethod
    def of(cls, field: str, reason: str) -> "InvalidInput":
        """The common case of one bad field."""
        return cls([FieldError(field, reason)])


class NotFound(CronsvcError):
    """There is no such thing, or the caller may not see it."""


class Conflict(CronsvcError):
    """The request is well formed but the present state refuses it."""


class Gone(CronsvcError):
    """What the request speaks for is over, and will not come back."""


class PreconditionFailed(CronsvcError):
    """The caller's If-Match names an older revision."""


class Unauthenticated(CronsvcError):
    """No credential, or one that is unknown, expired or revoked."""


class Forbidden(CronsvcError):
    """The credential is good but its role or namespace does not reach this."""


class Unavailable(CronsvcError):
    """Postgres or Redis cannot be reached right now; trying again later is right."""


class Unstorable(CronsvcError):
    """Postgres refuses a value as such (a NUL in text, a number out of range); trying again would not help."""


class ConfigError(CronsvcError):
    """The environment names something that cronsvc cannot start with."""
