"""Defects that an engine may have, each as a patch, with a program for the machine that has to notice it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from cronsvc.domain.execution import Claimed, Finish, Outcome
from cronsvc.domain.finish import after_outcome, hand_back
from cronsvc.domain.plan import plan
from cronsvc.domain.retry import Backoff
from cronsvc.services import planning, running
from cronsvc.store import admission, failures, ticks
from cronsvc.store import running as statements
from tests.support.machine import Service

Mutation = Callable[[pytest.MonkeyPatch], None]


def without(module: Any, name: str, *parts: str) -> Mutation:
    """A statement that has lost these parts of itself."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        text = getattr(module, name)
        for part in parts:
            assert part in text, f"{name} has no {part!r} any more: change this mutant"
            text = text.replace(part, "")
        patch.setattr(module, name, text)

    return mutate


def claim_whatever_its_status(patch: pytest.MonkeyPatch) -> None:
    without(statements, "CLAIM", "AND e.status = 'QUEUED' ")(patch)


def claim_twice(patch: pytest.MonkeyPatch) -> None:
    """One ticket in two hands runs twice."""
    without(statements, "CLAIM", "AND e.claim_no = t.claim_no", "AND e.status = 'QUEUED' ")(patch)


def finish_what_has_ended(patch: pytest.MonkeyPatch) -> None:
    """The key of job_attempts would refuse it still, so that goes too."""
    without(statements, "FINISH", " AND e.status = 'RUNNING'")(patch)
    text = statements.FINISH
    assert "WHERE NOT t.refund\n" in text
    patch.setattr(
        statements, "FINISH", text.replace("WHERE NOT t.refund\n", "WHERE NOT t.refund ON CONFLICT DO NOTHING\n")
    )


def retry_for_ever(patch: pytest.MonkeyPatch) -> None:
    decide = after_outcome

    def again(claimed: Claimed, outcome: Outcome, backoff: Backoff, *, spent: float = 0.0) -> Finish:
        return decide(replace(claimed, max_attempts=claimed.attempt + 1), outcome, backoff, spent=spent)

    patch.setattr(running, "after_outcome", again)


def guess_that_nothing_was_called(patch: pytest.MonkeyPatch) -> None:
    """A rescue that takes every lost attempt for one that never began."""

    def refund(claimed: Claimed) -> Finish:
        return hand_back(claimed, seconds=0.0)

    patch.setattr(running, "after_loss", refund)


def overlap_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_conn: object, _job_ids: object) -> dict[int, Any]:
        return {}

    patch.setattr(ticks, "unfinished_jobs", nothing)


def places_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    async def nobody(_conn: object, scopes: Any) -> dict[str, int]:
        return dict.fromkeys(scopes, 0)

    patch.setattr(admission, "count_running", nobody)


def early(patch: pytest.MonkeyPatch) -> None:
    take = ticks.take_due

    async def ahead(conn: Any, **options: Any) -> Any:
        return await take(conn, **(options | {"lead": timedelta(seconds=30)}))

    patch.setattr(ticks, "take_due", ahead)


def the_cursor_moves_and_a_row_does_not_come(patch: pytest.MonkeyPatch) -> None:
    record = ticks.record

    async def forgetful(conn: Any, planned: Any, **options: Any) -> Any:
        shorter = [(job, replace(plan, rows=plan.rows[: max(1, len(plan.rows) - 1)])) for job, plan in planned]
        return await record(conn, shorter, **options)

    patch.setattr(ticks, "record", forgetful)


def misfires_run(patch: pytest.MonkeyPatch) -> None:

    def lenient(job: Any, now: Any, **options: Any) -> Any:
        return plan(replace(job, misfire_grace_seconds=100_000), now, **options)

    patch.setattr(planning, "plan", lenient)


def retry_at_once(patch: pytest.MonkeyPatch) -> None:
    """A retry that begins at once, whatever its backoff says."""
    decide = after_outcome

    def at_once(*arguments: Any, **options: Any) -> Finish:
        finish = decide(*arguments, **options)
        return finish if finish.retry_seconds is None else replace(finish, retry_seconds=0.0)

    patch.setattr(running, "after_outcome", at_once)


def held_for_ever(patch: pytest.MonkeyPatch) -> None:
    async def nobody(_conn: object, **_options: object) -> list[int]:
        return []

    patch.setattr(admission, "overlap_free", nobody)


# Programs for the machine: the shortest ways to where each defect shows. Without a defect they all pass.
# -----------------------------------------------------------------------------------------------------------------

Program = Callable[[Service], None]

PLAIN: Mapping[str, Any] = {
    "schedule": "every 20 s",
    "overlap_policy": "allow",
    "misfire_policy": "fire_once",
    "misfire_grace_seconds": 60,
    "misfire_cap": 3,
    "max_attempts": 2,
    "queue": "default",
    "limit": None,
    "deadline_seconds": None,
    "pause_after_failures": None,
}


