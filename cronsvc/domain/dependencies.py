"""Which jobs a job waits for, and whether the end of one of them is what it waits for.

`any`: every end of an upstream is decided on by itself. `all`: a round is complete when every upstream has ended since
the round before; the latest end of each decides, and each end belongs to one round. Either way a decision becomes a
row: a run, or SKIPPED (upstream) with the reason. What counts as an end is SUCCESS, FAILED for good, or CANCELLED;
what was SKIPPED never ran and ends nothing.

The JSON form is the one of the API and of `jobs.depends_on`; reading it is strict.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cronsvc.domain.execution import Status

MOST_UPSTREAMS = 20
MOST_LISTED = 50
LONGEST_PATH = 200
LONGEST_TEXT = 1000
DEEPEST_PATH = 16

_PART = re.compile(r"[^.\x00-\x1f]{1,100}")


class Mode(StrEnum):
    ALL = "all"  # when each of them has ended since the last time
    ANY = "any"  # whenever one of them has ended


class When(StrEnum):
    SUCCESS = "success"  # it ended as SUCCESS
    FAILURE = "failure"  # it ended as FAILED, no attempts left
    ALWAYS = "always"  # it ended: SUCCESS, FAILED or CANCELLED


class Operator(StrEnum):
    EXISTS = "exists"  # true: there is such a member (null too); false: there is none
    EQUALS = "equals"
    NOT_EQUALS = "notEquals"
    IN = "in"
    GREATER_THAN = "greaterThan"
    LESS_THAN = "lessThan"


Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the member of the upstream's result at `path`: every test, by operator.

    A path is member names and list places, joined by dots; the empty one is the result itself.
    """

    path: str
    tests: tuple[tuple[Operator, Scalar | tuple[Scalar, ...]], ...]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A job to wait for: by id, or by name in the dependent's namespace as long as nobody has looked it up."""

    job_id: int | None = None
    job: str | None = None
    when: When = When.SUCCESS
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class DependsOn:
    """The jobs after whose ends a job runs."""

    on: tuple[Upstream, ...]
    mode: Mode = Mode.ALL

    def upstream(self, job_id: int) -> Upstream | None:
        """What this says of that job; None when it says nothing."""
        return next((each for each in self.on if each.job_id == job_id), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an end is what a dependent waits for, and in words why not."""

    is_met: bool
    why: str | None = None


class DependencyError(ValueError):
    """What is wrong with a `dependsOn`; `field` is the member below it, such as `on[0].when`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


def judge(upstream: Upstream, status: Status, result: Any) -> Verdict:
    """Whether this end of the upstream is what `upstream` asks for; never fails, whatever the result is."""
    wanted = {When.SUCCESS: (Status.SUCCESS,), When.FAILURE: (Status.FAILED,)}.get(
        upstream.when, (Status.SUCCESS, Status.FAILED, Status.CANCELLED)
    )
    if status not in wanted:
        return Verdict(False, f"it ended as {status.value}, and {upstream.when.value} is waited for")
    if upstream.condition is None:
        return Verdict(True)
    return _holds(upstream.condition, result)


def _holds(condition: Condition, result: Any) -> Verdict:
    exists, value = _member(result, condition.path)
    where = f"its result at {condition.path!r}" if condition.path else "its result"
    for operator, wanted in condition.tests:
        if operator is Operator.EXISTS:
            if exists is not bool(wanted):
                return Verdict(False, f"{where} {'exists' if exists else 'does not exist'}")
        elif not exists:
            return Verdict(False, f"{where} does not exist")
        elif not _passes(operator, value, wanted):
            return Verdict(False, f"{where} is not {_words(operator)} {_short(wanted)}")
    return Verdict(True)


def _passes(operator: Operator, value: Any, wanted: Any) -> bool:
    match operator:
        case Operator.EQUALS:
            return _same(value, wanted)
        case Operator.NOT_EQUALS:
            return not _same(value, wanted)
        case Operator.IN:
            return any(_same(value, each) for each in wanted)
        case Operator.GREATER_THAN:
            return _is_number(value) and value > wanted
        case Operator.LESS_THAN:
            return _is_number(value) and value < wanted
    return False


def _member(value: Any, path: str) -> tuple[bool, Any]:
    """Whether there is such a member, and what it is."""
    for part in path.split(".") if path else ():
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return False, None
    return True, value


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return type(one) is type(other) and one == other if not (_is_number(one) and _is_number(other)) else one == other


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(operator: Operator) -> str:
    return {
        Operator.EQUALS: "equal to",
        Operator.NOT_EQUALS: "other than",
        Operator.IN: "one of",
        Operator.GREATER_THAN: "greater than",
        Operator.LESS_THAN: "less than",
    }.get(operator, operator.value)


def _short(value: Any) -> str:
    text = ", ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 100 else text[:97] + "…"


def read_depends_on(value: Any) -> DependsOn:
    """Read the JSON form; DependencyError names the first member that means nothing."""
    members = _members(value, "", {"mode", "on"})
    on = members.get("on")
    if not isinstance(on, list) or not 1 <= len(on) <= MOST_UPSTREAMS:
        raise DependencyError("on", f"lists 1 to {MOST_UPSTREAMS} jobs to wait for")
    try:
        mode = Mode(members.get("mode", Mode.ALL))
    except ValueError:
        raise DependencyError("mode", "is all or any") from None
    upstreams = tuple(_upstream(each, f"on[{place}]") for place, each in enumerate(on))
    return checked(DependsOn(upstreams, mode))


def checked(wanted: DependsOn) -> DependsOn:
    """The same; DependencyError for a job that is named twice."""
    for place, each in enumerate(wanted.on):
        if (each.job_id, each.job) in [(other.job_id, other.job) for other in wanted.on[:place]]:
            raise DependencyError(f"on[{place}]", "names a job that stands in the list before")
    return wanted


def _upstream(value: Any, field: str) -> Upstream:
    members = _members(value, field, {"jobId", "job", "when", "condition"})
    job_id, job = members.get("jobId"), members.get("job")
    if (job_id is None) == (job is None):
        raise DependencyError(field, "names a job by jobId or by job, its name in the namespace")
    if job_id is not None and (isinstance(job_id, bool) or not isinstance(job_id, int) or not 0 < job_id < 10**18):
        raise DependencyError(f"{field}.jobId", "is the id of a job")
    if job is not None and (not isinstance(job, str) or not 1 <= len(job) <= 255 or "\0" in job):
        raise DependencyError(f"{field}.job", "is the name of a job")
    try:
        when = When(members.get("when", When.SUCCESS))
    except ValueError:
        raise DependencyError(f"{field}.when", "is success, failure or always") from None
    condition = members.get("condition")
    return Upstream(job_id, job, when, None if condition is None else _condition(condition, f"{field}.condition"))


def _condition(value: Any, field: str) -> Condition:
    members = _members(value, field, {"path", *Operator})
    path = members.get("path", "")
    if not isinstance(path, str) or len(path) > LONGEST_PATH or path.count(".") >= DEEPEST_PATH:
        raise DependencyError(f"{field}.path", "is member names joined by dots, at most 200 characters and 16 names")
    if path and not all(_PART.fullmatch(part) for part in path.split(".")):
        raise DependencyError(f"{field}.path", "is member names joined by dots, such as summary.errors")
    tests = tuple(
        (operator, _operand(operator, members[operator], f"{field}.{operator.value}"))
        for operator in Operator
        if operator in members
    )
    if not tests:
        raise DependencyError(field, f"has one or more of {', '.join(Operator)}")
    return Condition(path, tests)


def _operand(operator: Operator, value: Any, field: str) -> Scalar | tuple[Scalar, ...]:
    match operator:
        case Operator.EXISTS:
            if not isinstance(value, bool):
                raise DependencyError(field, "is true or false")
        case Operator.IN:
            if not isinstance(value, list) or not 1 <= len(value) <= MOST_LISTED:
                raise DependencyError(field, f"lists 1 to {MOST_LISTED} values")
            return tuple(_scalar(each, field) for each in value)
        case Operator.GREATER_THAN | Operator.LESS_THAN:
            if not _is_number(value):
                raise DependencyError(field, "is a number")
    return _scalar(value, field)


def _scalar(value: Any, field: str) -> Scalar:
    text = isinstance(value, str) and len(value) <= LONGEST_TEXT and "\0" not in value
    number = _is_number(value) and math.isfinite(value) and abs(value) < 10**300
    if not (text or number or value is None or isinstance(value, bool)):
        raise DependencyError(field, f"compares with text of at most {LONGEST_TEXT} characters, numbers, true or null")
    scalar: Scalar = value
    return scalar


def _members(value: Any, field: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DependencyError(field, "is an object")
    for name in value:
        if name not in known:
            raise DependencyError(f"{field}.{name}".lstrip(".")[:200], "is no member of it")
    return value


def depends_on_json(wanted: DependsOn) -> dict[str, Any]:
    """The JSON form, every default written out."""
    return {"mode": wanted.mode.value, "on": [_upstream_json(each) for each in wanted.on]}


def _upstream_json(upstream: Upstream) -> dict[str, Any]:
    name = {"jobId": upstream.job_id} if upstream.job_id is not None else {"job": upstream.job}
    said: dict[str, Any] = {**name, "when": upstream.when.value}
    if upstream.condition is not None:
        tests = {
            operator.value: list(wanted) if isinstance(wanted, tuple) else wanted
            for operator, wanted in upstream.condition.tests
        }
        said["condition"] = {"path": upstream.condition.path, **tests}
    return said


@dataclass(frozen=True, slots=True)
class Ended:
    """One end of an upstream, as a dependent looks at it. `end_id` only grows."""

    end_id: int
    execution_id: int
    job_id: int
    status: Status
    result: Any = None


@dataclass(frozen=True, slots=True)
class Cause:
    """An end that was decided on, and what was said of it."""

    end: Ended
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """One row to write: a run when every cause is met, else SKIPPED."""

    causes: tuple[Cause, ...]

    @property
    def runs(self) -> bool:
        return all(cause.verdict.is_met for cause in self.causes)


def decide(
    wanted: DependsOn, ends: Sequence[Ended], waiting: Mapping[int, Cause]
) -> tuple[list[Decision], dict[int, Cause]]:
    """What these ends, in order, bring about; and the round of `all` that is then open, by upstream.

    `waiting` is the round that was open before. Ends of jobs that are not waited for bring about nothing.
    """
    decisions: list[Decision] = []
    open_round = {job_id: cause for job_id, cause in waiting.items() if wanted.upstream(job_id) is not None}
    for end in ends:
        upstream = wanted.upstream(end.job_id)
        if upstream is None:
            continue
        cause = Cause(end, judge(upstream, end.status, end.result))
        if wanted.mode is Mode.ANY:
            decisions.append(Decision((cause,)))
            continue
        present = open_round.get(end.job_id)
        if present is None or present.end.end_id < end.end_id:
            open_round[end.job_id] = cause
        if len(open_round) == len(wanted.on):
            decisions.append(Decision(tuple(open_round[each.job_id] for each in wanted.on if each.job_id is not None)))
            open_round = {}
    return decisions, open_round
