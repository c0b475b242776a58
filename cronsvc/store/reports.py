"""What attempts say while they run, written behind the fence of their claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key


@dataclass(frozen=True, slots=True)
class Said:
    """News of one attempt: None leaves what the row says. `log_details` is JSON text."""

    job_id: int
    scheduled_time: datetime
    claim_no: int
    progress: int | None
    log_details: str | None


WRITE = """
UPDATE job_executions AS e
   SET progress = coalesce(t.progress, e.progress), log_details = coalesce(t.log_details::jsonb, e.log_details)
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[], %(progress)s::int[],
              %(log_details)s::text[]) AS t(job_id, scheduled_time, claim_no, progress, log_details)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING'
"""


async def write(conn: Conn, news: Sequence[Said]) -> int:
    """Write these; returns how many rows took it. The others have ended, or belong to another claim now."""
    ordered = sorted(news, key=lambda each: (each.job_id, each.scheduled_time))
    parameters = {
        **by_key((each.job_id, each.scheduled_time) for each in ordered),
        "claim_nos": [each.claim_no for each in ordered],
        "progress": [each.progress for each in ordered],
        "log_details": [each.log_details for each in ordered],
    }
    return (await conn.execute(WRITE, parameters)).rowcount
