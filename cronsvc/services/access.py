"""Who is asking, and how far they reach: API keys, tokens of other issuers, and sessions of the page.

A key's checksum refuses typing errors before any query; its id finds the row; the secret exists here only as the
SHA-256 of the whole key, compared in constant time, and an unknown id is compared too. A revocation works at once in
this process and within CACHE_SECONDS in the others. What is no key is a token, where issuers are configured (`tokens`).
"""

import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, Unauthenticated
from cronsvc.services.callers import Caller, Grant, Role
from cronsvc.services.job_validation import check_filter
from cronsvc.services.key_text import PREFIX, digest, key_id_of, new_key
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.services.sessions import SESSION_LIFETIME, Sessions
from cronsvc.services.tokens import Tokens
from cronsvc.store import audit, clock, keys
from cronsvc.store.keys import ApiKey, StoredKey
from cronsvc.store.pool import Conn, Database

__all__ = ["CACHE_SECONDS", "SESSION_LIFETIME", "Access", "Caller", "Role"]

CACHE_SECONDS = 5.0

_MOST_CACHED = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.@:/-]{0,99}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_NO_HASH = bytes(32)  # what a credential of an unknown id is compared with
_REFUSED = "this API key is not known; send `Authorization: Bearer csk_…` with a key that is"


