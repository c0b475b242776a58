"""Templates of jobs as JSON."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from cronsvc.domain.templates import MOST_PARAMETERS, ParameterType
from cronsvc.services.bulk import MOST_ITEMS
from cronsvc.services.templates import TemplateSort
from cronsvc.web.bulk_models import ItemProblem
from cronsvc.web.job_models import SlugText, documented
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.queue_models import Id
from cronsvc.web.scalars import Cursor, Instant, Limit


class ParameterIn(RequestModel):
    """A parameter; without a `default` (or with null) its value must be given. `choices`: it is one of these."""

    name: Annotated[str, documented(pattern="^[A-Za-z][A-Za-z0-9_]{0,62}$")]
    type: ParameterType = ParameterType.STRING
    default: Any = None
    description: Annotated[str, Field(max_length=1000)] = ""
    choices: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)


class TemplateIn(RequestModel):
    """A template. `definition` is a job's document; `${name}` in its texts stands for the value of a parameter.

    `namespace`: where it can be used; null is everywhere, or the only namespace of whoever asks.
    """

    read_only: ClassVar[frozenset[str]] = frozenset(
        {"id", "revision", "jobs", "behind", "createdBy", "createdAt", "updatedAt"}
    )

    name: SlugText
    namespace: SlugText | None = None
    description: Annotated[str, documented(maxLength=10_000)] = ""
    parameters: Annotated[list[ParameterIn], documented(maxItems=MOST_PARAMETERS)] = Field(default_factory=list)
    definition: dict[str, Any]


class ParameterAnswer(AnswerModel):
    name: str
    type: ParameterType
    required: bool
    default: Any
    description: str
    choices: list[Any]


class TemplateAnswer(AnswerModel):
    """A template. `jobs` of the caller's were made from it, `behind` of them follow an earlier revision."""

    id: int
    name: str
    namespace: str | None
    description: str
    parameters: list[ParameterAnswer]
    definition: dict[str, Any]
    revision: int
    jobs: int
    behind: int
    created_by: str
    created_at: Instant
    updated_at: Instant


class TemplateList(AnswerModel):
    items: list[TemplateAnswer]
    next_cursor: str | None


class TemplateQuery(QueryModel):
    namespace: Annotated[str, Field(max_length=63)] | None = None
    name: Annotated[str, Field(max_length=63)] | None = None
    sort: TemplateSort = TemplateSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50


class TemplateRevisionAnswer(AnswerModel):
    """What a template said as of a revision."""

    revision: int
    parameters: list[ParameterAnswer]
    definition: dict[str, Any]
    actor: str
    created_at: Instant


class TemplateRevisionList(AnswerModel):
    items: list[TemplateRevisionAnswer]
    next_cursor: str | None


class TemplateJobIn(RequestModel):
    """A job to make. `name` may be left out where the template has one; `overrides` is a merge patch over the rest."""

    name: Annotated[str, documented(minLength=1, maxLength=255)] | None = None
    namespace: SlugText | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(default_factory=dict)


class ApplyIn(RequestModel):
    """Bring jobs to the template's present revision: `jobIds`, or all of the caller's that follow an earlier one.

    Of each job only what the template has changed since is changed. A member that people have changed too is a conflict
    (409), unless `overwrite`. `values` are laid over those that each job was made with; `dryRun` changes nothing.
    `afterJobId`: of all, those with greater ids; the answer's `nextAfterJobId` goes on from there.
    """

    job_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    after_job_id: Id | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    overwrite: bool = False
    dry_run: bool = False


class ApplyItem(AnswerModel):
    """What came of one job: the members that changed (none: it says the same already), or why it was refused."""

    job_id: int
    status: int
    changed: list[str]
    problem: ItemProblem | None


class ApplyAnswer(AnswerModel):
    """What came of all. `more`: there are others behind; call again with `afterJobId` as `nextAfterJobId` says."""

    template_revision: int
    dry_run: bool
    matched: int
    succeeded: int
    failed: int
    more: bool
    next_after_job_id: int | None
    items: list[ApplyItem]
