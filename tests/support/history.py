"""A database with a past that is known: for every question in sql/audit/ something planted, and something close by."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

SECRET = "tell-nobody-5f1c"
OLD_DAYS = 40  # in a partition of its own, beyond what any question looks back

ALIVE = "11111111-1111-4111-8111-111111111111"
LOST = "22222222-2222-4222-8222-222222222222"


class History:
    """Writes rows by plain SQL, relative to the database's now (whole seconds)."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.conn = conn
        row = conn.execute("SELECT date_trunc('second', now())").fetchone()
        assert row is not None
        self.now: datetime = row[0].astimezone(UTC)

    def ago(self, **span: float) -> datetime:
        return self.now - timedelta(**span)

    def insert(self, table: str, **columns: Any) -> Any:
        values = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in columns.items()}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Placeholder, values)),
        )
        row = self.conn.execute(statement, values).fetchone()
        assert row is not None
        return row[0]

    def job(self, name: str, **columns: Any) -> int:
        """An armed job that is due next year, so that nothing about it is overdue."""
        payload = {"type": "API_CALL", "config": {"url": "https://example.com/", "headers": {"Authorization": SECRET}}}
        plain: dict[str, Any] = {"cron_expression": "0 4 1 3 *", "task_payload": payload, "armed_revision": 1}
        return int(self.insert("jobs", name=name, **plain | {"next_fire_time": self.ago(days=-365)} | columns))

    def ran(
        self,
        job_id: int,
        at: datetime,
        *,
        late: float = 0.01,
        waited: float = 0.005,
        seconds: float = 1.0,
        outcomes: tuple[str, ...] = ("success",),
        **columns: Any,
    ) -> int:
        """An execution that ended: a row, and one for each attempt, ten seconds apart."""
        starts = [at + timedelta(seconds=late + 10 * n) for n in range(len(outcomes))]
        ends = [start + timedelta(seconds=seconds) for start in starts]
        last = outcomes[-1]
        error = None if last == "success" else {"type": last, "message": f"it was {last}"}
        plain = {
            "status": "SUCCESS" if last == "success" else "FAILED",
            "status_reason": None if last == "success" else last,
            "error": error,
            "attempt": len(outcomes),
            "start_time": starts[-1],
            "end_time": ends[-1],
            "created_at": at,
            "ready_at": at,
        }
        id_ = int(self.execution(job_id, at, **plain | columns))
        for number, (outcome, start, end) in enumerate(zip(outcomes, starts, ends, strict=True), start=1):
            self.insert(
                "job_attempts",
                job_id=job_id,
                scheduled_time=at,
                claim_no=number,
                execution_id=id_,
                attempt=number,
                outcome=outcome,
                ready_at=start - timedelta(seconds=waited),
                start_time=start,
                end_time=end,
            )
        return id_

    def execution(self, job_id: int, at: datetime, **columns: Any) -> Any:
        return self.insert("job_executions", job_id=job_id, scheduled_time=at, **{"dispatch_at": None} | columns)

    def skipped(self, job_id: int, at: datetime, reason: str, **columns: Any) -> None:
        self.execution(job_id, at, status="SKIPPED", status_reason=reason, end_time=at, **columns)


def plant(conn: psycopg.Connection[Any]) -> History:
    """Write the whole past. What each question should find of it is said in tests/contract/test_audit_sql.py."""
    past = History(conn)
    _ends(past)
    _timings(past)
    _ledger(past)
    _unfinished(past)
    _jobs_and_people(past)
    return past


def _ends(past: History) -> None:
    flaky = past.job("flaky", namespace="team-a")
    for hour in range(1, 8):
        past.ran(flaky, past.ago(hours=hour))
    past.ran(flaky, past.ago(hours=8), outcomes=("error", "error", "error"))
    resolved: dict[str, Any] = {"resolved_at": past.now, "resolved_by": "key:alice", "resolve_note": "sent by hand"}
    past.ran(flaky, past.ago(hours=9), outcomes=("timeout",), **resolved)
    past.ran(flaky, past.ago(hours=10), outcomes=("lost",))
    past.ran(flaky, past.ago(days=3), outcomes=("error",))
    past.ran(flaky, past.ago(days=OLD_DAYS), outcomes=("error",))
    mended = past.job("mended")
    past.ran(mended, past.ago(hours=2), outcomes=("lost", "released", "success"))
    past.ran(mended, past.ago(hours=1))
    never = past.job("never")
    past.ran(never, past.ago(days=5))
    past.ran(never, past.ago(hours=3), outcomes=("error",))
    past.skipped(never, past.ago(hours=2), "overlap")


def _timings(past: History) -> None:
    slow = past.job("slow")
    for n in range(1, 101):
        past.ran(slow, past.ago(minutes=5 * n), seconds=n, late=n / 100, waited=n / 200)
    past.ran(slow, past.ago(minutes=7, microseconds=1), seconds=5000, trigger="manual")
    past.ran(slow, past.ago(days=OLD_DAYS), seconds=9000)
    late = past.job("late")
    at = past.ago(hours=4)
    past.ran(late, at, late=42, waited=12, created_at=at + timedelta(seconds=30), dispatches=2)
    past.ran(late, past.ago(hours=5), late=4.9)
    past.ran(late, past.ago(hours=6), outcomes=("error", "success"))  # its second attempt began late, its first did not
    past.ran(late, past.ago(days=2), late=600)


