"""What an explanation reads goes along keys, and no further through the partitions than it must."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from cronsvc.store import explaining
from cronsvc.store.pool import Database
from tests.support.rows import define

# In the middle of its week, three weeks of rows around it.
NOW = datetime.now(UTC).replace(second=0, microsecond=0)

ROWS = """
INSERT INTO job_executions (job_id, scheduled_time, previous_time, status, end_time)
SELECT j.id, t, t - interval '5 minutes', 'SUCCESS', t
  FROM jobs AS j, generate_series(%s - interval '13 days', %s + interval '13 days', interval '5 minutes') AS t
"""

BOTH: dict[str, Any] = {"job_id": 1, "at": NOW + timedelta(seconds=1)}
STATEMENTS: dict[str, tuple[str | sql.Composed, dict[str, Any]]] = {
    "record": (explaining.RECORD, BOTH),
    "revisions": (explaining.REVISIONS, BOTH | {"pinned": 1}),
    "row before": (explaining.BEFORE, BOTH),
    "named by": (explaining.NAMED_BY, BOTH),
    "pause": (explaining.PAUSE, BOTH),
    "pruned": (explaining.PRUNED, BOTH),
    "unfinished": (explaining.UNFINISHED, BOTH | {"most": 5}),
    "unfinished then": (explaining.UNFINISHED_THEN, BOTH | {"then": NOW, "rows": 50, "most": 5}),
}


@pytest.fixture
async def filled(db: Database) -> Database:
    for _ in range(20):
        await define(db, cron_expression="*/5 * * * *")
    async with db.transaction() as conn:
        await conn.execute(ROWS, (NOW, NOW))
        await conn.execute("ANALYZE")
    return db


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_it_reads_few_rows_of_few_partitions(filled: Database, name: str) -> None:
    statement, parameters = STATEMENTS[name]
    text = statement if isinstance(statement, sql.Composed) else sql.SQL(statement)
    async with filled.transaction() as conn:
        explained = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(text)
        row = await (await conn.execute(explained, parameters)).fetchone()
    assert row is not None
    partitions = set()
    for node in nodes(row[0][0]["Plan"]):
        relation = node.get("Relation Name", "")
        if not relation.startswith("job_executions") or not node["Actual Loops"]:
            continue
        if node["Node Type"] == "Seq Scan":  # the best plan there is for an empty partition
            assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) == 0, (name, relation)
        assert node["Actual Rows"] <= 50, (name, node)
        if node["Actual Rows"]:
            partitions.add(relation)
    assert len(partitions) <= 2, (name, partitions)
