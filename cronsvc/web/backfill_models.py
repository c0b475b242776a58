"""Backfills and recoveries as JSON."""

from typing import Annotated, Any, Literal

from pydantic import Field

from cronsvc.domain.backfill import BackfillStatus, Direction, Mode
from cronsvc.domain.job import MisfirePolicy
from cronsvc.services.paging import IdSort
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryId
from cronsvc.web.selecting import Selecting

Note = Annotated[str, Field(json_schema_extra={"maxLength": 1000})]
Parallel = Annotated[int, Field(ge=1, le=100)]


class BackfillIn(RequestModel):
    """Run the instants of a past window, both ends included.

    `missing` runs those that have no row or a SKIPPED one, `all` those that have ended, too. `params` is laid over the
    config of the job in each run. With `dryRun` nothing is written.
    """

    from_: Instant = Field(alias="from")
    to: Instant
    mode: Literal["missing", "all"] = "missing"
    order: Literal["oldest", "newest"] = "oldest"
    max_parallel: Parallel = 1
    params: dict[str, Any] | None = None
    dry_run: bool = False
    note: Note | None = None


class BackfillPlanAnswer(AnswerModel):
    """What a backfill would do: run `count` instants, leave `wouldSkip` alone. `instants` are the first hundred."""

    count: int
    would_skip: int
    first: Instant | None
    last: Instant | None
    instants: list[Instant]


class CountsAnswer(AnswerModel):
    """`planned` is the sum of the others. `skipped` instants were left alone; `cancelled` ones were called off."""

    planned: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int


class BackfillAnswer(AnswerModel):
    """A backfill and how far it is. The mode of a recovery's is `missed`: no row, or skipped as a misfire."""

    id: int
    job_id: int
    job_name: str
    namespace: str
    recovery_id: int | None
    revision: int
    from_: Instant = Field(alias="from")
    to: Instant
    mode: Mode
    order: Direction
    max_parallel: int
    params: dict[str, Any] | None
    note: str | None
    status: BackfillStatus
    counts: CountsAnswer
    created_by: str
    created_at: Instant
    finished_at: Instant | None


class BackfillList(AnswerModel):
    items: list[BackfillAnswer]
    next_cursor: str | None


class BackfillQuery(QueryModel):
    job_id: QueryId | None = None
    recovery_id: QueryId | None = None
    status: BackfillStatus | None = None
    sort: IdSort = IdSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50


class SelectorIn(Selecting):
    """Jobs that match everything that is given: all of the tags, one of the ids. `{}` is every job."""

    namespace: str | None = None
    tags: Annotated[list[str], Field(max_length=50, default_factory=list)]
    queue: str | None = None
    name_prefix: str | None = None
    job_ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=1000)] | None = None


class RecoveryIn(RequestModel):
    """Run what an outage kept from running, as each job's misfire policy wants it. With `dryRun` nothing is written.

    `maxParallel` bounds the unfinished runs of each job, `maxTotal` those of all of them.
    """

    from_: Instant = Field(alias="from")
    to: Instant
    selector: SelectorIn
    order: Literal["oldest", "newest"] = "oldest"
    max_parallel: Parallel = 1
    max_total: Annotated[int, Field(ge=1, le=1000)] = 10
    dry_run: bool = False
    note: Note | None = None


class JobRecoveryAnswer(AnswerModel):
    """One job: how many instants it misses, how many of them would run, and for how long (null: no run is known)."""

    job_id: int
    job_name: str
    namespace: str
    misfire_policy: MisfirePolicy
    missing: int
    would_run: int
    first: Instant | None
    last: Instant | None
    estimated_minutes: float | None


class RecoveryPlanAnswer(AnswerModel):
    """What a recovery would do. `estimatedMinutes` leaves out jobs of which no run is known."""

    missing: int
    would_run: int
    estimated_minutes: float | None
    jobs: list[JobRecoveryAnswer]


class SelectorAnswer(AnswerModel):
    namespace: str | None
    tags: list[str]
    queue: str | None
    name_prefix: str | None
    job_ids: list[int] | None


class RecoveryAnswer(AnswerModel):
    """A recovery: `jobs` backfills, with the sums of their counts. `GET /backfills?recoveryId=` lists them."""

    id: int
    from_: Instant = Field(alias="from")
    to: Instant
    selector: SelectorAnswer
    order: Direction
    max_parallel: int
    max_total: int
    note: str | None
    status: BackfillStatus
    jobs: int
    counts: CountsAnswer
    created_by: str
    created_at: Instant
    finished_at: Instant | None


class RecoveryList(AnswerModel):
    items: list[RecoveryAnswer]
    next_cursor: str | None


class RecoveryQuery(QueryModel):
    status: BackfillStatus | None = None
    sort: IdSort = IdSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50
