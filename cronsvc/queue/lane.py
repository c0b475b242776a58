"""One lane: the tickets of one queue at one priority, in stock SAQ's key layout.

Bodies are written by hand, because building a saq.Job per ticket costs more than the whole rest of a push; a test holds
the text and SAQ's own reading of it together. A body carries integers only, and reading one back checks every one.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from saq.job import Job
from saq.queue.redis import RedisQueue

from cronsvc.domain.execution import Ticket
from cronsvc.domain.job import Priority

FUNCTION = "run"
LEVELS: Mapping[int, int] = {int(priority): level for level, priority in enumerate(sorted(Priority))}
LARGEST_ID = 2**63 - 1
LARGEST_CLAIM = 2**31 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class PoisonError(Exception):
    """A body that is not a ticket of this lane."""


class TicketJob(Job):
    """A saq.Job that knows its ticket."""

    ticket: Ticket

    def info(self, full: bool = False) -> str:
        """A short name. SAQ formats this for log lines nobody reads, at a fifth of the cost of a whole job."""
        return f"ticket {self.key}"


class Lane(RedisQueue):
    """A RedisQueue that reads and writes tickets. `level` 0 is the most urgent."""

    def __init__(self, redis: Redis, *, prefix: str, queue: str, priority: int) -> None:
        self.queue = queue
        self.priority = priority
        self.level = LEVELS[priority]
        super().__init__(redis, name=f"{prefix}:{queue}:p{self.level}")
        self.id_prefix = self.job_id("")
        self.keys = (self.namespace("queued"), self.namespace("incomplete"), self.namespace("bell"))
        self._body_start = f'{{"function": "{FUNCTION}", "queue": {json.dumps(self.name)}, "key": "'

    @property
    def queued(self) -> str:
        """The key of the list of waiting ids."""
        return self.keys[0]

    @property
    def bell(self) -> str:
        """The key of the doorbell."""
        return self.keys[2]

    @staticmethod
    def key(ticket: Ticket) -> str:
        """What makes two tickets the same: waiting twice under one key is refused."""
        return f"{ticket.execution_id:d}:{ticket.claim_no:d}"

    def body(self, ticket: Ticket) -> str:
        """The ticket as a saq.Job in JSON: no timeout, no heartbeat, one attempt, nothing kept afterwards."""
        instant = (ticket.scheduled_time - EPOCH) // MICROSECOND
        return (
            f'{self._body_start}{ticket.execution_id:d}:{ticket.claim_no:d}", "kwargs": '
            f'{{"execution_id": {ticket.execution_id:d}, "job_id": {ticket.job_id:d}, '
            f'"scheduled_time": {instant:d}, "claim_no": {ticket.claim_no:d}}}, '
            f'"timeout": 0, "heartbeat": 0, "retries": 1, "ttl": -1, "status": "queued"}}'
        )

    def read(self, body: bytes | str) -> TicketJob:
        """The job that `body` wrote. PoisonError when it is anything else; its message never quotes the content."""
        try:
            fields = json.loads(body)
            if fields.pop("queue") != self.name or fields["function"] != FUNCTION:
                raise PoisonError("it names another queue or function")
            job = TicketJob(**fields, queue=self)
            job.ticket = self._ticket(fields["kwargs"])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise PoisonError(type(error).__name__) from None
        return job

    def _ticket(self, identity: dict[str, Any]) -> Ticket:
        # strictly integers: one text here would fail a whole batch of claims in Postgres
        for name in ("execution_id", "job_id", "claim_no", "scheduled_time"):
            largest = LARGEST_CLAIM if name == "claim_no" else LARGEST_ID
            if type(identity[name]) is not int or abs(identity[name]) > largest:
                raise PoisonError(f"{name} is not an integer that its column can hold")
        return Ticket(
            execution_id=identity["execution_id"],
            job_id=identity["job_id"],
            scheduled_time=EPOCH + timedelta(microseconds=identity["scheduled_time"]),
            claim_no=identity["claim_no"],
            queue=self.queue,
            priority=self.priority,
        )
