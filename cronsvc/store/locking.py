"""Executions that are looked for by something else than their keys, to be written: locked first, then written by key.

An UPDATE that names no plan times opens every partition for writing, so it would wait for minutes behind the drop of
an old one (`partitions.drop`). A look-up that locks does not; and the write after it names the span of its rows.
"""

from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg.pq import TransactionStatus

from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key


async def lock_rows(conn: Conn, statement: LiteralString, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Run a look-up of (job id, instant) that locks what it finds until the transaction ends; None: it finds nothing.

    Otherwise what a write by key is given: `job_ids` and `times` in the order of the keys, `least` and `greatest`.
    """
    assert conn.info.transaction_status is TransactionStatus.INTRANS
    rows = sorted(await (await conn.execute(statement, parameters)).fetchall())
    return by_key(rows) if rows else None
