"""The token with which a target may end one attempt: what it says, and that we said so.

A token names one claim of one execution and the moment after which it is worth nothing, signed with HMAC-SHA256. There
is one form and one algorithm, and nothing in a token chooses: other lengths, letters, versions and spellings are none.
Pure: keys and clocks are the caller's.
"""

import base64
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PREFIX = "cbt_"

# What is a token, or was cut out of one, wherever it stands.
LIKENESS = PREFIX + r"[A-Za-z0-9_-]{20,}"

_VERSION = 1
_FIELDS = struct.Struct(">BIQQqIQ")  # version, key, execution, job, scheduled_time in microseconds, claim_no, expiry
_SIGNATURE_BYTES = 32
_TEXT = re.compile(PREFIX + r"[A-Za-z0-9_-]{98}", re.ASCII)
_DOMAIN = b"cronsvc callback token\x00"  # the key signs nothing else, and could
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class CallbackGrant:
    """One attempt that the bearer may speak for. `expires`: whole seconds since 1970. `key_id`: what signed it.

    `token` is what was read; it belongs into nothing that is kept.
    """

    key_id: int
    execution_id: int
    job_id: int
    scheduled_time: datetime
    claim_no: int
    expires: int
    token: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token of the right form; `grant` says what it claims, and is true only if `is_signed_with` says so."""

    grant: CallbackGrant
    _signed: bytes
    _signature: bytes

    def is_signed_with(self, secret: bytes) -> bool:
        """Whether this key made it; takes as long for a wrong one as for the right one."""
        return hmac.compare_digest(_sign(secret, self._signed), self._signature)


def write(grant: CallbackGrant, secret: bytes) -> str:
    """The token of a grant, 102 letters that are safe in a path and in a header."""
    instant = (grant.scheduled_time.astimezone(UTC) - _EPOCH) // _MICROSECOND
    fields = _FIELDS.pack(
        _VERSION, grant.key_id, grant.execution_id, grant.job_id, instant, grant.claim_no, grant.expires
    )
    return PREFIX + _letters(fields + _sign(secret, fields))


def read(token: str) -> Unverified | None:
    """Take a token apart; None when it is none."""
    if not _TEXT.fullmatch(token):
        return None
    letters = token.removeprefix(PREFIX)
    raw = base64.urlsafe_b64decode(letters + "==")
    if _letters(raw) != letters:  # the last letter has spare bits: one token, one spelling
        return None
    fields = raw[: _FIELDS.size]
    version, key_id, execution_id, job_id, instant, claim_no, expires = _FIELDS.unpack(fields)
    try:
        scheduled_time = _EPOCH + instant * _MICROSECOND
    except OverflowError:
        return None
    if version != _VERSION:
        return None
    grant = CallbackGrant(key_id, execution_id, job_id, scheduled_time, claim_no, expires, token)
    return Unverified(grant, fields, raw[_FIELDS.size :])


def _sign(secret: bytes, fields: bytes) -> bytes:
    return hmac.digest(secret, _DOMAIN + fields, hashlib.sha256)


def _letters(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
