"""Every verdict on an instant, from evidence alone, and what the clock has to do with it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.calendars import CalendarRule, ClosedDays
from cronsvc.domain.evidence import (
    Evidence,
    Explanation,
    PauseAct,
    Pruned,
    QueueFacts,
    Record,
    Revised,
    Schedulers,
    Step,
    Verdict,
    WorkerFacts,
    length,
)
from cronsvc.domain.execution import Attempt, Execution, Status, Trigger
from cronsvc.domain.explain import explain
from cronsvc.domain.explain_clock import change_near, clock_step, instant_of_wall
from cronsvc.domain.job import Job, JobDefinition, Pause, TaskPayload
from cronsvc.domain.schedule import Schedule, next_fire

AT = datetime(2026, 6, 10, 9, tzinfo=UTC)
MADE = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
TOMORROW = AT + timedelta(days=1)
PLAIN = JobDefinition(
    name="report",
    schedule=Schedule(cron_expression="0 9 * * *"),
    task_payload=TaskPayload("API_CALL", {"url": "https://example.com/?token=hush"}),
)
FIRST = Revised(1, PLAIN, "key:alice", MADE)
JOB = Job(
    id=7,
    definition=PLAIN,
    revision=1,
    pause=None,
    next_fire_time=TOMORROW,
    last_fire_time=AT,
    fire_count=9,
    quarantine_reason=None,
    created_at=MADE,
    updated_at=MADE,
)
# Nothing is recorded at nine though the cursor has passed it: the worst there is, and where the others begin.
HOLE = Evidence(at=AT, now=NOON, job=JOB, armed=True, revision=FIRST)
ALICE_PAUSE = Pause("key:alice", AT - timedelta(hours=1), "moving house", None)


HOLIDAY = replace(
    PLAIN.schedule,
    calendar="holidays",
    calendar_rule=CalendarRule.NEXT,
    closed_days=ClosedDays(frozenset({TOMORROW.date()})),
)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def execution(**fields: Any) -> Execution:
    plain: dict[str, Any] = dict.fromkeys(Execution.__slots__)
    plain |= {
        "id": 40,
        "job_id": 7,
        "job_name": "report",
        "namespace": "default",
        "scheduled_time": AT,
        "trigger": Trigger.SCHEDULE,
        "status": Status.SUCCESS,
        "revision": 1,
        "queue": "default",
        "priority": 10,
        "attempt": 1,
        "max_attempts": 3,
        "queued_at": AT + seconds(0.5),
    }
    return Execution(**plain | fields)


def row(held: str | None = None, **fields: Any) -> Record:
    times = {name: fields.pop(name, None) for name in ("dispatch_at", "deadline_at", "backfill_id")}
    ready_at = fields.pop("ready_at", AT + seconds(0.5))
    dispatches = fields.pop("dispatches", 1)
    return Record(execution(**fields), ready_at=ready_at, dispatches=dispatches, held=held, **times)


def attempt(**fields: Any) -> Attempt:
    plain: dict[str, Any] = {
        "attempt": 1,
        "claim_no": 1,
        "outcome": "success",
        "worker_id": "w1",
        "queued_at": AT + seconds(0.5),
        "start_time": AT + seconds(2.5),
        "end_time": AT + seconds(6.5),
        "error": None,
        "http_status": 200,
        "response_excerpt": None,
    }
    return Attempt(**plain | fields)


def with_row(record: Record, **fields: Any) -> Evidence:
    return replace(HOLE, record=record, **fields)


def defined(**fields: Any) -> Evidence:
    """The hole, with another definition in force then and now."""
    definition = replace(PLAIN, **fields)
    return replace(HOLE, revision=replace(FIRST, definition=definition), job=replace(JOB, definition=definition))


def job(**fields: Any) -> Evidence:
    """The hole of a job that stands elsewhere."""
    return replace(HOLE, job=replace(JOB, **fields))


def step(explanation: Explanation, what: str) -> Step:
    found = [each for each in explanation.steps if each.what == what]
    assert found, (what, [each.what for each in explanation.steps])
    return found[-1]


RAN = with_row(
    row(start_time=AT + seconds(2.5), end_time=AT + seconds(6.5), worker_id="w1"),
    attempts=(attempt(),),
    workers={"w1": WorkerFacts("w1", "host-a", "active", True, NOON)},
)
QUEUE = QueueFacts("default", None, None, None, False, None, None, 2)
WAITS = row(status=Status.QUEUED, attempt=0, dispatch_at=NOON)
BEHIND: Mapping[str, Any] = {"next_fire_time": AT, "last_fire_time": AT - timedelta(days=1)}
SQL_EDIT = Revised(
    2, replace(PLAIN, schedule=Schedule(cron_expression="0 17 * * *")), "sql:postgres", AT + timedelta(hours=1)
)
SPAN = execution(
    id=39,
    scheduled_time=AT - timedelta(days=3),
    status=Status.SKIPPED,
    status_reason="misfire",
    skipped_until=AT + timedelta(days=2),
    skipped_count=6,
)

CASES: dict[str, tuple[Evidence, Verdict, str, str, str]] = {
    # name: evidence, verdict, words of the summary, a step there must be, words of it
    "ran": (RAN, Verdict.RAN, "succeeded, attempt 1 of 3, in 4.0 s; it began 2.5 s after", "attempt", "answered 200"),
    "late": (RAN, Verdict.RAN, "", "lateness", "recorded 500 ms late, then 2.0 s until a worker took it"),
    "running": (
        with_row(
            row(status=Status.RUNNING, start_time=AT + seconds(1), worker_id="w1"),
            workers={"w1": WorkerFacts("w1", "host-a", "active", True, NOON)},
        ),
        Verdict.RUNNING,
        "running, since 2026-06-10 09:00:01",
        "claim",
        "host-a",
    ),
    "running under a dead lease": (
        with_row(
            row(status=Status.RUNNING, start_time=AT + seconds(1), worker_id="w1"),
            workers={"w1": WorkerFacts("w1", "host-a", "lost", False, AT)},
        ),
        Verdict.RUNNING,
        "",
        "claim",
        "will be rescued",
    ),
    "asked to stop": (
        with_row(
            row(
                status=Status.RUNNING,
                start_time=AT,
                cancel_requested_at=NOON,
                cancel_requested_by="key:bob",
                cancel_note="too slow",
            )
        ),
        Verdict.RUNNING,
        "",
        "cancel",
        "key:bob asked at 2026-06-10 12:00:00 UTC to end it: too slow",
    ),
    "waiting": (with_row(WAITS, queue=QUEUE), Verdict.WAITING, "waits for a worker", "dispatch", "to Redis once"),
    "nobody serves the queue": (
        with_row(WAITS, queue=replace(QUEUE, workers=0)),
        Verdict.WAITING,
        "no worker alive serves its queue 'default'",
        "queue",
        "0 workers are alive and serving it",
    ),
    "backoff": (
        with_row(row(status=Status.QUEUED, attempt=2, ready_at=NOON + seconds(30)), queue=QUEUE),
        Verdict.WAITING,
        "next attempt can begin at 2026-06-10 12:00:30",
        "retry",
        "Attempt 3 can begin",
    ),
    "jitter": (
        with_row(row(status=Status.QUEUED, attempt=0, ready_at=NOON + seconds(30)), queue=QUEUE),
        Verdict.WAITING,
        "it can begin at",
        "jitter",
        "spreads its starts",
    ),
    "deadline": (
        with_row(replace(WAITS, deadline_at=NOON + seconds(9)), queue=QUEUE),
        Verdict.WAITING,
        "",
        "deadline",
        "2026-06-10 12:00:09",
    ),
    "held by overlap": (
        with_row(replace(WAITS, held="overlap"), others=(execution(id=31),), queue=QUEUE),
        Verdict.HELD,
        "until earlier executions",
        "overlap",
        "execution 31",
    ),
    "held by a limit": (with_row(replace(WAITS, held="limit")), Verdict.HELD, "a place", "limit", "a place"),
    "held by its queue": (
        with_row(
            replace(WAITS, held="queue_paused"), queue=replace(QUEUE, paused=True, paused_by="key:bob", pause_note="db")
        ),
        Verdict.HELD,
        "its queue is paused",
        "queue",
        "paused by key:bob: db",
    ),
    "held by a window": (
        with_row(replace(WAITS, held="maintenance", ready_at=NOON + seconds(60), window="db", window_reason="upgrade")),
        Verdict.HELD,
        "a maintenance window holds it",
        "window",
        "It is the window 'db': upgrade.",
    ),
    "skipped by a window": (
        with_row(replace(row(status=Status.SKIPPED, status_reason="maintenance", end_time=AT), window="db")),
        Verdict.SKIPPED,
        "a maintenance window was open",
        "window",
        "It is the window 'db'.",
    ),
    "skipped by its calendar": (
        with_row(row(status=Status.SKIPPED, status_reason="calendar", end_time=AT)),
        Verdict.SKIPPED,
        "closes this day",
        "calendar",
        "SKIPPED (calendar)",
    ),
    "a day ahead that its calendar closes": (
        replace(
            HOLE,
            at=TOMORROW,
            revision=replace(FIRST, definition=replace(PLAIN, schedule=HOLIDAY)),
        ),
        Verdict.NOT_YET,
        "The calendar holidays closes that day: it runs at 2026-06-12 09:00:00 UTC instead.",
        "calendar",
        "closes that day",
    ),
    "failed": (
        with_row(
            row(
                status=Status.FAILED,
                status_reason="error",
                attempt=3,
                end_time=NOON,
                error={"type": "http_status", "message": "it said 500"},
            ),
            attempts=(attempt(outcome="error", error={"type": "http_status", "message": "it said 500"}),),
        ),
        Verdict.FAILED,
        "failed, attempt 3 of 3: the last attempt reported a failure (http_status: it said 500)",
        "resolution",
        "a dead letter",
    ),
    "lost": (
        with_row(row(status=Status.FAILED, status_reason="lost", end_time=NOON)),
        Verdict.FAILED,
        "is unknown",
        "outcome",
        "its worker died holding it",
    ),
    "resolved": (
        with_row(
            row(
                status=Status.FAILED,
                status_reason="timeout",
                end_time=AT,
                resolved_at=NOON,
                resolved_by="key:bob",
                resolve_note="sent by hand",
            )
        ),
        Verdict.FAILED,
        "ran out of time",
        "resolution",
        "key:bob resolved",
    ),
    "cancelled": (
        with_row(row(status=Status.CANCELLED, status_reason="replaced", end_time=NOON)),
        Verdict.CANCELLED,
        "a newer execution",
        "outcome",
        "ended CANCELLED",
    ),
    "skipped": (
        with_row(
            row(status=Status.SKIPPED, status_reason="overlap", end_time=AT, attempt=0), others=(execution(id=31),)
        ),
        Verdict.SKIPPED,
        "an earlier execution was unfinished",
        "overlap",
        "Unfinished then: execution 31",
    ),
    "skipped for a reason of a later release": (
        with_row(row(status=Status.SKIPPED, status_reason="eclipse", end_time=AT, attempt=0)),
        Verdict.SKIPPED,
        "eclipse",
        "skip",
        "eclipse",
    ),
    "skipped in a range": (
        replace(HOLE, cover=SPAN),
        Verdict.SKIPPED,
        "execution 39 is SKIPPED (misfire) for every instant from 2026-06-07 09:00:00",
        "misfire",
        "6 instants",
    ),
    "manual": (
        with_row(row(trigger=Trigger.MANUAL, requested_by="key:bob")),
        Verdict.RAN,
        "",
        "record",
        "key:bob asked for this run",
    ),
    "backfilled": (
        with_row(row(trigger=Trigger.BACKFILL, requested_by="key:bob", backfill_id=5, revision=3)),
        Verdict.RAN,
        "",
        "record",
        "Backfill 5, asked for by key:bob, made a run of it. The row has pinned revision 3",
    ),
    "backfilled before the job": (
        with_row(row(trigger=Trigger.BACKFILL, backfill_id=5), revision=None, record_revision=FIRST),
        Verdict.RAN,
        "",
        "revision",
        "No definition was in force yet",
    ),
    "no such instant": (
        replace(HOLE, at=NOON),
        Verdict.NOT_SCHEDULED,
        "does not name this instant",
        "schedule",
        "before it 2026-06-10 09:00:00 UTC, after it 2026-06-11 09:00:00 UTC",
    ),
    "not yet": (
        replace(HOLE, at=TOMORROW),
        Verdict.NOT_YET,
        "21 h from now",
        "cursor",
        "2026-06-11 09:00:00 UTC is the first instant without a row",
    ),
    "not armed": (
        replace(job(next_fire_time=AT - seconds(9), last_fire_time=None), armed=False, now=AT - seconds(5)),
        Verdict.NOT_YET,
        "5.0 s from now",
        "cursor",
        "counts from 2026-06-10 08:59:51",
    ),
    "due": (
        replace(job(**BEHIND), schedulers=Schedulers(2, NOON, 7, "cronsvc-scheduler", 3.5)),
        Verdict.DUE,
        "due 3 h ago and is not recorded yet: it is due",
        "scheduler",
        "cronsvc-scheduler holds its shard 7 for 3.5 s",
    ),
    "due and nobody there": (
        replace(job(**BEHIND), schedulers=Schedulers(0, AT, 7)),
        Verdict.DUE,
        "no scheduler is alive",
        "scheduler",
        "0 schedulers are alive, last heard of at 2026-06-10 09:00:00",
    ),
    "before the job": (
        replace(HOLE, at=AT - timedelta(days=30), revision=None, next_revision=FIRST),
        Verdict.BEFORE_JOB,
        "created at 2026-06-01",
        "revision",
        "No definition",
    ),
    "before start": (
        defined(schedule=replace(PLAIN.schedule, start_at=AT + seconds(1))),
        Verdict.BEFORE_START,
        "begins later",
        "schedule",
        "does not name",
    ),
    "after end": (
        defined(schedule=replace(PLAIN.schedule, end_at=AT - seconds(1))),
        Verdict.AFTER_END,
        "had ended at 2026-06-10 08:59:59",
        "schedule",
        "does not name",
    ),
    "all runs are spent": (
        replace(
            defined(max_runs=4),
            job=replace(
                JOB,
                definition=replace(PLAIN, max_runs=4),
                fire_count=4,
                next_fire_time=None,
                last_fire_time=AT - timedelta(days=2),
            ),
        ),
        Verdict.ENDED,
        "run 4 times, and maxRuns was 4",
        "limit",
        "maxRuns",
    ),
    "all runs were spent under that revision": (
        replace(HOLE, revision=replace(FIRST, definition=replace(PLAIN, max_runs=2)), runs_before=2),
        Verdict.ENDED,
        "maxRuns was 2",
        "limit",
        "2 times",
    ),
    "the runs left end before": (
        replace(
            HOLE,
            at=AT + timedelta(days=3),
            job=replace(JOB, definition=replace(PLAIN, max_runs=11), fire_count=9),
        ),
        Verdict.ENDED,
        "will not run",
        "limit",
        "maxRuns is 11",
    ),
    "inactive": (defined(is_active=False), Verdict.INACTIVE, "by key:alice", "activity", "revision 1"),
    "made inactive by SQL before it was recorded": (
        replace(HOLE, job=replace(JOB, definition=replace(PLAIN, is_active=False), **BEHIND)),
        Verdict.INACTIVE,
        "inactive now",
        "cursor",
        "first instant",
    ),
    "paused now": (
        replace(job(pause=ALICE_PAUSE, **BEHIND), pause=PauseAct("key:alice", ALICE_PAUSE.at, "moving house", None)),
        Verdict.PAUSED,
        "paused by key:alice until somebody resumes it",
        "pause",
        "moving house. It lasts until somebody",
    ),
    "paused, and it will still be": (
        replace(job(pause=replace(ALICE_PAUSE, until=TOMORROW)), at=TOMORROW),
        Verdict.PAUSED,
        "until 2026-06-11 09:00:00",
        "cursor",
        "first instant",
    ),
    "paused, and the pause ends before": (
        replace(job(pause=replace(ALICE_PAUSE, until=NOON)), at=TOMORROW),
        Verdict.NOT_YET,
        "lies ahead",
        "cursor",
        "first instant",
    ),
    "skipped by a pause that is over": (
        replace(
            HOLE,
            cover=replace(SPAN, status_reason="paused"),
            pause=PauseAct("key:bob", AT - seconds(60), None, None, NOON, "key:carol"),
        ),
        Verdict.SKIPPED,
        "SKIPPED (paused)",
        "pause",
        "the job was paused",
    ),
    "quarantined": (
        job(quarantine_reason="timezone: no such place", **BEHIND),
        Verdict.QUARANTINED,
        "no such place",
        "quarantine",
        "No scheduler can plan",
    ),
    "unreadable then": (
        replace(HOLE, revision=replace(FIRST, fault="backoff: 'text' is not a number")),
        Verdict.QUARANTINED,
        "is not a number",
        "schedule",
        "cannot be read",
    ),
    "a schedule that means nothing": (
        defined(schedule=Schedule(cron_expression="61 * * * *")),
        Verdict.QUARANTINED,
        "minute",
        "schedule",
        "cannot be read",
    ),
    "a zone that is none": (
        defined(schedule=Schedule(cron_expression="0 9 * * *", timezone="Mars/Olympus")),
        Verdict.QUARANTINED,
        "Mars/Olympus",
        "quarantine",
        "Mars/Olympus",
    ),
    "deleted": (
        replace(HOLE, deleted_at=AT - seconds(1)),
        Verdict.DELETED,
        "deleted at 2026-06-10 08:59:59",
        "activity",
        "deleted",
    ),
    "edited by SQL": (
        replace(HOLE, next_revision=SQL_EDIT),
        Verdict.EDITED,
        "sql:postgres changed the schedule (revision 2)",
        "revision",
        "before the instant was recorded",
    ),
    "edited at that moment": (
        replace(HOLE, next_revision=replace(SQL_EDIT, actor="key:bob", created_at=AT + seconds(1))),
        Verdict.EDITED,
        "key:bob changed",
        "revision",
        "revision 2",
    ),
    "edited long after by the API": (
        replace(HOLE, next_revision=replace(SQL_EDIT, actor="key:bob")),
        Verdict.MISSING,
        "A defect",
        "ledger",
        "neither a row nor a range",
    ),
    "edited by SQL, but not its schedule": (
        replace(HOLE, next_revision=replace(SQL_EDIT, definition=replace(PLAIN, description="new"))),
        Verdict.MISSING,
        "A defect",
        "ledger",
        "",
    ),
    "pruned by age": (
        replace(HOLE, oldest_kept=AT + timedelta(days=2), named_by=AT + timedelta(days=2)),
        Verdict.PRUNED,
        "dropped by age",
        "retention",
        "2026-06-12",
    ),
    "pruned by number": (
        replace(HOLE, pruned=Pruned(AT - seconds(60), AT + seconds(60), 3, 1, 0, 0)),
        Verdict.PRUNED,
        "3 succeeded, 1 failed",
        "retention",
        "are deleted",
    ),
    "missing": (HOLE, Verdict.MISSING, "A defect", "ledger", "neither a row nor a range"),
    "missing, and a later row knows": (
        replace(HOLE, named_by=TOMORROW, pruned=Pruned(AT, AT, 1, 0, 0, 0), next_revision=SQL_EDIT),
        Verdict.MISSING,
        "it was recorded, and its row is gone",
        "ledger",
        "2026-06-11 09:00:00",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    evidence, verdict, summary, what, says = CASES[name]
    explanation = explain(evidence)
    assert explanation.verdict is verdict, explanation
    assert summary in explanation.summary, explanation.summary
    assert any(says in each.says for each in explanation.steps if each.what == what), explanation.steps
    assert "hush" not in repr(explanation.steps)  # no configuration in the facts


def test_every_verdict_has_a_case() -> None:
    assert {verdict for _, verdict, *_ in CASES.values()} == set(Verdict)


def test_facts_split_the_lateness() -> None:
    facts = step(explain(RAN), "lateness").facts
    assert (facts["late_seconds"], facts["recorded_late_seconds"], facts["waited_seconds"]) == (2.5, 0.5, 2.0)
    jittered = with_row(
        row(start_time=AT + seconds(12)), attempts=(attempt(queued_at=AT + seconds(10), start_time=AT + seconds(12)),)
    )
    assert step(explain(jittered), "lateness").facts["held_back_seconds"] == 9.5


def test_the_nearest_instants_do_not_come_before_the_job() -> None:
    found = explain(replace(HOLE, at=MADE + seconds(1)))
    assert (found.before, found.after) == (None, datetime(2026, 6, 2, 9, tzinfo=UTC))
    found = explain(RAN)
    assert (found.before, found.after) == (AT - timedelta(days=1), TOMORROW)
    assert found.execution is not None and found.execution.id == 40


NEW_YORK = "America/New_York"
GAP = datetime(2026, 3, 8, 7, tzinfo=UTC)
FIRST_PASS, SECOND_PASS = datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "at", "says", "runs"),
    [
        ("30 2 * * *", GAP, "02:30 did not exist in America/New_York on 2026-03-08", True),
        ("30 2 * * *", GAP, "right after the gap, at 03:00 (2026-03-08 07:00:00 UTC)", True),
        ("30 2 * * *", GAP + timedelta(minutes=30), "right after the gap, at 03:00", False),
        ("0,20,40 2 * * *", GAP, "02:00, 02:20, 02:40 did not exist", True),
        ("30 * * * *", GAP, "has no instant there", False),
        ("30 * * * *", GAP + timedelta(minutes=30), "02:30 did not exist", True),
        ("0 3 * * *", GAP, "names no time that this touches", True),
        ("30 1 * * *", FIRST_PASS, "the job runs at the first, 2026-11-01 05:30:00 UTC", True),
        ("30 1 * * *", SECOND_PASS, "not again at the second", False),
        ("30 * * * *", SECOND_PASS, "01:30 came twice", True),
        ("30 * * * *", FIRST_PASS, "runs both times", True),
    ],
)
def test_the_rule_of_a_clock_change(expression: str, at: datetime, says: str, runs: bool) -> None:
    """The words agree with the function that fires."""
    schedule = Schedule(cron_expression=expression, timezone=NEW_YORK)
    assert says in clock_step(schedule, at).says
    assert (next_fire(schedule, at - timedelta(microseconds=1)) == at) is runs
    evidence = replace(
        defined(schedule=schedule),
        at=at,
        now=at + timedelta(days=1),
        revision=replace(
            FIRST, definition=replace(PLAIN, schedule=schedule), created_at=datetime(2026, 1, 1, tzinfo=UTC)
        ),
        job=replace(
            JOB,
            definition=replace(PLAIN, schedule=schedule),
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            next_fire_time=at + timedelta(days=2),
        ),
    )
    found = explain(evidence)
    assert found.verdict is (Verdict.MISSING if runs else Verdict.NOT_SCHEDULED)
    assert (says in found.summary) is ("touches" not in says)


def test_changes_of_other_sizes() -> None:
    lord_howe = change_near(datetime(2026, 4, 4, 15, 20, tzinfo=UTC), "Australia/Lord_Howe")
    assert (
        lord_howe is not None and not lord_howe.is_gap and lord_howe.before - lord_howe.later == timedelta(minutes=30)
    )
    apia = change_near(datetime(2011, 12, 30, 12, tzinfo=UTC), "Pacific/Apia")
    assert apia is not None and apia.is_gap and apia.walls[0] == datetime(2011, 12, 30)
    assert change_near(GAP + timedelta(hours=1, seconds=1), NEW_YORK) is None
    assert change_near(GAP, "UTC") is None


def test_wall_times() -> None:
    assert instant_of_wall(datetime(2026, 3, 8, 2, 30), NEW_YORK) == GAP
    assert instant_of_wall(datetime(2026, 11, 1, 1, 30), NEW_YORK) == FIRST_PASS
    assert instant_of_wall(datetime(2026, 7, 1, 9), NEW_YORK) == datetime(2026, 7, 1, 13, tzinfo=UTC)


def test_lengths() -> None:
    spans = [0.0842, 2.44, 185, 7500, 90_061, 86_400]
    assert [length(seconds(each)) for each in spans] == ["84 ms", "2.4 s", "3 min 5 s", "2 h 5 min", "1 d 1 h", "1 d"]
