"""The one read at the end: the database's last word, and a search for what must not be anywhere."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from cronsvc.services.self_check import SelfCheck
from cronsvc.store.pool import Database
from tests.faults.api_user import ApiUser
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

# What a hash is of, as the migration that made the chain says it; the hashing itself is the checker's.
CHAIN = """
SELECT c.place, c.audit_id AS entry, encode(c.hash, 'hex') AS hash,
       CASE WHEN a.id IS NOT NULL THEN
           jsonb_build_array(1, a.id, to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), a.actor,
                             a.source, a.request_id, a.action, a.entity, a.entity_id, a.namespace, a.before,
                             a.after)::text END AS text
  FROM audit_chain AS c LEFT JOIN audit_log AS a ON a.id = c.audit_id ORDER BY c.place
"""

AUDIT_IDS = "SELECT id FROM audit_log ORDER BY id"
UNSEALED = "SELECT count(*) FROM audit_unsealed"

FENCES = """
SELECT extract(epoch FROM at)::float8 AS t, after ->> 'detail' AS words FROM audit_log
 WHERE entity = 'service' AND action = 'fence'
 UNION ALL
SELECT extract(epoch FROM clock_timestamp())::float8, 'still fenced at the end' WHERE cronsvc_fenced()
"""

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

SEAL_SECONDS = 15.0


def quiesce(ground: Ground, *, until: float, seconds: float) -> None:
    """Wait until the last instant is over and everything has ended; after `seconds` it is the checker's to say."""
    time.sleep(max(0.0, until + 1.0 - time.time()))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ground.sql(UNFINISHED) == [(0,)]:
            return
        time.sleep(0.5)


def final_read(ground: Ground) -> None:
    """Write db.json: rows, audit, what lingers, where a secret was found, and what the service says of itself."""
    _wait(lambda: ground.sql(UNSEALED) == [(0,)], SEAL_SECONDS)
    look_at_itself(ground)
    last: dict[str, Any] = {
        "executions": _rows(ground, EXECUTIONS),
        "attempts": _rows(ground, ATTEMPTS),
        "audit": _rows(ground, AUDIT),
        "revisions": dict(ground.sql(REVISIONS)),
        "gaps": ground.sql("SELECT count(*) FROM cronsvc_v1.gaps")[0][0],
        "lingering": [words for (words,) in ground.sql(LINGERING)],
        "leaks": leaks(ground),
        "audit_ids": [id_ for (id_,) in ground.sql(AUDIT_IDS)],
        "chain": _rows(ground, CHAIN),
        "verdict": verdict(ApiUser(ground.api_port, ground.admin_key, ground.recorder)),
        "fences": _rows(ground, FENCES),
        "self_checks": [*alarms(ground), *readiness(ground)],
    }
    (ground.folder / "db.json").write_text(json.dumps(last))


def verdict(user: ApiUser) -> dict[str, Any]:
    """What `GET /audit/verify` says, to its end: `intact`, `broken`, `checked`."""
    checked, cursor = 0, ""
    while True:
        status, answer = user.call("GET", f"/audit/verify{cursor}")
        if status != 200:
            return {"intact": False, "checked": checked, "broken": f"it answers {status}"}
        checked += answer["checked"]
        if not answer["intact"] or answer["nextCursor"] is None:
            # An entry is looked at in its place, and again for whether it has one.
            return {"intact": answer["intact"], "checked": checked // 2, "broken": answer["broken"]}
        cursor = f"?cursor={answer['nextCursor']}"


def look_at_itself(ground: Ground) -> None:
    """Make a round of the self check, and write it down if it finds something three times in a row."""
    words: tuple[str, ...] = ()
    for _ in range(3):
        words = asyncio.run(_round(ground.postgres.url))
        if not words:
            return
        time.sleep(1.0)
    ground.recorder.write("self_checks", who="the harness", words="; ".join(words))


async def _round(url: str) -> tuple[str, ...]:
    db = await Database.open(url, application_name="faults", max_size=1)
    try:
        return (await SelfCheck(db).look()).problems
    finally:
        await db.close()


def alarms(ground: Ground) -> list[dict[str, Any]]:
    """The red rounds of the API processes, from their logs: whatever they saw during the run."""
    found = []
    for proc in ground.of("api"):
        for line in proc.log.read_text(errors="replace").splitlines():
            if '"self check: ' in line and "all is well again" not in line:
                found.append({"who": proc.name, "words": line})
    return found


def readiness(ground: Ground) -> list[dict[str, Any]]:
    """What `/ready` says at the end, unless all is well."""
    status = ApiUser(ground.api_port, ground.admin_key, ground.recorder).health()
    return [] if status == 200 else [{"who": "api-1", "words": f"/ready answers {status} at the end"}]


def _wait(holds: Callable[[], bool], seconds: float) -> None:
    """Poll up to a bound; what is not over then the checker will see."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)


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