class Access:
    """Keys and sessions of one process."""

    def __init__(
        self, db: Database, *, tokens: Tokens | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._tokens = tokens
        self.sessions = Sessions(db)
        self._monotonic = monotonic
        # SHA-256 of a good credential -> (its key, until when on the monotonic clock it may be believed).
        self._cache: dict[bytes, tuple[StoredKey, float]] = {}

    async def create_key(
        self,
        *,
        name: str,
        role: Role | str | None = None,
        namespaces: Sequence[str] | None = None,
        roles: Mapping[str, Role] | None = None,
        created_by: str,
        expires_at: datetime | None = None,
        granted_by: Caller | None = None,
    ) -> str:
        """Make a key and return it, the only time it can be seen: with one role, or with one in each namespace.

        `granted_by` bounds the new key by its maker's role and namespaces (Forbidden). Conflict: a key of that name has
        not been revoked. InvalidInput lists every bad field.
        """
        source = None if granted_by is None else granted_by.source
        async with self._db.transaction(actor=created_by, source=source) as conn:
            granted = _check_key(name, role, namespaces, roles, expires_at, now=await clock.now(conn))
            _check_grant(granted, granted_by)
            key = await _create(conn, name, granted, created_by, expires_at)
            if key is None:
                raise Conflict(f"a key named {name!r} exists; revoke it first or choose another name")
        return key

    async def ensure_admin_key(self, name: str) -> str | None:
        """Make an admin key and return it; None if one of that name exists. Any number of processes may race."""
        async with self._db.transaction(actor="cronsvc") as conn:
            return await _create(conn, name, Grant(Role.ADMIN), "cronsvc", None)

    async def list_keys(self, caller: Caller | None = None) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first; for a caller with namespaces those that reach no further."""
        async with self._db.statements() as conn:
            found = await keys.all_keys(conn)
        return [key for key in found if caller is None or _reaches_no_further(key.namespaces, caller)]

    async def page_of_keys(
        self,
        caller: Caller,
        *,
        name: str | None = None,
        is_live: bool | None = None,
        sort: IdSort = IdSort.OLDEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ApiKey]:
        """Keys that reach no further than the caller. `is_live`: neither revoked nor expired; False: one of them."""
        check_filter("name", name)
        edge = sort.edge("keys", cursor)
        async with self._db.statements() as conn:
            rows = await keys.page(
                conn,
                namespaces=caller.namespaces,
                name=name,
                is_live=is_live,
                edge=edge,
                limit=check_limit(limit) + 1,
            )
        page = page_of(rows, limit, lambda each: sort.cursor("keys", each[0]))
        return Page(tuple(key for _, key in page.items), page.next_cursor)

    async def revoke_key(self, key_id: str, caller: Caller) -> ApiKey:
        """End a key and its sessions for good, by its public id; of one that has ended already, the same answer.

        NotFound: no such key for this caller.
        """
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            key = await keys.revoke(conn, _plain(key_id), namespaces=caller.namespaces)
            if key is None:
                ended = await keys.revoked(conn, _plain(key_id), namespaces=caller.namespaces)
                if ended is None:
                    raise NotFound(f"there is no API key {_plain(key_id)!r}")
                return ended
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
        """Return who holds this key or token; raises Unauthenticated for any that is not good now."""
        if self._tokens is not None and not bearer.startswith(PREFIX):
            holder = await self._tokens.verified(bearer)
            return Caller.granted(holder.actor, holder.grant, source)
        hashed = digest(bearer)
        cached = self._cache.get(hashed)
        if cached is not None and self._monotonic() < cached[1]:
            return _caller(cached[0], source)
        self._cache.pop(hashed, None)
        key_id, asked = key_id_of(bearer), self._monotonic()
        async with self._db.statements() as conn:
            key = await _verify(conn, key_id, bearer)
        self._remember(hashed, key, asked)
        return _caller(key, source)

    async def open_session(
        self, bearer: str, source: str | None, *, replacing: str | None = None
    ) -> tuple[str, datetime]:
        """Exchange a key for a session of the page, see `Sessions.open`. Unauthenticated as above."""
        key_id = key_id_of(bearer)
        async with self._db.statements() as conn:
            key = await _verify(conn, key_id, bearer)
        return await self.sessions.open(key.id, source, replacing=replacing)

    async def session(self, token: str, source: str | None) -> Caller:
        """Return who this session stands for; raises Unauthenticated once it or its key has ended."""
        return await self.sessions.caller(token, source)

    async def close_session(self, token: str) -> None:
        """End a session; nothing happens if there is none."""
        await self.sessions.close(token)

    def _remember(self, hashed: bytes, key: StoredKey, asked: float) -> None:
        """Believe a good credential for a while, counted from before the query that found it good."""
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        left = CACHE_SECONDS if key.seconds_left is None else min(CACHE_SECONDS, key.seconds_left)
        self._cache[hashed] = (key, asked + left)


async def _create(conn: Conn, name: str, grant: Grant, created_by: str, expires_at: datetime | None) -> str | None:
    """Make, store and audit a key; None if the name is taken."""
    plain = new_key()
    key = await keys.insert(
        conn,
        key_id=key_id_of(plain),
        name=name,
        secret_hash=digest(plain),
        role=grant.role.value,
        namespaces=grant.namespaces,
        roles=grant.roles,
        created_by=created_by,
        expires_at=expires_at,
    )
    if key is None:
        return None
    await audit.append(conn, action="create", entity="api_key", entity_id=key.key_id, after=_public(key, revoked=False))
    return plain


async def _verify(conn: Conn, key_id: str, bearer: str) -> StoredKey:
    """The live key that `bearer` is, its use noted; raises Unauthenticated."""
    key = await keys.stored(conn, key_id)
    matches = hmac.compare_digest(digest(bearer), _NO_HASH if key is None else key.secret_hash)
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
    roles = None if key.roles is None else {name: Role(role) for name, role in key.roles.items()}
    return Caller(f"key:{key.name}", Role(key.role), key.namespaces, source, roles)


def _check_key(
    name: str,
    role: Role | str | None,
    namespaces: Sequence[str] | None,
    roles: Mapping[str, Role] | None,
    expires_at: datetime | None,
    *,
    now: datetime,
) -> Grant:
    """Return what the key grants; raises InvalidInput with every bad field."""
    bad: list[FieldError] = []
    if _NAME.fullmatch(name) is None:
        bad.append(
            FieldError("name", "is 1 to 100 letters, digits, spaces or _.@:/- and starts with a letter or digit")
        )
    if (role is None) is (roles is None):
        bad.append(FieldError("role", "is one for all namespaces; or leave it out and give `roles`, one for each"))
    elif role is not None and role not in list(Role):
        bad.append(FieldError("role", f"is one of {', '.join(Role)}"))
    if roles is not None and not (roles and namespaces is None and all(_NAMESPACE.fullmatch(each) for each in roles)):
        bad.append(FieldError("roles", "has a role for at least one namespace, and takes the place of `namespaces`"))
    if namespaces is not None and not (namespaces and all(_NAMESPACE.fullmatch(each) for each in namespaces)):
        bad.append(FieldError("namespaces", "lists at least one namespace by name; leave it out for all of them"))
    if expires_at is not None and expires_at.utcoffset() is None:
        bad.append(FieldError("expiresAt", "has no UTC offset; write for example 2026-01-31T09:00:00Z"))
    elif expires_at is not None and expires_at <= now:
        bad.append(FieldError("expiresAt", "lies in the past"))
    if bad:
        raise InvalidInput(bad)
    if roles is not None:
        return Grant.of_roles(roles)
    assert role is not None  # one of the two is there
    return Grant(Role(role), None if namespaces is None else tuple(namespaces))


def _check_grant(grant: Grant, granted_by: Caller | None) -> None:
    """Nobody makes a key that reaches further than their own."""
    if granted_by is None:
        return
    most = grant.role if grant.roles is None else max(grant.roles.values(), key=list(Role).index)
    if not granted_by.role.reaches(most):
        raise Forbidden(f"a key of role {granted_by.role} cannot make one of role {most}")
    if not _reaches_no_further(grant.namespaces, granted_by):
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
    } | ({} if key.roles is None else {"roles": dict(key.roles)})


def _plain(text: str) -> str:
    """Text that Postgres can take and a sentence can quote."""
    return text[:40].encode("ascii", "replace").decode().replace("\0", "?")