def fired(state: Service, *, seconds: int = 20, **wish: Any) -> None:
    """One job, and a tick when something of it is due."""
    state.begin(locks=True, wish={**PLAIN, **wish})
    state.advance(seconds)
    state.tick(0)


def cancelled_and_delivered(state: Service) -> None:
    fired(state)
    state.cancel(0)
    state.deliver(0, 0, again=False)


def delivered_again_after_its_end(state: Service) -> None:
    fired(state)
    state.deliver(0, 0, again=True)
    state.answer(0, "success")
    state.deliver(0, 1, again=False)


def delivered_in_a_paused_queue(state: Service) -> None:
    fired(state)
    state.steer_queue("default", paused=True)
    state.deliver(0, 0, again=False)


def answered_from_beyond(state: Service) -> None:
    fired(state)
    state.deliver(0, 0, again=False)
    state.partition(0)
    state.answer(0, "success")


def answered_after_it_was_replaced(state: Service) -> None:
    fired(state, overlap_policy="terminate_other")
    state.deliver(0, 0, again=False)
    state.advance(20)
    state.tick(1)
    state.answer(0, "success")


def job_restored_without_its_rows(state: Service) -> None:
    """The row is there, and the job knows nothing of it any more."""
    fired(state)
    state.forget_last_instant(0)
    state.tick(1)


def failed_with_its_last_attempt(state: Service) -> None:
    fired(state, max_attempts=1)
    state.deliver(0, 0, again=False)
    state.answer(0, "retryable")


def failed_and_dispatched_again(state: Service) -> None:
    fired(state)
    state.deliver(0, 0, again=False)
    state.answer(0, "retryable")
    state.chores(0)
    while state.world.bell.tickets:
        state.deliver(0, 0, again=False)


def lost_at_its_only_attempt(state: Service) -> None:
    fired(state, max_attempts=1)
    state.deliver(0, 0, again=False)
    state.partition(0)


def due_while_the_other_waits(policy: str) -> Program:
    def program(state: Service) -> None:
        fired(state, overlap_policy=policy)
        state.advance(20)
        state.tick(0)

    return program


def two_for_one_place(state: Service) -> None:
    fired(state, seconds=61, limit=(1, None))
    state.deliver(0, 0, again=False)
    state.deliver(0, 1, again=False)


def held_at_its_deadline(state: Service) -> None:
    fired(state, seconds=61, limit=(1, None), deadline_seconds=120)
    state.deliver(0, 0, again=False)
    state.deliver(0, 1, again=False)
    state.advance(300)
    state.end_overdue(0)


def ticked_before_anything_is_due(state: Service) -> None:
    state.begin(locks=False, wish=dict(PLAIN))
    state.tick(0)


def late(seconds: int) -> Program:
    return partial(fired, seconds=seconds)


# -----------------------------------------------------------------------------------------------------------------

MUTANTS: Mapping[str, tuple[Mutation, Program]] = {
    "claim-whatever-its-status": (claim_whatever_its_status, cancelled_and_delivered),
    "claim-twice": (claim_twice, delivered_again_after_its_end),
    "claim-in-a-paused-queue": (
        without(
            statements,
            "CLAIM",
            "   AND e.queue <> ALL (ARRAY(SELECT q.name FROM queues AS q\n"
            "                              WHERE q.paused_at IS NOT NULL AND cronsvc_queue_paused(q.name)))\n",
        ),
        delivered_in_a_paused_queue,
    ),
    "finish-without-the-fence": (
        without(statements, "FINISH", " AND e.claim_no = t.claim_no\n"),
        answered_from_beyond,
    ),
    "finish-what-has-ended": (
        finish_what_has_ended,
        answered_after_it_was_replaced,
    ),
    "insert-without-on-conflict": (
        without(ticks, "RECORD", "ON CONFLICT (job_id, scheduled_time) DO NOTHING"),
        job_restored_without_its_rows,
    ),
    "retry-for-ever": (retry_for_ever, failed_with_its_last_attempt),
    "retry-at-once": (retry_at_once, failed_and_dispatched_again),
    "guess-that-nothing-was-called": (guess_that_nothing_was_called, lost_at_its_only_attempt),
    "overlap-is-not-asked": (overlap_is_not_asked, due_while_the_other_waits("skip")),
    "overlap-is-held-for-ever": (held_for_ever, due_while_the_other_waits("buffer_all")),
    "places-are-not-counted": (places_are_not_counted, two_for_one_place),
    "fire-early": (early, ticked_before_anything_is_due),
    "cursor-without-row": (the_cursor_moves_and_a_row_does_not_come, late(61)),
    "misfires-run": (misfires_run, late(300)),
    "deadlines-leave-rows-held": (without(failures, "END_OVERDUE", "held = NULL, "), held_at_its_deadline),
}
