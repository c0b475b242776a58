"""Statements on groups of jobs: what there is of each, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Group:
    """The live jobs of a group, each counted once by what holds it back; `failing`: their latest fire FAILED.

    `next_fire_time` is the earliest of those that will fire; `last_fire_time` and `last_status` of what fired last.
    """

    name: str
    namespace: str
    jobs: int
    active: int
    paused: int
    inactive: int
    quarantined: int
    failing: int
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    last_status: str | None


LIVE = sql.SQL("j.is_active AND j.quarantine_reason IS NULL")

# The groups of a page first, so that a job's latest execution is looked up for those alone.
PAGE = sql.SQL("""
WITH named AS (
    SELECT j.job_group AS name, j.namespace FROM jobs AS j
     WHERE j.job_group IS NOT NULL AND j.deleted_at IS NULL
       AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
       AND (%(name)s::text IS NULL OR j.job_group = %(name)s::text) AND {after}
     GROUP BY j.job_group, j.namespace ORDER BY j.job_group {turn}, j.namespace {turn} LIMIT %(limit)s::integer
)
SELECT n.name, n.namespace, count(*)::integer AS jobs,
       count(*) FILTER (WHERE {live} AND j.paused_at IS NULL)::integer AS active,
       count(*) FILTER (WHERE {live} AND j.paused_at IS NOT NULL)::integer AS paused,
       count(*) FILTER (WHERE NOT j.is_active)::integer AS inactive,
       count(*) FILTER (WHERE j.is_active AND j.quarantine_reason IS NOT NULL)::integer AS quarantined,
       count(*) FILTER (WHERE e.status = 'FAILED')::integer AS failing,
       min(j.next_fire_time) FILTER (WHERE {live} AND j.paused_at IS NULL AND j.armed_revision = j.revision)
           AS next_fire_time,
       max(j.last_fire_time) AS last_fire_time,
       (array_agg(e.status::text ORDER BY j.last_fire_time DESC NULLS LAST, j.id DESC))[1] AS last_status
  FROM named AS n
  JOIN jobs AS j ON j.job_group = n.name AND j.namespace = n.namespace AND j.deleted_at IS NULL
  LEFT JOIN LATERAL (
       SELECT x.status FROM job_executions AS x
        WHERE x.job_id = j.id AND x.scheduled_time = j.last_fire_time) AS e ON true
 GROUP BY n.name, n.namespace ORDER BY n.name {turn}, n.namespace {turn}
""")


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    name: str | None,
    after: tuple[str, str] | None,
    descending: bool,
    limit: int,
) -> list[Group]:
    """Groups in order of name and namespace, behind `after`."""
    place = f"(j.job_group, j.namespace) {'<' if descending else '>'} (%(last_name)s::text, %(last_namespace)s::text)"
    statement = PAGE.format(
        live=LIVE, after=sql.SQL(place if after is not None else "true"), turn=sql.SQL("DESC" if descending else "ASC")
    )
    last_name, last_namespace = after or (None, None)
    async with conn.cursor(row_factory=class_row(Group)) as found:
        await found.execute(
            statement,
            {
                "namespaces": None if namespaces is None else list(namespaces),
                "name": name,
                "last_name": last_name,
                "last_namespace": last_namespace,
                "limit": limit,
            },
        )
        return await found.fetchall()
