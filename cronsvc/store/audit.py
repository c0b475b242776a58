"""The audit log, for what no trigger on a table records. Append-only: the database refuses everything else."""

from collections.abc import Mapping
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
