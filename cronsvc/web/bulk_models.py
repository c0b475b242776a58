"""`POST /jobs/bulk` as JSON: one act, the jobs it is for, and what came of each."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from cronsvc.services.bulk import MOST_ITEMS
from cronsvc.web.job_models import documented
from cronsvc.web.models import AnswerModel, RequestModel
from cronsvc.web.queue_models import Id
from cronsvc.web.scalars import Instant
from cronsvc.web.selecting import Selecting
from cronsvc.web.service_models import FieldProblem


class BulkAction(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    PAUSE = "pause"
    RESUME = "resume"
    TRIGGER = "trigger"
    DELETE = "delete"


class BulkSelectorIn(Selecting):
    """Which jobs: those that match everything given, all of the tags. At least one must be given."""

    tags: list[str] | None = None
    namespace: Annotated[str, documented(maxLength=63)] | None = None
    group: Annotated[str, documented(maxLength=63)] | None = None
    queue: Annotated[str, documented(maxLength=63)] | None = None
    name_prefix: Annotated[str, documented(maxLength=255)] | None = None


class BulkIn(RequestModel):
    """One act on up to 1,000 jobs: `jobs` to create, else `jobIds` or a `selector`.

    `patch` (a merge patch) goes with update, `params` with trigger, `note` and `until` with pause, `catchUp` with
    resume. `dryRun` makes every check and changes nothing; it takes each job by itself, as if it were the only one.
    """

    action: BulkAction
    jobs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    job_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    selector: BulkSelectorIn | None = None
    patch: dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    note: Annotated[str, documented(maxLength=1000)] | None = None
    until: Instant | None = None
    catch_up: bool | None = None
    dry_run: bool = False


class ItemProblem(AnswerModel):
    """Why an item was refused: what the problem document of the act alone would say."""

    type: str
    title: str
    detail: str
    errors: list[FieldProblem]


class BulkItem(AnswerModel):
    """What came of one item. `status` is what the act alone would have answered; `jobId` null: no job was made."""

    index: int
    job_id: int | None
    status: int
    execution_id: int | None
    problem: ItemProblem | None


class BulkAnswer(AnswerModel):
    """What came of all. With `dryRun`, `succeeded` counts what would go through."""

    action: BulkAction
    dry_run: bool
    matched: int
    succeeded: int
    failed: int
    items: list[BulkItem]