def _ledger(past: History) -> None:
    holey = past.job("holey")
    first, lost, third, skip, end, last = (past.ago(hours=20, minutes=-n) for n in range(6))
    past.ran(holey, first)
    past.ran(holey, third, previous_time=lost)
    past.skipped(holey, skip, "misfire", previous_time=third, skipped_until=end)
    past.ran(holey, last, previous_time=end)
    skipping = past.job("skipping")
    past.skipped(skipping, past.ago(hours=30), "misfire")
    past.skipped(skipping, past.ago(hours=29), "misfire")
    past.skipped(skipping, past.ago(hours=28), "paused", skipped_until=past.ago(hours=26), skipped_count=40)
    past.skipped(skipping, past.ago(days=OLD_DAYS), "paused", skipped_until=past.ago(days=39), skipped_count=1000)


def _unfinished(past: History) -> None:
    busy = past.job("busy", queue="bulk")
    waits = {"queue": "bulk", "status": "QUEUED"}
    past.execution(busy, past.ago(days=8), ready_at=past.ago(minutes=10), dispatch_at=past.now, dispatches=9, **waits)
    past.execution(busy, past.ago(minutes=3), ready_at=past.ago(minutes=3), dispatch_at=past.now, **waits)
    later = past.ago(minutes=-5)
    past.execution(busy, past.ago(minutes=2), ready_at=later, dispatch_at=later, attempt=1, **waits)
    past.execution(
        busy,
        past.ago(minutes=6),
        queue="bulk",
        status="RUNNING",
        attempt=1,
        claim_no=1,
        worker_id=ALIVE,
        start_time=past.ago(minutes=6),
        ready_at=past.ago(minutes=6),
    )
    past.execution(
        busy,
        past.ago(minutes=1),
        queue="bulk",
        status="RUNNING",
        attempt=1,
        claim_no=1,
        start_time=past.ago(minutes=1),
        ready_at=past.ago(minutes=1),
        callback_since=past.ago(minutes=1),
        callback_due=past.ago(minutes=-1),
        callback_until=past.ago(hours=-1),
        callback_heartbeat=120,
        callback_worker=ALIVE,
    )
    process = {"version": "0.1.0", "concurrency": 5, "queues": ["bulk", "default"]}
    past.insert("workers", id=ALIVE, name="host-a", lease_until=past.ago(days=-1), running=1, **process)
    past.insert(
        "workers",
        id=LOST,
        name="host-b",
        lease_until=past.ago(hours=1),
        state="lost",
        heartbeat_at=past.ago(hours=1),
        **process,
    )
    past.insert("schedulers", id=ALIVE, name="host-a", version="0.1.0", heartbeat_at=past.ago(days=-1))
    past.insert("schedulers", id=LOST, name="host-b", version="0.1.0", heartbeat_at=past.ago(minutes=10))


def _jobs_and_people(past: History) -> None:
    past.insert("api_keys", key_id="k1", name="alice", secret_hash=SECRET.encode(), role="admin", created_by="test")
    past.insert("secrets", name="sealed", ciphertext=SECRET.encode(), key_id="0a1b2c3d", created_by="key:alice")
    past.insert(
        "audit_log", at=past.ago(days=8), actor="key:zoe", action="delete", entity="job", entity_id="999"
    )  # too long ago
    past.insert("calendar_dates", calendar_id=past.insert("calendars", name="closed", created_by="test"), date=past.now)
    window = {"starts_at": past.ago(days=-1), "ends_at": past.ago(days=-2), "during": "hold"}
    past.insert("maintenance_windows", name="upgrade", created_by="test", **window)
    definition = json.dumps({"taskPayload": {"type": "API_CALL", "config": {"headers": {"Authorization": SECRET}}}})
    past.conn.execute(
        "WITH made AS (INSERT INTO job_templates (name, created_by) VALUES ('alike', 'test') RETURNING id)"
        " INSERT INTO job_template_revisions (template_id, revision, parameters, definition, actor)"
        " SELECT id, 1, '[]', %s, 'test' FROM made",
        (definition,),
    )
    past.conn.execute("INSERT INTO egress_lists (namespace, layer, hosts) VALUES ('team-a', 'service', '{a.example}')")
    past.conn.execute("INSERT INTO target_hosts (host, calls_per_second) VALUES ('a.example', 1)")
    past.conn.execute(
        "INSERT INTO host_holds (job_id, scheduled_time, host, reason, execution_id, namespace, claim_no, held_until)"
        " SELECT job_id, scheduled_time, 'a.example', 'rate', id, 'default', 1, now() FROM job_executions LIMIT 1"
    )
    past.job("broken", quarantine_reason="cronExpression: no such month")
    past.job("dependent", depends_on={"on": [{"job": "broken"}]})
    window = {"window_from": past.ago(days=2), "window_to": past.ago(days=1), "direction": "oldest", "max_parallel": 1}
    past.insert("recoveries", selector={}, max_total=10, created_by="key:alice", **window)
    past.insert(
        "backfills",
        job_id=past.job("filled"),
        revision=1,
        mode="missing",
        planned=0,
        params={"token": SECRET},
        created_by="key:alice",
        **window,
    )
    past.job("off", is_active=False)
    past.job("behind", next_fire_time=past.ago(minutes=10))
    past.job("unseen", armed_revision=0, updated_at=past.ago(minutes=5))
    past.job("just written", armed_revision=0)
    held = past.job("held")
    with past.conn.transaction():
        past.conn.execute("SELECT set_config('cronsvc.actor', 'key:alice', true)")
        past.conn.execute("UPDATE jobs SET timeout_seconds = 5, priority = 1 WHERE id = %s", (held,))
    with past.conn.transaction():
        past.conn.execute("SELECT set_config('cronsvc.actor', 'key:alice', true)")
        past.conn.execute(
            "UPDATE jobs SET paused_at = now(), paused_by = 'key:alice', pause_note = 'moving house' WHERE id = %s",
            (held,),
        )
