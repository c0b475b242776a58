"""Instants that have a row, with the verdict on each and what the explanation says of it."""

from dataclasses import replace

from cronsvc.domain.evidence import (
    Evidence,
    Verdict,
    WorkerFacts,
)
from cronsvc.domain.execution import Status, Trigger
from tests.support.evidence import (
    AT,
    FIRST,
    HOLE,
    HOLIDAY,
    NOON,
    PLAIN,
    QUEUE,
    RAN,
    SPAN,
    TOMORROW,
    WAITS,
    attempt,
    execution,
    row,
    seconds,
    with_row,
)

Case = tuple[Evidence, Verdict, str, str, str]


# name: evidence, verdict, words of the summary, a step there must be, words of it
ROW_CASES: dict[str, Case] = {
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
}
