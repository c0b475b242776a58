"""Sessions of the page: server-side rows, known to the browser by a token of which only a hash is stored.

A session ends SESSION_LIFETIME after the sign-in, when nobody has used it for SESSION_IDLE, with its key, or when
somebody ends it. Each sign-in makes a new token and ends the session that the browser came with.
"""

import re
import secrets
from datetime import datetime, timedelta

from cronsvc.errors import Unauthenticated
from cronsvc.services.callers import Caller, Grant, Role
from cronsvc.services.job_validation import check_filter
from cronsvc.services.key_text import digest
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.store import audit, keys, sessions
from cronsvc.store.pool import Database
from cronsvc.store.sessions import Session, SignIn

__all__ = ["SESSION_IDLE", "SESSION_LIFETIME", "SIGN_IN_LIFETIME", "Session", "Sessions", "SignIn"]

SESSION_LIFETIME = timedelta(hours=12)
SESSION_IDLE = timedelta(hours=2)
SIGN_IN_LIFETIME = timedelta(minutes=10)
MOST_LISTED = 1000

_TOKEN = re.compile(r"[0-9A-Za-z_-]{43}", re.ASCII)


class Sessions:
    """The sessions of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def open(self, key_row: int, source: str | None, *, replacing: str | None = None) -> tuple[str, datetime]:
        """A session of a key: its token and when it ends at the latest. `replacing` is the token of one to end."""
        token = secrets.token_urlsafe(32)
        async with self._db.transaction() as conn:
            await sessions.close(conn, digest(replacing or ""))
            ends = await sessions.open_for_key(
                conn, token_hash=digest(token), row_id=key_row, source=source, lifetime=SESSION_LIFETIME
            )
        if ends is None:
            raise Unauthenticated("this API key was revoked")
        return token, ends

    async def open_for(
        self, actor: str, grant: Grant, source: str | None, *, replacing: str | None = None
    ) -> tuple[str, datetime]:
        """As `open`, for somebody whom an identity provider has vouched for; the sign-in is audited."""
        token = secrets.token_urlsafe(32)
        async with self._db.transaction(actor=actor, source=source) as conn:
            await sessions.close(conn, digest(replacing or ""))
            ends = await sessions.open_for_person(
                conn,
                token_hash=digest(token),
                actor=actor,
                role=grant.role.value,
                namespaces=grant.namespaces,
                roles=grant.roles,
                source=source,
                lifetime=SESSION_LIFETIME,
            )
            namespaces = None if grant.namespaces is None else list(grant.namespaces)
            await audit.append(
                conn,
                action="sign_in",
                entity="session",
                entity_id=actor,
                after={"role": grant.role.value, "namespaces": namespaces},
            )
        return token, ends

    async def caller(self, token: str, source: str | None) -> Caller:
        """Return who a session stands for; raises Unauthenticated once it has ended."""
        if _TOKEN.fullmatch(token) is None:
            raise Unauthenticated("this session is not known; log in again")
        async with self._db.statements() as conn:
            found = await sessions.find(conn, digest(token), idle=SESSION_IDLE)
            if found is None:
                raise Unauthenticated("this session has ended; log in again")
            if found.use_is_old:
                await sessions.touch(conn, found.id)
                if found.api_key_id is not None:
                    await keys.touch(conn, found.api_key_id)
        roles = None if found.roles is None else {name: Role(role) for name, role in found.roles.items()}
        return Caller(found.actor, Role(found.role), found.namespaces, source, roles)

    async def close(self, token: str) -> None:
        """End a session; nothing happens if there is none."""
        async with self._db.statements() as conn:
            await sessions.close(conn, digest(token))

    async def living(
        self,
        caller: Caller,
        *,
        actor: str | None = None,
        sort: IdSort = IdSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Session]:
        """The sessions that live and reach no further than the caller, of one `actor` or of all."""
        check_filter("actor", actor)
        edge = sort.edge("sessions", cursor)
        async with self._db.statements() as conn:
            found = await sessions.living(
                conn,
                idle=SESSION_IDLE,
                namespaces=caller.namespaces,
                actor=actor,
                edge=edge,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, lambda each: sort.cursor("sessions", each.id))

    async def close_all(self, caller: Caller, *, actor: str | None = None) -> int:
        """End every session that reaches no further than the caller, or only those of one actor; returns how many."""
        ended = 0
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            while True:
                found = await sessions.living(
                    conn, idle=SESSION_IDLE, namespaces=caller.namespaces, actor=actor, limit=MOST_LISTED
                )
                await sessions.close_many(conn, [each.id for each in found])
                for who in dict.fromkeys(each.actor for each in found):
                    await audit.append(conn, action="revoke", entity="session", entity_id=who)
                ended += len(found)
                if len(found) < MOST_LISTED:
                    return ended

    async def begin_sign_in(self, sign_in: SignIn, *, state: str, browser: str) -> None:
        """Remember a sign-in that goes to an identity provider; those that nobody finished are forgotten."""
        async with self._db.transaction() as conn:
            await sessions.prune_sign_ins(conn)
            await sessions.begin_sign_in(
                conn, sign_in, state_hash=digest(state), browser_hash=digest(browser), lifetime=SIGN_IN_LIFETIME
            )

    async def take_sign_in(self, *, state: str, browser: str) -> SignIn:
        """What this browser began with this state, once; Unauthenticated for anything else."""
        async with self._db.statements() as conn:
            found = await sessions.take_sign_in(conn, state_hash=digest(state), browser_hash=digest(browser))
        if found is None:
            raise Unauthenticated("this sign-in was not begun here, or took too long; begin again")
        return found
