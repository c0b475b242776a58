"""What targets say of executions they took over, as JSON."""

from typing import Annotated, Any, Literal

from pydantic import Field

from cronsvc.domain.execution import Status
from cronsvc.web.models import AnswerModel, RequestModel
from cronsvc.web.scalars import Instant

# Words that mean something of ours: a target cannot say them of itself.
_ERROR_TYPE = r"^(?!(?:lost|deadline|released|cancelled|replaced)$)[a-z][a-z0-9_]{0,62}$"


class LogLineIn(RequestModel):
    """A line for the execution's log; at most 4 KB of each are kept, and the last 200 lines."""

    message: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    fields: dict[str, Any] = Field(default_factory=dict)


class CallbackProgressIn(RequestModel):
    """A sign of life: an empty object will do. `progress` is in percent, `note` replaces the one before."""

    progress: Annotated[float, Field(ge=0, le=100)] | None = None
    note: str | None = None
    log: Annotated[list[str | LogLineIn], Field(max_length=200)] = Field(default_factory=list)


class CallbackErrorIn(RequestModel):
    """Why it failed: `type` is what `retryOn` may name, `message` is for people."""

    type: str = Field("target_failed", json_schema_extra={"pattern": r"^[a-z][a-z0-9_]{0,62}$"})
    message: str


class CallbackCompleteIn(RequestModel):
    """How it ended. `result` of at most 64 KB is kept; `retry: false` says that another attempt would not help."""

    status: Literal["success", "failure"]
    result: Any = None
    error: CallbackErrorIn | None = None
    retry: bool = True


class CallbackAnswer(AnswerModel):
    """What the execution is now. With `cancelRequested` the target should stop and say how it ended.

    `heartbeatDue` and `endDue` are null until its 202 is recorded, and when it has ended. `repeated`: heard before.
    """

    execution_id: int
    status: Status
    status_reason: str | None
    cancel_requested: bool
    heartbeat_due: Instant | None
    end_due: Instant | None
    repeated: bool


ERROR_TYPE = _ERROR_TYPE
