"""Short cuts of tests into the tables: plain SQL, on purpose not through the code under test."""

import itertools
import json
from typing import Any

from psycopg import sql

from cronsvc.store.pool import Database

_serial = itertools.count(1)


async def fetch(db: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    async with db.transaction() as conn:
        return await (await conn.execute(query.encode(), parameters)).fetchall()


async def one(db: Database, query: str, *parameters: object) -> tuple[Any, ...]:
    (row,) = await fetch(db, query, *parameters)
    return row


async def define(db: Database, **columns: Any) -> int:
    """Insert a job by SQL with these columns; returns its id."""
    columns = {
        "name": f"job-{next(_serial)}",
        "task_payload": json.dumps({"type": "API_CALL", "config": {"url": "https://api.example.com/"}}),
    } | columns
    statement = sql.SQL("INSERT INTO jobs ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(map(sql.Placeholder, columns))
    )
    async with db.transaction() as conn:
        row = await (await conn.execute(statement, columns)).fetchone()
    assert row is not None
    return int(row[0])
