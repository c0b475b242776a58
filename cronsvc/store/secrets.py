"""Statements on `secrets`. Ciphertexts go in and out as they are; the keys are the services' business.

Changes are audited by a trigger in the same transaction, whoever makes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Secret:
    """What there is to know of a secret."""

    namespace: str
    name: str
    key_id: str
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext and where it belongs. `is_stale`: its last use was noted more than a minute ago.

    `updated_at`: since when it has had this value.
    """

    namespace: str
    name: str
    ciphertext: bytes
    key_id: str
    version: int
    updated_at: datetime
    is_stale: bool


PUT = """
INSERT INTO secrets AS s (namespace, name, ciphertext, key_id, created_by, updated_by)
VALUES (%(namespace)s::text, %(name)s::text, %(ciphertext)s::bytea, %(key_id)s::text, cronsvc_actor(), cronsvc_actor())
ON CONFLICT (namespace, name) DO UPDATE
   SET ciphertext = excluded.ciphertext, key_id = excluded.key_id, version = s.version + 1,
       updated_at = clock_timestamp(), updated_by = cronsvc_actor()
RETURNING s.namespace, s.name, s.key_id, s.version, s.created_at, s.created_by, s.updated_at, s.updated_by,
          s.last_used_at
"""


async def put(conn: Conn, *, namespace: str, name: str, ciphertext: bytes, key_id: str) -> Secret:
    """Write a value, over the one before it if there is one."""
    parameters = {"namespace": namespace, "name": name, "ciphertext": ciphertext, "key_id": key_id}
    async with conn.cursor(row_factory=class_row(Secret)) as found:
        row = await (await found.execute(PUT, parameters)).fetchone()
    assert row is not None
    return row


PAGE = sql.SQL("""
SELECT s.namespace, s.name, s.key_id, s.version, s.created_at, s.created_by, s.updated_at, s.updated_by, s.last_used_at
  FROM secrets AS s
 WHERE (%(namespaces)s::text[] IS NULL OR s.namespace = ANY (%(namespaces)s::text[]))
   AND (%(after_namespace)s::text IS NULL
        OR (s.namespace, s.name) {sign} (%(after_namespace)s::text, %(after_name)s::text))
 ORDER BY s.namespace {turn}, s.name {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    after: tuple[str, str] | None,
    descending: bool = False,
    limit: int,
) -> list[Secret]:
    """Secrets in order of namespace and name, those after `after`; `namespaces` None is all of them."""
    parameters = {
        "namespaces": None if namespaces is None else list(namespaces),
        "after_namespace": None if after is None else after[0],
        "after_name": None if after is None else after[1],
        "limit": limit,
    }
    async with conn.cursor(row_factory=class_row(Secret)) as found:
        statement = PAGE.format(sign=sql.SQL("<" if descending else ">"), turn=sql.SQL("DESC" if descending else "ASC"))
        return await (await found.execute(statement, parameters)).fetchall()


DELETE = "DELETE FROM secrets AS s WHERE s.namespace = %(namespace)s::text AND s.name = %(name)s::text"


async def delete(conn: Conn, *, namespace: str, name: str) -> bool:
    """Take a secret away; False when there is none."""
    return (await conn.execute(DELETE, {"namespace": namespace, "name": name})).rowcount == 1


KNOWN = """
SELECT s.name FROM secrets AS s WHERE s.namespace = %(namespace)s::text AND s.name = ANY (%(names)s::text[])
"""


async def known(conn: Conn, namespace: str, names: Sequence[str]) -> frozenset[str]:
    """Which of these names there are."""
    rows = await (await conn.execute(KNOWN, {"namespace": namespace, "names": list(names)})).fetchall()
    return frozenset(name for (name,) in rows)


SEALED = """
SELECT s.namespace, s.name, s.ciphertext, s.key_id, s.version, s.updated_at,
       coalesce(s.last_used_at < clock_timestamp() - interval '1 minute', true) AS is_stale
  FROM unnest(%(namespaces)s::text[], %(names)s::text[]) AS w(namespace, name)
  JOIN secrets AS s ON s.namespace = w.namespace AND s.name = w.name
"""


async def sealed(conn: Conn, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Sealed]:
    """The ciphertexts of these (namespace, name); one that is missing is not there."""
    parameters = {"namespaces": [each[0] for each in wanted], "names": [each[1] for each in wanted]}
    async with conn.cursor(row_factory=class_row(Sealed)) as found:
        rows = await (await found.execute(SEALED, parameters)).fetchall()
    return {(row.namespace, row.name): row for row in rows}


USED = """
UPDATE secrets AS s SET last_used_at = clock_timestamp()
 WHERE (s.namespace, s.name) IN (
       SELECT l.namespace, l.name
         FROM unnest(%(namespaces)s::text[], %(names)s::text[]) AS w(namespace, name)
         JOIN secrets AS l ON l.namespace = w.namespace AND l.name = w.name
        ORDER BY l.namespace, l.name FOR NO KEY UPDATE OF l SKIP LOCKED)
"""


async def used(conn: Conn, keys: Sequence[tuple[str, str]]) -> None:
    """Note that these were read now; one that somebody else is writing is left out."""
    await conn.execute(USED, {"namespaces": [each[0] for each in keys], "names": [each[1] for each in keys]})


OTHERS = """
SELECT s.namespace, s.name, s.ciphertext, s.key_id, s.version, s.updated_at, false AS is_stale
  FROM secrets AS s
 WHERE s.key_id <> %(key_id)s::text
   AND (%(after_namespace)s::text IS NULL
        OR (s.namespace, s.name) > (%(after_namespace)s::text, %(after_name)s::text))
 ORDER BY s.namespace, s.name LIMIT %(batch)s::integer FOR NO KEY UPDATE OF s
"""


async def hold_others(conn: Conn, *, key_id: str, after: tuple[str, str] | None, batch: int) -> list[Sealed]:
    """Lock the next `batch` that another key has encrypted, in order, those after `after`."""
    parameters = {
        "key_id": key_id,
        "after_namespace": None if after is None else after[0],
        "after_name": None if after is None else after[1],
        "batch": batch,
    }
    async with conn.cursor(row_factory=class_row(Sealed)) as found:
        return await (await found.execute(OTHERS, parameters)).fetchall()


RESEAL = """
UPDATE secrets AS s SET ciphertext = t.ciphertext, key_id = %(key_id)s::text
  FROM unnest(%(namespaces)s::text[], %(names)s::text[], %(ciphertexts)s::bytea[]) AS t(namespace, name, ciphertext)
 WHERE s.namespace = t.namespace AND s.name = t.name
"""


async def reseal(conn: Conn, rows: Sequence[tuple[Sealed, bytes]], *, key_id: str) -> int:
    """Write the same values under another key; their rows are locked. Returns how many."""
    parameters = {
        "key_id": key_id,
        "namespaces": [each.namespace for each, _ in rows],
        "names": [each.name for each, _ in rows],
        "ciphertexts": [ciphertext for _, ciphertext in rows],
    }
    return (await conn.execute(RESEAL, parameters)).rowcount
