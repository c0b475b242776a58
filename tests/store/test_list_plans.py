"""Every order of the list of jobs goes along an index, backwards as well, on the first page and behind it."""

from datetime import UTC, datetime

import pytest
from psycopg import sql

from cronsvc.domain.job import Job
from cronsvc.store import job_pages
from cronsvc.store.job_pages import Place
from cronsvc.store.pool import Database

FILL = """
INSERT INTO jobs (name, cron_expression, task_payload, updated_at)
SELECT 'job-' || n, '* * * * *', '{"type": "API_CALL"}', now() - n * interval '1 second'
  FROM generate_series(1, 5000) AS n
"""
PLACES = {"id": Place(100), "name": Place(100, "job-500"), "updatedAt": Place(100, datetime.now(UTC))}


async def pages(db: Database, order: str, *, descending: bool, after: Place | None) -> list[Job]:
    async with db.statements() as conn:
        return await job_pages.page(conn, namespaces=None, order=order, descending=descending, after=after, limit=51)


@pytest.fixture
async def filled(db: Database) -> Database:
    async with db.transaction() as conn:
        for statement in ("ALTER TABLE jobs DISABLE TRIGGER USER", FILL, "ALTER TABLE jobs ENABLE TRIGGER USER"):
            await conn.execute(statement.encode())
        await conn.execute("ANALYZE jobs")
    return db


@pytest.mark.parametrize("order", list(PLACES))
async def test_no_order_sorts_the_table(filled: Database, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    explained = sql.SQL("EXPLAIN ") + job_pages.PAGE
    for descending in (True, False):
        for after in (None, PLACES[order]):
            assert len(await pages(filled, order, descending=descending, after=after)) > 0
            with monkeypatch.context() as patched:
                patched.setattr(job_pages, "PAGE", sql.SQL(explained.as_string(None)))
                patched.setattr(job_pages, "job_for_readers", lambda row: row["QUERY PLAN"])
                plan = str(await pages(filled, order, descending=descending, after=after))
            assert "Index Scan" in plan and "Seq Scan" not in plan and "Sort" not in plan, plan
