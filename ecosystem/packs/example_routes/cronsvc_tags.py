"""GET /api/v1/packs/tags: how many jobs carry each tag. Copy this file to begin routes of your own.

curl -H "Authorization: Bearer $KEY" 'http://127.0.0.1:8000/api/v1/packs/tags?namespace=default'
"""

from collections import Counter
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from cronsvc.services.access import Role
from cronsvc.web.answers import answer
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.routing import Call, Route

MOST_PAGES = 50


class TagQuery(QueryModel):
    """What may stand in the query string; anything else is refused with 422."""

    namespace: Annotated[str, Field(max_length=63)] | None = None


class TagCount(AnswerModel):
    tag: str
    jobs: int


class TagCounts(AnswerModel):
    """The tags, the most used first. `complete` is false when there were more jobs than were counted."""

    items: list[TagCount]
    complete: bool


async def count_tags(call: Call) -> Response:
    """By now the caller has the role that the route asks for. Pass the caller on: the services show what it reaches."""
    query: TagQuery = call.query
    counts: Counter[str] = Counter()
    cursor = None
    for _ in range(MOST_PAGES):
        page = await call.services.jobs.list(call.caller, namespace=query.namespace, cursor=cursor, limit=200)
        for job in page.items:
            counts.update(job.definition.tags)
        cursor = page.next_cursor
        if cursor is None:
            break
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return answer(TagCounts(items=[TagCount(tag=tag, jobs=jobs) for tag, jobs in ordered], complete=cursor is None))


ROUTES = (
    Route(
        "GET",
        "/api/v1/packs/tags",
        Role.VIEWER,
        count_tags,
        "countTags",
        "How many jobs carry each tag",
        "tags",
        query=TagQuery,
        answer=TagCounts,
    ),
)
