"""/api/v1/sessions: who is signed in to the page, and the end of it."""

from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from cronsvc.services.access import Role
from cronsvc.services.paging import IdSort
from cronsvc.web.answers import answer
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.routing import Call, Route
from cronsvc.web.scalars import Cursor, Instant, Limit

SESSIONS = "/api/v1/sessions"


class SessionAnswer(AnswerModel):
    """A living session, without its token. `namespaces`: null means all of them."""

    id: int
    actor: str
    role: Role
    namespaces: list[str] | None
    source: str | None
    created_at: Instant
    last_seen_at: Instant
    expires_at: Instant


class SessionList(AnswerModel):
    items: list[SessionAnswer]
    next_cursor: str | None


class SessionsQuery(QueryModel):
    """Which to end; nothing given: all of them."""

    actor: str | None = None


class SessionListQuery(QueryModel):
    actor: Annotated[str, Field(max_length=200)] | None = None
    sort: IdSort = IdSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50


class SessionsEnded(AnswerModel):
    """How many were ended."""

    ended: int


async def list_sessions(call: Call) -> Response:
    """Sessions that reach no further than the caller."""
    query: SessionListQuery = call.query
    found = await call.services.access.sessions.living(
        call.caller, actor=query.actor, sort=query.sort, cursor=query.cursor, limit=query.limit
    )
    return answer(
        SessionList(
            items=[
                SessionAnswer(
                    id=each.id,
                    actor=each.actor,
                    role=Role(each.role),
                    namespaces=None if each.namespaces is None else list(each.namespaces),
                    source=each.source,
                    created_at=each.created_at,
                    last_seen_at=each.last_seen_at,
                    expires_at=each.expires_at,
                )
                for each in found.items
            ],
            next_cursor=found.next_cursor,
        )
    )


async def end_sessions(call: Call) -> Response:
    """End them all, or those of one actor; at once, everywhere."""
    query: SessionsQuery = call.query
    ended = await call.services.access.sessions.close_all(call.caller, actor=query.actor)
    return answer(SessionsEnded(ended=ended))


SESSION_ROUTES = (
    Route(
        "GET",
        SESSIONS,
        Role.ADMIN,
        list_sessions,
        "listSessions",
        "Who is signed in",
        "keys",
        query=SessionListQuery,
        answer=SessionList,
    ),
    Route(
        "DELETE",
        SESSIONS,
        Role.ADMIN,
        end_sessions,
        "endSessions",
        "End sessions: all, or those of one actor",
        "keys",
        query=SessionsQuery,
        answer=SessionsEnded,
    ),
)
