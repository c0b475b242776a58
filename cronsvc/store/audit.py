"""The audit log, for what no trigger on a table records. Append-only: the database refuses everything else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from cronsvc.store.pool import Conn

APPEND = """
INSERT INTO audit_log (actor, source, action, entity, entity_id, namespace, before, after)
VALUES (cronsvc_actor(), nullif(current_setting('cronsvc.source', true), ''), %(action)s::text, %(entity)s::text,
        %(entity_id)s::text, %(namespace)s::text, %(before)s::jsonb, %(after)s::jsonb)
"""


async def append(
    conn: Conn,
    *,
    action: str,
    entity: str,
    entity_id: str,
    namespace: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write down one change in the transaction that makes it; actor and source are the transaction's."""
    await conn.execute(
        APPEND,
        {
            "action": action,
            "entity": entity,
            "entity_id": entity_id,
            "namespace": namespace,
            "before": None if before is None else Jsonb(dict(before)),
            "after": None if after is None else Jsonb(dict(after)),
        },
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one thing of many."""

    entity_id: int
    namespace: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


APPEND_MANY = """
INSERT INTO audit_log (actor, source, action, entity, entity_id, namespace, before, after)
SELECT cronsvc_actor(), nullif(current_setting('cronsvc.source', true), ''), %(action)s::text, %(entity)s::text,
       t.entity_id, t.namespace, t.before, t.after
  FROM unnest(%(entity_ids)s::text[], %(namespaces)s::text[], %(before)s::jsonb[], %(after)s::jsonb[])
    AS t(entity_id, namespace, before, after)
"""


async def append_many(conn: Conn, changes: Sequence[Change], *, action: str, entity: str) -> None:
    """`append` for the same act on many things."""
    await conn.execute(
        APPEND_MANY,
        {
            "action": action,
            "entity": entity,
            "entity_ids": [str(each.entity_id) for each in changes],
            "namespaces": [each.namespace for each in changes],
            "before": [Jsonb(dict(each.before)) for each in changes],
            "after": [Jsonb(dict(each.after)) for each in changes],
        },
    )
