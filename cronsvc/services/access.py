"""Who is asking, and how far they reach: API keys, and sessions of the page that stand for a key.

A key reads `csk_<id>_<secret><checksum>`. The checksum refuses typing errors before any query; the id finds the row;
the secret exists here only as the SHA-256 of the whole key, compared in constant time, and an unknown id is compared
too. A revocation works at once in this process and within CACHE_SECONDS in the others.
"""

import hashlib
import hmac
import re
import secrets
import string
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, Unauthenticated
from cronsvc.store import audit, jobs, keys
from cronsvc.store.keys import ApiKey, StoredKey
from cronsvc.store.pool import Conn, Database

CACHE_SECONDS = 5.0
SESSION_LIFETIME = timedelta(hours=12)

_MOST_CACHED = 1024
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(r"csk_([0-9A-Za-z]{8})_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z_-]{43}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.@:/-]{0,99}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_NO_HASH = bytes(32)  # what a credential of an unknown id is compared with
_REFUSED = "this API key is not known; send `Authorization: Bearer csk_…` with a key that is"


class Role(StrEnum):
    """What a key may do; each role may do what those before it may."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # define, change, pause and run jobs
    ADMIN = "admin"  # keys, and everything else

    def reaches(self, required: "Role") -> bool:
        """Whether this role may do what `required` may."""
        order = list(Role)
        return order.index(self) >= order.index(required)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a good credential. `namespaces` None means all; `source` is where the request came from."""

    actor: str
    role: Role
    namespaces: tuple[str, ...] | None = None
    source: str | None = None

    def sees(self, namespace: str) -> bool:
        """Whether jobs of this namespace exist for the caller."""
        return self.namespaces is None or namespace in self.namespaces


class Access:
    """Keys and sessions of one process."""

    def __init__(self, db: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._monotonic = monotonic
        # SHA-256 of a good credential -> (its key, until when on the monotonic clock it may be believed).
        self._cache: dict[bytes, tuple[StoredKey, float]] = {}

    async def create_key(
        self,
        *,
        name: str,
        role: Role | str,
        namespaces: Sequence[str] | None = None,
        created_by: str,
        expires_at: datetime | None = None,
        granted_by: Caller | None = None,
    ) -> str:
        """Make a key and return it, the only time it can be seen.

        `granted_by` bounds the new key by its maker's role and namespaces (Forbidden). Conflict: a key of that name has
        not been revoked. InvalidInput lists every bad field.
        """
        source = None if granted_by is None else granted_by.source
        async with self._db.transaction(actor=created_by, source=source) as conn:
            granted = _check_key(name, role, namespaces, expires_at, now=await jobs.now(conn))
            _check_grant(granted, namespaces, granted_by)
            key = await _create(conn, name, granted, namespaces, created_by, expires_at)
            if key is None:
                raise Conflict(f"a key named {name!r} exists; revoke it first or choose another name")
        return key

    async def ensure_admin_key(self, name: str) -> str | None:
        """Make an admin key and return it; None if one of that name exists. Any number of processes may race."""
        async with self._db.transaction(actor="cronsvc") as conn:
            return await _create(conn, name, Role.ADMIN, None, "cronsvc", None)

    async def list_keys(self, caller: Caller | None = None) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first; for a caller with namespaces those that reach no further."""
        async with self._db.statements() as conn:
            found = await keys.all_keys(conn)
        return [key for key in found if caller is None or _reaches_no_further(key.namespaces, caller)]

    async def revoke_key(self, key_id: str, caller: Caller) -> ApiKey:
        """End a key and its sessions for good, by its public id. NotFound: no such live key for this caller."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            key = await keys.revoke(conn, _plain(key_id), namespaces=caller.namespaces)
            if key is None:
                raise NotFound(f"there is no API key {_plain(key_id)!r} to revoke")
            await audit.append(
                conn,
                action="revoke",
                entity="api_key",
                entity_id=key.key_id,
                before=_public(key, revoked=False),
                after=_public(key, revoked=True),
            )
        self._cache = {digest: entry for digest, entry in self._cache.items() if entry[0].key_id != key.key_id}
        return key

    async def authenticate(self, bearer: str, source: str | None) -> Caller:
        """Return who holds this key; raises Unauthenticated for one that is malformed, unknown, expired or revoked."""
        digest = _digest(bearer)
        cached = self._cache.get(digest)
        if cached is not None and self._monotonic() < cached[1]:
            return _caller(cached[0], source)
        self._cache.pop(digest, None)
        key_id, asked = _key_id(bearer), self._monotonic()
        async with self._db.statements() as conn:
            key = await _verify(conn, key_id, bearer)
        self._remember(digest, key, asked)
        return _caller(key, source)

    async def open_session(self, bearer: str, source: str | None) -> tuple[str, datetime]:
        """Exchange a key for a session token of the page; returns it and when it ends. Unauthenticated as above."""
        key_id, token = _key_id(bearer), secrets.token_urlsafe(32)
        async with self._db.transaction() as conn:
            key = await _verify(conn, key_id, bearer)
            expires_at = await keys.open_session(
                conn, token_hash=_digest(token), row_id=key.id, lifetime=SESSION_LIFETIME
            )
        return token, expires_at

    async def session(self, token: str, source: str | None) -> Caller:
        """Return who this session stands for; raises Unauthenticated once it or its key has ended."""
        if _TOKEN.fullmatch(token) is None:
            raise Unauthenticated("this session is not known; log in again")
        async with self._db.statements() as conn:
            key = await keys.session_key(conn, _digest(token))
            if key is None or _ended(key) is not None:
                raise Unauthenticated("this session has ended; log in again")
            if key.use_is_old:
                await keys.touch(conn, key.id)
        return _caller(key, source)

    async def close_session(self, token: str) -> None:
        """End a session; nothing happens if there is none."""
        async with self._db.statements() as conn:
            await keys.close_session(conn, _digest(token))

    def _remember(self, digest: bytes, key: StoredKey, asked: float) -> None:
        """Believe a good credential for a while, counted from before the query that found it good."""
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        left = CACHE_SECONDS if key.seconds_left is None else min(CACHE_SECONDS, key.seconds_left)
        self._cache[digest] = (key, asked + left)


async def _create(
    conn: Conn,
    name: str,
    role: Role,
    namespaces: Sequence[str] | None,
    created_by: str,
    expires_at: datetime | None,
) -> str | None:
    """Make, store and audit a key; None if the name is taken."""
    head = f"csk_{_random(8)}_{_random(43)}"
    plain = head + _checksum(head)
    key = await keys.insert(
        conn,
        key_id=head[4:12],
        name=name,
        secret_hash=_digest(plain),
        role=role.value,
        namespaces=namespaces,
        created_by=created_by,
        expires_at=expires_at,
    )
    if key is None:
        return None
    await audit.append(conn, action="create", entity="api_key", entity_id=key.key_id, after=_public(key, revoked=False))
    return plain


def _key_id(bearer: str) -> str:
    """The public id inside a key; raises Unauthenticated, without a query, for what cannot be a key."""
    form = _KEY.fullmatch(bearer)
    if form is None or _checksum(bearer[:-6]) != bearer[-6:]:
        raise Unauthenticated(
            "this is not an API key, or one with a typing error: a key is csk_ and 58 more characters"
        )
    return form[1]


async def _verify(conn: Conn, key_id: str, bearer: str) -> StoredKey:
    """The live key that `bearer` is, its use noted; raises Unauthenticated."""
    key = await keys.stored(conn, key_id)
    matches = hmac.compare_digest(_digest(bearer), _NO_HASH if key is None else key.secret_hash)
    if key is None or not matches:
        raise Unauthenticated(_REFUSED)
    ended = _ended(key)  # only the holder of the secret gets to know this
    if ended is not None:
        raise Unauthenticated(ended)
    if key.use_is_old:
        await keys.touch(conn, key.id)
    return key


def _ended(key: StoredKey) -> str | None:
    if key.revoked:
        return "this API key was revoked"
    if key.seconds_left is not None and key.seconds_left <= 0:
        return "this API key has expired"
    return None


def _caller(key: StoredKey, source: str | None) -> Caller:
    return Caller(f"key:{key.name}", Role(key.role), key.namespaces, source)


def _check_key(
    name: str, role: Role | str, namespaces: Sequence[str] | None, expires_at: datetime | None, *, now: datetime
) -> Role:
    """Return the role; raises InvalidInput with every bad field."""
    bad: list[FieldError] = []
    if _NAME.fullmatch(name) is None:
        bad.append(
            FieldError("name", "is 1 to 100 letters, digits, spaces or _.@:/- and starts with a letter or digit")
        )
    if role not in list(Role):
        bad.append(FieldError("role", f"is one of {', '.join(Role)}"))
    if namespaces is not None and not (namespaces and all(_NAMESPACE.fullmatch(each) for each in namespaces)):
        bad.append(FieldError("namespaces", "lists at least one namespace by name; leave it out for all of them"))
    if expires_at is not None and expires_at.utcoffset() is None:
        bad.append(FieldError("expiresAt", "has no UTC offset; write for example 2026-01-31T09:00:00Z"))
    elif expires_at is not None and expires_at <= now:
        bad.append(FieldError("expiresAt", "lies in the past"))
    if bad:
        raise InvalidInput(bad)
    return Role(role)


def _check_grant(role: Role, namespaces: Sequence[str] | None, granted_by: Caller | None) -> None:
    """Nobody makes a key that reaches further than their own."""
    if granted_by is None:
        return
    if not granted_by.role.reaches(role):
        raise Forbidden(f"a key of role {granted_by.role} cannot make one of role {role}")
    if not _reaches_no_further(namespaces, granted_by):
        raise Forbidden(
            f"this key reaches the namespaces {', '.join(granted_by.namespaces or ())} and can grant no others"
        )


def _reaches_no_further(namespaces: Sequence[str] | None, caller: Caller) -> bool:
    return caller.namespaces is None or (namespaces is not None and set(namespaces) <= set(caller.namespaces))


def _public(key: ApiKey, *, revoked: bool) -> dict[str, object]:
    """What the audit log may hold of a key."""
    return {
        "name": key.name,
        "role": key.role,
        "namespaces": None if key.namespaces is None else list(key.namespaces),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "revoked": revoked,
    }


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(head: str) -> str:
    """CRC-32 in six digits of base 62: it finds typing errors, it protects nothing."""
    number, digits = zlib.crc32(head.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _plain(text: str) -> str:
    """Text that Postgres can take and a sentence can quote."""
    return text[:40].encode("ascii", "replace").decode().replace("\0", "?")
