"""What tests of the control plane share: a service desk on a real database, whose tickets go to a list."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from cronsvc.domain.execution import Outcome, Ticket
from cronsvc.domain.job import JobDefinition, TaskPayload
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import InvalidInput
from cronsvc.executors.base import RunContext
from cronsvc.queue import Broker
from cronsvc.services.access import Caller, Role
from cronsvc.services.backfills import Backfills
from cronsvc.services.bulk_pausing import BulkPausing
from cronsvc.services.dead_letters import DeadLetters
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.ending import Endings
from cronsvc.services.executions import Executions
from cronsvc.services.jobs import Jobs
from cronsvc.services.recoveries import Recoveries
from cronsvc.store.pool import Database

ALICE = Caller("key:alice", Role.OPERATOR, None, "10.1.2.3")
BOB = Caller("key:bob", Role.OPERATOR, None, None)
RED = Caller("key:red", Role.OPERATOR, ("red",), None)

# Far from any moment a test runs at, so that no clock turns over between two of its steps.
YEARLY = Schedule(cron_expression="0 4 1 3 *")


class NeedsUrl:
    """A job type whose config is `{"url": text}`; everything else beside it is welcome."""

    def parse(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(config.get("url"), str):
            raise InvalidInput.of("taskPayload.config.url", "is an address as text")
        return config

    async def run(self, config: Any, context: RunContext) -> Outcome:
        raise NotImplementedError

    async def close(self) -> None:
        return


class Bell:
    """A Redis that remembers what was pushed."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []

    async def push(self, tickets: Sequence[Ticket]) -> int:
        self.tickets.extend(tickets)
        return len(tickets)


class Desk:
    """The services of one process over `db`; `tickets` is what they pushed."""

    def __init__(self, db: Database) -> None:
        bell = Bell()
        self.tickets = bell.tickets
        self.dispatcher = Dispatcher(db, cast(Broker, bell))
        self.jobs = Jobs(db, {"CALL": NeedsUrl()}, self.dispatcher, "default")
        self.executions = Executions(db)
        self.endings = Endings(db, {"CALL": NeedsUrl()}, self.dispatcher)
        self.dead_letters = DeadLetters(db, {"CALL": NeedsUrl()}, self.dispatcher)
        self.bulk_pausing = BulkPausing(db, self.dispatcher)
        self.backfills = Backfills(db, {"CALL": NeedsUrl()})
        self.recoveries = Recoveries(db, self.backfills)


def definition(name: str = "report", **fields: Any) -> JobDefinition:
    """A good definition, once a year unless told otherwise."""
    plain = JobDefinition(name=name, schedule=YEARLY, task_payload=TaskPayload("CALL", {"url": "https://example.com/"}))
    return replace(plain, **fields)
