"""The fence of a restored database as JSON."""

from typing import Literal

from cronsvc.domain.fence import FenceReason
from cronsvc.domain.job import MisfirePolicy
from cronsvc.services.restore import ReleaseMode
from cronsvc.web.models import AnswerModel, RequestModel
from cronsvc.web.scalars import Instant


class OwingJobAnswer(AnswerModel):
    """A job with overdue instants, and what its policies make of them on release.

    `fires` executions would run, the first few are in `runs`; `skippedRows` would be recorded as not run. `problem`: it
    cannot be planned and would be quarantined.
    """

    job_id: int
    job_name: str
    namespace: str
    misfire_policy: MisfirePolicy
    overdue_since: Instant
    fires: int
    skipped_rows: int
    runs: list[Instant]
    problem: str | None


class WouldFireAnswer(AnswerModel):
    """What is there to do, in the caller's namespaces; counts end at 100,000. `jobs`: the longest overdue."""

    overdue_jobs: int
    queued: int
    running: int
    backfills: int
    jobs: list[OwingJobAnswer]


class ReleaseAnswer(AnswerModel):
    """The last confirmation."""

    at: Instant
    by: str
    mode: ReleaseMode


class RestoreAnswer(AnswerModel):
    """Whether this is a restored or cloned database. `fenced`: nothing is sent until an administrator confirms.

    `checking`: Postgres was started and no scheduler or worker has compared it yet.
    """

    state: Literal["open", "fenced", "checking"]
    reason: FenceReason | None
    detail: str | None
    since: Instant | None
    would_fire: WouldFireAnswer
    released: ReleaseAnswer | None


class ConfirmIn(RequestModel):
    """`resume`: go on from where the database is. `skip`: run nothing that it owes."""

    mode: Literal["resume", "skip"]


class ConfirmAnswer(AnswerModel):
    """What `skip` settled; zeros with `resume`.

    Jobs whose overdue instants are SKIPPED, executions that were QUEUED and are CANCELLED, RUNNING ones that get no
    further attempt, backfills that are paused.
    """

    mode: ReleaseMode
    jobs_passed: int
    cancelled: int
    given_up: int
    backfills_paused: int
