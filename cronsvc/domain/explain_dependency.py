"""What dependencies have to say of an instant: the ends that led to a row, and what a job waits for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cronsvc.domain.dependencies import DependsOn, Mode
from cronsvc.domain.execution import Execution


@dataclass(frozen=True, slots=True)
class UpstreamFacts:
    """A job that another waits for. `ended_at`: since when the open round of `all` has its end, and if it is met."""

    job_id: int
    job_name: str
    ended_at: datetime | None
    is_met: bool | None


def cause_words(execution: Execution) -> str | None:
    """Who brought it about: its parent, or the ends that it was waiting for; None when it was neither."""
    if execution.parent_id is not None:
        return f"execution {execution.parent_id} started it"
    if not execution.causes:
        return None
    return "; ".join(_cause(each) for each in execution.causes)


def _cause(cause: Mapping[str, Any]) -> str:
    said = f"execution {cause.get('executionId')} of {cause.get('jobName') or cause.get('jobId')} ended as"
    why = cause.get("why")
    return f"{said} {cause.get('status')}" + (f", but {why}" if why else "")


def children_words(execution: Execution) -> str | None:
    """What it has to do with children; None when it has none."""
    if not execution.children:
        return None
    many = f"{execution.children} child" if execution.children == 1 else f"{execution.children} children"
    return f"waits until its {many} have ended" if execution.waits_for_children else f"started {many}"


def cause_facts(execution: Execution) -> dict[str, Any]:
    """The facts behind `cause_words`."""
    return {"caused_by": [dict(each) for each in execution.causes or ()], "parent_id": execution.parent_id}


def waiting_for(wanted: DependsOn, upstreams: tuple[UpstreamFacts, ...]) -> str:
    """What a job waits for now, in words."""
    names = ", ".join(_upstream(each, wanted) for each in upstreams) or "nobody"
    if wanted.mode is Mode.ANY:
        return f"it runs whenever one of these ends: {names}"
    return f"it runs when all of these have ended since the last time: {names}"


def _upstream(each: UpstreamFacts, wanted: DependsOn) -> str:
    said = wanted.upstream(each.job_id)
    words = f"{each.job_name} ({said.when.value})" if said is not None else each.job_name
    if wanted.mode is Mode.ANY:
        return words
    if each.ended_at is None:
        return f"{words}, which has not"
    return f"{words}, which has" + ("" if each.is_met else ", but not as it should")


def upstream_facts(upstreams: tuple[UpstreamFacts, ...]) -> Iterator[dict[str, Any]]:
    """The facts behind `waiting_for`."""
    for each in upstreams:
        yield {"job_id": each.job_id, "job_name": each.job_name, "ended_at": each.ended_at, "is_met": each.is_met}
