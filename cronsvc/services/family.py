"""How a running execution starts children: in one transaction, behind the fence of its claim, each child once.

The rows are written at once and not with the parent's end, so that children run beside a handler that goes on, and a
parent that dies is known to have started them. The parent's row is locked meanwhile: a claim that is over starts
nothing, and a retried or rescued parent that starts the same keys again finds them. When a person has let the parent
run again, those that had failed or been cancelled by then run again with it, once: it could not succeed otherwise.
Children are like manual runs: neither pause nor overlap of their jobs holds them back, limits and paused queues do.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cronsvc.domain.execution import Claimed
from cronsvc.domain.plan_at import own_instants
from cronsvc.errors import Conflict, FieldError, InvalidInput
from cronsvc.handlers import Child
from cronsvc.services.job_validation import MAX_PARAMS_BYTES, json_fault
from cronsvc.store import children, clock, ending, running
from cronsvc.store.children import NewChild
from cronsvc.store.pool import Conn, Database

MOST_CHILDREN = 10_000
LONGEST_DELAY = 604_800.0
LONGEST_KEY = 200
GREATEST_ID = 2**63 - 1

# What one statement writes; a transaction with all of them stays far from its time-out.
_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class _Wish:
    key: str
    child: Child


class Family:
    """The children of one attempt's execution. Calls are counted: a child without a key is known by call and place."""

    def __init__(self, db: Database, claimed: Claimed) -> None:
        self._db = db
        self._claimed = claimed
        self._calls = 0

    async def start(self, wanted: Sequence[Child], *, wait: bool, tolerate: int) -> list[int]:
        """Start these children and return their execution ids in order; those that an earlier attempt started are kept.

        With `wait` the execution does not end with its handler but when its children have. InvalidInput: one of them
        cannot be started, and none was. Conflict: the attempt is over, or its execution was called off.
        """
        self._calls += 1
        wishes = _checked(wanted, self._calls, tolerate)
        if not wishes:
            return []
        claimed, key = self._claimed, (self._claimed.job_id, self._claimed.scheduled_time)
        async with self._db.transaction() as conn:
            job_ids = await _jobs(conn, claimed.job_id, wishes)
            present = await children.lock_parent(conn, key, claimed.claim_no)
            if present is None:
                raise Conflict("this attempt may start no children: it is over, or was called off")
            ids = await children.ids(conn, claimed.execution_id, [wish.key for wish in wishes])
            missing = [_new(wish, job_ids) for wish in wishes if wish.key not in ids]
            if present + len(missing) > MOST_CHILDREN:
                raise InvalidInput.of("children", f"an execution has at most {MOST_CHILDREN} in all")
            started = await self._insert(conn, missing)
            await self._again(conn, list(ids), job_ids)
            await children.adopt(conn, key, children=present + len(started), tolerated=tolerate if wait else None)
            await running.wake_schedulers(conn)
        ids |= started
        return [ids[wish.key] for wish in wishes]

    async def _again(self, conn: Conn, keys: Sequence[str], job_ids: Mapping[int | str, int]) -> None:
        """Let run again what a person meant who let the parent run again; Redis hears of it from the schedulers."""
        if not keys:
            return
        claimed = self._claimed
        key = (claimed.job_id, claimed.scheduled_time)
        held = set(job_ids.values())
        failed = await children.failed_before(conn, claimed.execution_id, key, keys, held)
        for place in range(0, len(failed), _CHUNK):
            locked = await ending.lock(conn, failed[place : place + _CHUNK])
            await ending.requeue(conn, list(locked.values()), redispatch=timedelta(0))

    async def _insert(self, conn: Conn, missing: Sequence[NewChild]) -> dict[str, int]:
        """Write them a chunk at a time; one whose instant was taken by another run of its job gets a later one."""
        claimed, left = self._claimed, list(missing)
        started: dict[str, int] = {}
        while left:
            chunk = left[:_CHUNK]
            instants = own_instants(await clock.now(conn), len(chunk))
            started |= await children.insert(
                conn,
                claimed.execution_id,
                (claimed.job_id, claimed.scheduled_time),
                list(zip(chunk, instants, strict=True)),
                by=f"execution:{claimed.execution_id}",
            )
            left = [child for child in left if child.key not in started]
        return started


def _checked(wanted: Sequence[Child], call: int, tolerate: int) -> list[_Wish]:
    """The children with their keys; InvalidInput names the first that cannot be."""
    if len(wanted) > MOST_CHILDREN:
        raise InvalidInput.of("children", f"are {len(wanted)}; an execution has at most {MOST_CHILDREN}")
    if isinstance(tolerate, bool) or not isinstance(tolerate, int) or not 0 <= tolerate <= MOST_CHILDREN:
        raise InvalidInput.of("tolerate", f"is how many may fail, 0 to {MOST_CHILDREN}")
    wishes = [
        _Wish(f"#{call}.{place}" if child.key is None else child.key, child) for place, child in enumerate(wanted)
    ]
    for place, wish in enumerate(wishes):
        if (fault := _fault(wish.child)) is not None:
            raise InvalidInput.of(f"children[{place}].{fault.field}", fault.reason)
    if len({wish.key for wish in wishes}) < len(wishes):
        raise InvalidInput.of("children", "have each a key of their own")
    return wishes


def _fault(child: Child) -> FieldError | None:
    key, job, delay = child.key, child.job, child.delay_seconds
    if key is not None and not (
        isinstance(key, str) and 1 <= len(key) <= LONGEST_KEY and key[0] != "#" and _is_text(key)
    ):
        return FieldError("key", f"is 1 to {LONGEST_KEY} characters and does not begin with #")
    if isinstance(job, bool) or not isinstance(job, int | str) or (isinstance(job, str) and not _is_text(job)):
        return FieldError("job", "is the id of a job, or its name in the namespace")
    if (
        isinstance(delay, bool)
        or not isinstance(delay, int | float)
        or not 0 <= delay <= LONGEST_DELAY
        or math.isnan(delay)
    ):
        return FieldError("delay_seconds", f"is 0 to {LONGEST_DELAY:.0f}")
    if child.params is None:
        return None
    fault = "is a dict" if not isinstance(child.params, dict) else json_fault(child.params, MAX_PARAMS_BYTES)
    return None if fault is None else FieldError("params", fault)


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


async def _jobs(conn: Conn, parent_job_id: int, wishes: Sequence[_Wish]) -> dict[int | str, int]:
    """The ids of the jobs that are named, by id and by name, kept from being deleted; InvalidInput: one is missing."""
    wanted = {wish.child.job for wish in wishes}
    found = await children.hold_jobs(
        conn,
        parent_job_id,
        ids=[each for each in wanted if isinstance(each, int) and 0 < each <= GREATEST_ID],
        names=[each for each in wanted if isinstance(each, str)],
    )
    known: dict[int | str, int] = {name: job_id for job_id, name in found.items()} | {each: each for each in found}
    for place, wish in enumerate(wishes):
        if wish.child.job not in known:
            reason = f"there is no job {str(wish.child.job)[:100]!r} in the namespace"
            raise InvalidInput.of(f"children[{place}].job", reason)
    return known


def _new(wish: _Wish, job_ids: dict[int | str, int]) -> NewChild:
    params = None if wish.child.params is None else json.loads(json.dumps(wish.child.params))
    return NewChild(wish.key, job_ids[wish.child.job], params, float(wish.child.delay_seconds))
