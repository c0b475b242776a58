"""/api/v1/groups: what there is of each group of jobs. Acts on a group are those on many jobs, with a selector."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from cronsvc.services.access import Role
from cronsvc.web.answers import answer
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.routing import Call, Route
from cronsvc.web.scalars import Cursor, Instant, Limit


class GroupSort(StrEnum):
    NAME = "name"
    NAME_BACKWARDS = "-name"


class GroupQuery(QueryModel):
    name: Annotated[str, Field(max_length=63)] | None = None
    namespace: Annotated[str, Field(max_length=63)] | None = None
    sort: GroupSort = GroupSort.NAME
    cursor: Cursor | None = None
    limit: Limit = 50


class GroupAnswer(AnswerModel):
    """A group within its namespace: its jobs by what holds them back, each counted once.

    `failing`: jobs whose latest scheduled fire FAILED. `lastFireTime` and `lastStatus` are of the group's latest fire.
    """

    name: str
    namespace: str
    jobs: int
    active: int
    paused: int
    inactive: int
    quarantined: int
    failing: int
    next_fire_time: Instant | None
    last_fire_time: Instant | None
    last_status: str | None


class GroupList(AnswerModel):
    items: list[GroupAnswer]
    next_cursor: str | None


async def list_groups(call: Call) -> Response:
    """Groups in order of name."""
    query: GroupQuery = call.query
    page = await call.services.groups.list(
        call.caller,
        name=query.name,
        namespace=query.namespace,
        backwards=query.sort is GroupSort.NAME_BACKWARDS,
        cursor=query.cursor,
        limit=query.limit,
    )
    items = [
        GroupAnswer(
            name=each.name,
            namespace=each.namespace,
            jobs=each.jobs,
            active=each.active,
            paused=each.paused,
            inactive=each.inactive,
            quarantined=each.quarantined,
            failing=each.failing,
            next_fire_time=each.next_fire_time,
            last_fire_time=each.last_fire_time,
            last_status=each.last_status,
        )
        for each in page.items
    ]
    return answer(GroupList(items=items, next_cursor=page.next_cursor))


GROUP_ROUTES = (
    Route(
        "GET",
        "/api/v1/groups",
        Role.VIEWER,
        list_groups,
        "listGroups",
        "List groups of jobs, with what there is of each",
        "jobs",
        query=GroupQuery,
        answer=GroupList,
    ),
)
