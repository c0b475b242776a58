"""The one read at the end: the database's last word, and a search for what must not be anywhere."""

import json
import time
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.faults.ground import Ground
from tests.faults.workload import CANARY

EXECUTIONS = """
SELECT id, job_id AS job, extract(epoch FROM scheduled_time)::float8 AS sched, trigger, status,
       status_reason AS reason, attempt, max_attempts, claim_no,
       extract(epoch FROM created_at)::float8 AS created, extract(epoch FROM start_time)::float8 AS start,
       extract(epoch FROM end_time)::float8 AS end, extract(epoch FROM skipped_until)::float8 AS skipped_until,
       worker_id::text AS worker
  FROM job_executions ORDER BY scheduled_time, job_id
"""

ATTEMPTS = """
SELECT execution_id AS execution, job_id AS job, attempt, claim_no, outcome, worker_id::text AS worker,
       extract(epoch FROM start_time)::float8 AS start, extract(epoch FROM end_time)::float8 AS end
  FROM job_attempts ORDER BY execution_id, claim_no
"""

AUDIT = """
SELECT extract(epoch FROM at)::float8 AS at, action, entity_id::bigint AS job,
       CASE WHEN action = 'pause' THEN after ->> 'pause_note'
            WHEN action = 'update' AND before ->> 'description' <> after ->> 'description' THEN after ->> 'description'
       END AS marker
  FROM audit_log WHERE entity = 'job' ORDER BY id
"""

REVISIONS = "SELECT job_id::text, count(*) FROM job_revisions GROUP BY 1"

# A session may be in a transaction at the moment of looking; one that is there for seconds was left.
LINGERING = """
SELECT format('%%s: %%s for %%s s, %%s locks', a.application_name, a.state,
              round(extract(epoch FROM clock_timestamp() - a.xact_start)),
              (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory'))
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND (a.state LIKE 'idle in transaction%%' AND a.xact_start < clock_timestamp() - interval '5 seconds'
        OR a.state = 'idle' AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory'))
"""

UNFINISHED = "SELECT count(*) FROM job_executions WHERE status IN ('QUEUED', 'RUNNING')"


def quiesce(ground: Ground, *, until: float, seconds: float) -> None:
    """Wait until the last instant is over and everything has ended; after `seconds` it is the checker's to say."""
    time.sleep(max(0.0, until + 1.0 - time.time()))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ground.sql(UNFINISHED) == [(0,)]:
            return
        time.sleep(0.5)


def final_read(ground: Ground) -> None:
    """Write db.json: rows, audit, what lingers, and where a secret was found."""
    last: dict[str, Any] = {
        "executions": _rows(ground, EXECUTIONS),
        "attempts": _rows(ground, ATTEMPTS),
        "audit": _rows(ground, AUDIT),
        "revisions": dict(ground.sql(REVISIONS)),
        "gaps": ground.sql("SELECT count(*) FROM cronsvc_v1.gaps")[0][0],
        "lingering": [words for (words,) in ground.sql(LINGERING)],
        "leaks": leaks(ground),
    }
    (ground.folder / "db.json").write_text(json.dumps(last))


def leaks(ground: Ground) -> list[str]:
    """The places that hold a secret and should not: logs, everything that Redis keeps, results and errors."""
    password = ground.postgres.url.split(":")[2].split("@")[0]
    secrets = {"the header of a call": CANARY, "the database's password": password, "the API key": ground.admin_key}
    files = [path for path in (ground.folder / "logs").iterdir() if not path.name.startswith(("postgres", "valkey"))]
    files += [path for path in ground.valkey.data_dir.rglob("*") if path.is_file() and path.suffix in (".aof", ".rdb")]
    found = []
    for path in files:
        content = path.read_bytes()
        found += [f"{path.name} has {what}" for what, secret in secrets.items() if secret.encode() in content]
    kept = "SELECT count(*) FROM job_executions e WHERE e::text LIKE %s"
    tried = "SELECT count(*) FROM job_attempts a WHERE a::text LIKE %s"
    for table, query in (("job_executions", kept), ("job_attempts", tried)):
        if ground.sql(query, f"%{CANARY}%") != [(0,)]:
            found.append(f"{table} has the header of a call")
    return found


def _rows(ground: Ground, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(ground.postgres.url, row_factory=dict_row) as conn:
        return conn.execute(query.encode()).fetchall()
