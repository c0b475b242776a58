"""The steps of backfills: a few instants at a time become executions, until the window is through.

A step is one transaction: it writes executions and moves the backfill's own cursor, together or not at all, so a
restart anywhere loses no instant and repeats none. Tickets leave after the commit; a lost one is dispatched again like
any other. Every replica steps; the row lock gives a backfill to one of them at a time, and a recovery's bound over all
of its backfills is kept under the lock of the recovery. A job's cursor is never touched.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cronsvc.domain.backfill import INSTANTS_A_LOOK, Backfill, BackfillStatus, Direction, Present, Window
from cronsvc.domain.execution import Status, Ticket
from cronsvc.domain.job import JobDefinition
from cronsvc.domain.schedule import Schedule, instants_between
from cronsvc.errors import Unavailable
from cronsvc.services.closed_days import with_closed_days
from cronsvc.services.dispatch import Dispatcher
from cronsvc.store import backfill_steps, backfills, jobs, partitions, recoveries, running
from cronsvc.store.backfill_steps import Range, Run
from cronsvc.store.backfills import Candidate
from cronsvc.store.pool import Conn, Database
from cronsvc.store.rows import definition_from_json

_log = logging.getLogger("cronsvc.backfilling")

# Instants that one step may leave alone: a window full of them is walked through in several transactions.
MOST_LOOKS = 10


@dataclass(slots=True)
class _Step:
    """What one transaction has decided so far."""

    room: int
    started: int = 0
    left_alone: int = 0
    reached: datetime | None = None
    exhausted: bool = False
    tickets: list[Ticket] = field(default_factory=list)


async def advance_backfills(db: Database, dispatcher: Dispatcher, *, advisory_locks: bool = True) -> int:
    """Start what there is room for and close what has ended; returns how many executions were started.

    A backfill that cannot be stepped is logged and holds up no other.
    """
    started = 0
    while True:
        async with db.statements() as conn:
            found = await backfills.candidates(conn)
        again = False
        for candidate in found:
            try:
                async with db.transaction() as conn:
                    step = await _step(conn, candidate, dispatcher, advisory_locks)
            except Unavailable:
                raise
            except Exception:  # noqa: BLE001 — a defect met by one backfill must not stop the schedulers
                _log.exception("backfill %s cannot be stepped", candidate.backfill_id)
                continue
            if step is None:
                continue
            await dispatcher.push(step.tickets)
            started += step.started
            # Room is left and so is a stretch of the window: nothing will ring for it.
            again = again or (step.room > step.started and not step.exhausted)
        if not again:
            return started


async def _step(conn: Conn, candidate: Candidate, dispatcher: Dispatcher, advisory_locks: bool) -> _Step | None:
    """One step of one backfill inside a transaction; None when there was nothing to start."""
    shared = None
    if candidate.recovery_id is not None:
        recovery = await recoveries.take_recovery(conn, candidate.recovery_id)
        if recovery is None:
            return None
        shared = recovery.max_total - await recoveries.unfinished_of_recovery(conn, recovery)
    backfill = await backfills.take(conn, candidate.backfill_id)
    if backfill is None or backfill.status is BackfillStatus.PAUSED:
        return None
    by_status = (await backfills.counts(conn, [backfill]))[backfill.id]
    unfinished = by_status.get(Status.QUEUED, 0) + by_status.get(Status.RUNNING, 0)
    if backfill.status is not BackfillStatus.RUNNING or backfill.exhausted:
        if unfinished == 0:
            await _close(conn, backfill, by_status)
        return None
    room = backfill.max_parallel - unfinished
    room = room if shared is None else min(room, shared)
    if room <= 0 or (advisory_locks and not await backfill_steps.try_job(conn, backfill.job_id)):
        return None
    if await jobs.hold(conn, backfill.job_id) is None:
        _log.warning("backfill %s ends: its job was deleted", backfill.id)
        await call_off(conn, [backfill])
        return None
    return await _go_on(conn, backfill, room, dispatcher)


async def _go_on(conn: Conn, backfill: Backfill, room: int, dispatcher: Dispatcher) -> _Step:
    """Decide the next instants of a taken backfill until `room` are started, and move its cursor behind them."""
    definition = await _definition(conn, backfill.job_id, backfill.revision)
    window = window_of(backfill, definition.schedule)
    run = Run(backfill, definition, dispatcher.redispatch_after)
    step = _Step(room, reached=backfill.reached)
    for _ in range(MOST_LOOKS):
        instants = window.instants_after(step.reached, INSTANTS_A_LOOK)
        await _decide(conn, run, step, instants)
        step.exhausted = len(instants) < INSTANTS_A_LOOK and (not instants or step.reached == instants[-1])
        if step.exhausted or step.started >= step.room:
            break
    await backfills.advance(
        conn,
        backfill.id,
        reached=step.reached,
        started=step.started,
        left_alone=step.left_alone,
        exhausted=step.exhausted,
    )
    if step.exhausted and step.started == 0:
        fresh = await backfills.find(conn, backfill.id)
        assert fresh is not None  # its row is locked
        by_status = (await backfills.counts(conn, [fresh]))[backfill.id]
        if not by_status.get(Status.QUEUED, 0) + by_status.get(Status.RUNNING, 0):
            await _close(conn, fresh, by_status)
    return step


async def _decide(conn: Conn, run: Run, step: _Step, instants: Sequence[datetime]) -> None:
    """Start or leave alone instants, in order, until the room is filled.

    An instant that somebody else wrote between the look and the write is looked at again: what it is now decides.
    """
    fates: dict[datetime, Ticket | None] = {}
    undecided = list(instants)
    while undecided:
        ledger = await backfill_steps.ledger(conn, run.backfill.job_id, undecided)
        chosen: list[tuple[datetime, Present | None]] = []
        for instant, present, wanted in ledger.runs(run.backfill.mode, undecided):
            if not wanted:
                fates[instant] = None
            elif step.started + len(chosen) < step.room:
                chosen.append((instant, present))
            else:
                break
        tickets = await _start(conn, run, chosen)
        fates |= tickets
        step.started += len(tickets)
        step.tickets += tickets.values()
        undecided = [instant for instant, _ in chosen if instant not in tickets]
    step.left_alone += sum(ticket is None for ticket in fates.values())
    if fates:
        step.reached = max(fates) if run.backfill.direction is Direction.OLDEST else min(fates)


async def _start(conn: Conn, run: Run, chosen: Sequence[tuple[datetime, Present | None]]) -> dict[datetime, Ticket]:
    """Make executions of these instants; the answer lacks those that were not any more what they had been."""
    fresh = [instant for instant, present in chosen if present is None]
    rows = [present for _, present in chosen if present is not None]
    on_ranges = [row.scheduled_time for row in rows if row.skipped_until is not None]
    await partitions.ensure(conn, {partitions.week_of(instant) for instant in fresh})
    ranges = await backfill_steps.ranges(conn, run.backfill.job_id, on_ranges)
    tickets = [*await backfill_steps.start(conn, run, fresh), *await backfill_steps.again(conn, run, rows)]
    started = {ticket.scheduled_time: ticket for ticket in tickets}
    for each in ranges:
        if each.scheduled_time in started:
            await _move_on(conn, run, each)
    return started


async def _move_on(conn: Conn, run: Run, old: Range) -> None:
    """Put what is left of a range on the first of its instants that has no row of its own; none may be left."""
    schedule = await _schedule_of(conn, run, old)
    previous, passed = old.scheduled_time, 0
    while True:
        stretch = instants_between(schedule, previous, old.skipped_until, INSTANTS_A_LOOK)
        if not stretch:
            return
        taken = await backfill_steps.taken(conn, run.backfill.job_id, stretch)
        for instant in stretch:
            passed += 1
            if instant not in taken:
                count = None if old.skipped_count is None else old.skipped_count - passed
                await partitions.ensure(conn, {partitions.week_of(instant)})
                if await backfill_steps.remainder(conn, run, old, first=instant, previous=previous, count=count):
                    return
            previous = instant


async def _schedule_of(conn: Conn, run: Run, old: Range) -> Schedule:
    """The schedule that named the instants of a range: that of its own revision."""
    if old.revision == run.backfill.revision:
        return run.definition.schedule
    try:
        return (await _definition(conn, run.backfill.job_id, old.revision)).schedule
    except (ValueError, LookupError):
        return run.definition.schedule  # written by SQL; what it meant can no longer be known


async def _definition(conn: Conn, job_id: int, revision: int) -> JobDefinition:
    """The definition of a revision; LookupError or ValueError when there is none that can be read."""
    found = await running.definitions(conn, [(job_id, revision)])
    return await with_closed_days(conn, definition_from_json(found[job_id, revision]))


async def _close(conn: Conn, backfill: Backfill, by_status: dict[str, int]) -> None:
    """The last execution of a backfill has ended: write down how they did, and end its recovery if it was the last."""
    await backfills.set_status(conn, backfill.id, BackfillStatus.FINISHED)
    await backfills.close(conn, backfill.id, by_status)
    if backfill.recovery_id is not None:
        await recoveries.end_recovery(conn, backfill.recovery_id, BackfillStatus.FINISHED)


async def call_off(conn: Conn, ended: Sequence[Backfill]) -> None:
    """Cancel these locked backfills: what was not started never is, what waits is cancelled, what runs ends."""
    for each in ended:
        await backfills.set_status(conn, each.id, BackfillStatus.CANCELLED)
    await backfill_steps.cancel_waiting(conn, [each.id for each in ended])
    for recovery_id in {each.recovery_id for each in ended if each.recovery_id is not None}:
        await recoveries.end_recovery(conn, recovery_id, BackfillStatus.FINISHED)


def window_of(backfill: Backfill, schedule: Schedule) -> Window:
    """The window of a backfill, whose instants the schedule names."""
    return Window(schedule, backfill.window_from, backfill.window_to, backfill.direction, backfill.mode)
