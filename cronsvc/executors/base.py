"""What a job type must provide.

An executor is one class behind one `cronsvc.executors` entry point. `parse` runs when a job is created and again in
the worker, so a definition written by SQL is checked too; `run` makes one attempt and answers with an Outcome. A worker
cancels `run` when the timeout passes, when it drains and when its lease is lost: clean up and re-raise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from cronsvc.domain.execution import Outcome


@dataclass(frozen=True, slots=True)
class RunContext:
    """The attempt an executor is asked to make. `timeout_seconds` is the whole budget of this attempt."""

    execution_id: int
    job_id: int
    job_name: str
    scheduled_time: datetime
    attempt: int
    max_attempts: int
    claim_no: int
    timeout_seconds: float


class Executor(Protocol):
    """One job type. Instances are made once a process by their entry point with an ExecutorSettings."""

    def parse(self, config: Mapping[str, Any]) -> Any:
        """Check a `taskPayload.config`; raises InvalidInput with fields below `taskPayload.config`."""
        ...

    async def run(self, config: Any, context: RunContext) -> Outcome:
        """Make one attempt with what `parse` returned. An exception counts as a retryable failure."""
        ...

    async def close(self) -> None:
        """Let go of sockets and children; called once, after the last `run` has ended."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """What the operator grants to job types.

    `egress_allow` lists the CIDRs and host names that job URLs may reach although they are private.
    """

    egress_allow: tuple[str, ...] = ()
    max_connections: int = 100
