"""The promises, one check each, over two snapshots and the target's own book."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.support.machine_model import ENDED, KnownJob, Ledger, Row, Snapshot, fates, told
from tests.support.machine_world import Call, World

# One at a time, or one beside what is held, of what the schedule itself began.
MOST_UNHELD = {"skip": 1, "buffer_one": 1, "buffer_all": 1, "cancel_other": 1, "terminate_other": 1}
NARROW = 2  # places of the queue of that name
ALMOST_A_SECOND = timedelta(milliseconds=450)  # readings of the clock go on after the test has looked at it


@dataclass
class Checks:
    """What has been seen so far. `step` compares the present with it."""

    world: World
    jobs: dict[int, KnownJob] = field(default_factory=dict)
    seen: Snapshot = field(default_factory=Snapshot)
    asked_again: set[int] = field(default_factory=set)  # by a person: another round is theirs to decide
    succeeded: set[tuple[int, int]] = field(default_factory=set)  # what the target answered with success
    not_before: dict[int, datetime] = field(default_factory=dict)  # a backoff under way
    paused_queues: set[str] = field(default_factory=set)
    _calls: int = 0

    def calls_of(self, execution_id: int) -> int:
        return sum(call.context.execution_id == execution_id for call in self.world.calls)

    def step(self, now: Snapshot, *, ticked: bool = False, again: bool = False) -> None:
        """Everything at once; the message of a failure shows the rows. `ticked`: one tick and nothing else happened;
        `again`: a backfill may have begun ended rows anew."""
        new_calls = self.world.calls[self._calls :]
        try:
            self._rows(now, again=again)
            self._new_calls(now, new_calls)
            self._limits(now)
            for job in self.jobs.values():
                self._accounted(job, now)
                self._overlap(job, now)
                if ticked and job.live and not self.seen.jobs[job.id].paused:
                    self._fates(job, now)
            assert now.gaps == 0, "cronsvc_v1.gaps is not empty"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{told(now.rows.values(), self.calls_of)}") from None
        self.seen, self._calls = now, len(self.world.calls)

    def quiet(self, now: Snapshot) -> None:
        """Everything has been healed and has run out."""
        for row in now.rows.values():
            assert row.status in ENDED, f"promise 2: execution {row.id} never ends: {row}"
            assert row.attempts == row.attempt, f"promise 3: {row.attempts} attempt rows for {row}"
        assert not now.open_backfills, f"backfills never end: {now.open_backfills}"
        for job in self.jobs.values():
            last = now.jobs[job.id].last_fire_time
            stretch = job.stretches[-1]
            if stretch.until is None:
                due = job.expected(self.world.now)
                assert not due or (last is not None and last >= due[-1]), f"promise 7: job {job.id} is behind"

    # Rows --------------------------------------------------------------------------------------------------------

    def _rows(self, now: Snapshot, *, again: bool) -> None:
        keys = Counter((row.job_id, row.scheduled_time) for row in now.rows.values())
        assert keys.most_common(1)[0][1] == 1 if keys else True, "promise 1: two rows for one instant"
        for id_, old in self.seen.rows.items():
            row = now.rows.get(id_)
            assert row is not None, f"promise 2: row {old} is gone"
            assert row.claim_no >= old.claim_no, f"promise 5: the fence of {row} went back from {old.claim_no}"
            anew = id_ in self.asked_again or (again and row.backfill_id is not None)
            if old.status in ENDED and not anew:
                same = (old.status, old.status_reason, old.attempt, old.claim_no, old.claim, old.attempts)
                present = (row.status, row.status_reason, row.attempt, row.claim_no, row.claim, row.attempts)
                assert same == present, f"promise 5: an ended row changed from {same} to {row}"
        for row in now.rows.values():
            self._row(row, now)

    def _row(self, row: Row, now: Snapshot) -> None:
        calls = self.calls_of(row.id)
        assert calls <= row.attempt <= row.max_attempts, f"promise 3: {calls} calls, {row}"
        if row.max_attempts == 1:
            assert calls <= 1, f"promise 4: {calls} calls, {row}"
        if row.status == "SUCCESS":
            assert row.claim == row.claim_no, f"promise 5: the success of claim {row.claim} stands in {row}"
            assert (row.id, row.claim_no) in self.succeeded, f"promise 5: nobody answered with success: {row}"
        if row.trigger == "schedule":
            assert row.scheduled_time <= self.world.latest, f"promise 6: recorded before its time: {row}"
        if row.held is not None or row.dispatch_at is not None:
            assert row.status == "QUEUED", f"an ended row still waits: {row}"
        if row.status == "QUEUED":
            assert row.held is not None or row.dispatch_at is not None, f"promise 2: nothing will wake {row}"
            deadline = self.jobs[row.job_id].columns.get("deadline_seconds")
            assert deadline is None or row.held == "overlap" or row.deadline_at is not None, f"no deadline: {row}"

    def _new_calls(self, now: Snapshot, calls: Sequence[Call]) -> None:
        for call in calls:
            row = now.rows[call.context.execution_id]
            assert call.context.scheduled_time <= call.at + ALMOST_A_SECOND, f"promise 6: called early: {row}"
            earliest = self.not_before.get(row.id)
            assert earliest is None or call.at >= earliest, f"promise 6: tried again before its backoff: {row}"
            assert row.queue not in self.paused_queues, f"promise 8: begun although its queue is paused: {row}"
            if row.deadline_at is not None:
                assert call.at < row.deadline_at, f"promise 8: begun after its deadline: {row}"

    def _limits(self, now: Snapshot) -> None:
        running = [row for row in now.rows.values() if row.status == "RUNNING"]
        assert sum(row.queue == "narrow" for row in running) <= NARROW, "promise 8: too many in the queue"
        keys: Counter[str] = Counter()
        for row in running:
            columns = self.jobs[row.job_id].columns
            keys[columns.get("concurrency_key") or f"job {row.job_id}"] += 1
        for job in self.jobs.values():
            limit = job.columns.get("max_concurrency")
            key = job.columns.get("concurrency_key") or f"job {job.id}"
            assert limit is None or keys[key] <= limit, f"promise 8: {keys[key]} of {key} run, {limit} may"
        busy = Counter(
            row.backfill_id for row in now.rows.values() if row.unfinished and row.id not in self.asked_again
        )
        for backfill_id, most in now.open_backfills.items():
            assert busy[backfill_id] <= most, f"promise 8: {busy[backfill_id]} of backfill {backfill_id} at once"
        for job in self.jobs.values():
            allowed = job.columns.get("pause_after_failures")
            if allowed is not None and not job.deleted:
                state = now.jobs[job.id]
                assert state.failures < allowed or state.paused, f"promise 8: job {job.id} goes on failing"

    # Instants ----------------------------------------------------------------------------------------------------

    def _accounted(self, job: KnownJob, now: Snapshot) -> None:
        """Each instant up to the cursor is in the ledger, the cursor stands on the next, and nothing was invented."""
        state, rows = now.jobs[job.id], now.of(job.id)
        ledger, expected = Ledger(rows), job.expected(state.last_fire_time)
        for instant in expected:
            assert ledger.at(instant) is not None, f"promise 7: job {job.id}: nothing accounts for {instant}"
        named = set(expected)
        for row in rows:
            if row.trigger == "schedule":
                assert row.scheduled_time in named, f"promise 7: the schedule never named {row}"
        if job.deleted:
            return
        present = job.stretches[-1]
        after = max(present.after, state.last_fire_time or present.after)
        ahead = next(iter(self._ahead(job, after)), None)
        if state.next_fire_time != ahead and ahead is not None:
            # Somebody may have turned the cursor back by SQL: never forwards.
            turned = state.next_fire_time is not None and state.next_fire_time < ahead and job.turned
            assert turned, f"promise 7: the cursor of job {job.id} is {state.next_fire_time}, not {ahead}"

    @staticmethod
    def _ahead(job: KnownJob, after: datetime) -> Sequence[datetime]:
        found = KnownJob(job.id, job.columns, [job.stretches[-1]]).expected(after + timedelta(days=2))
        return [instant for instant in found if instant > after]

    def _fates(self, job: KnownJob, now: Snapshot) -> None:
        """Promise 8: one tick decided about what was due as the policies say."""
        old = self.seen.jobs[job.id]
        after = max(job.stretches[-1].after, old.last_fire_time or job.stretches[-1].after)
        due = [instant for instant in self._ahead(job, after) if instant <= self.world.now]
        ledger = Ledger(now.of(job.id))
        for instant, fate in fates(job, due, self.world.now, self.seen.of(job.id)).items():
            row = ledger.at(instant)
            assert row is not None, f"promise 7: job {job.id}: {instant} was due at the tick"
            found = {"SKIPPED": row.status_reason, "QUEUED": "held" if row.held == "overlap" else "run"}.get(row.status)
            assert found == fate, f"promise 8: job {job.id}: {instant} should be {fate}: {row}"

    def _overlap(self, job: KnownJob, now: Snapshot) -> None:
        """Promise 8: what the schedule began runs beside itself only where the job allows it."""
        policy = job.columns["overlap_policy"]
        own = [
            row
            for row in now.of(job.id)
            if row.trigger == "schedule" and row.id not in self.asked_again and row.backfill_id is None
        ]
        unheld = [row for row in own if row.unfinished and row.held != "overlap"]
        waiting = [row for row in own if row.held == "overlap"]
        if policy in MOST_UNHELD:
            assert len(unheld) <= MOST_UNHELD[policy], f"promise 8: {policy}: {unheld}"
        if policy in ("buffer_one", "cancel_other"):
            assert len(waiting) <= 1, f"promise 8: {policy} keeps more than one: {waiting}"
        if policy == "buffer_all" and unheld and waiting:
            assert unheld[0].scheduled_time < waiting[0].scheduled_time, f"promise 8: out of order: {unheld[0]}"
