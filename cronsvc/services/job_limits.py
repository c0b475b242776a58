"""How many jobs a namespace may have, and how often one of them may fire. Jobs written by SQL are not asked."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cronsvc.domain.schedule import Schedule, ScheduleError
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.preview import instants
from cronsvc.store import job_quota
from cronsvc.store.pool import Conn

LOOKED_AT = 200  # instants ahead: the closest two of a cron expression are among them, for its hours repeat by the day
NEAR = 100  # jobs below the limit at which creations begin to wait for each other


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What the operator allows; the defaults are those of the environment."""

    least_interval_seconds: int = 1
    most_per_namespace: int = 10_000

    def check_interval(self, schedule: Schedule, now: datetime) -> None:
        """Raise InvalidInput when two of the next fires of a checked schedule are closer than allowed."""
        least = self.least_interval_seconds
        if schedule.every_seconds is not None and schedule.every_seconds < least:
            raise InvalidInput.of("every", f"is {schedule.every_seconds} seconds; {least} or more are possible here")
        if schedule.cron_expression is None or least <= 1:
            return
        try:
            ahead = instants(schedule, now, LOOKED_AT)
        except ScheduleError as error:
            raise InvalidInput.of(error.field, error.reason) from None
        closest = min((later - earlier for earlier, later in pairwise(ahead)), default=None)
        if closest is not None and closest.total_seconds() < least:
            between = f"{closest.total_seconds():g} seconds lie between two of its fires"
            raise InvalidInput.of("cronExpression", f"{between}; {least} or more are possible here")

    async def make_room(self, conn: Conn, namespace: str) -> None:
        """Raise Conflict when the namespace is full. Near the limit creations go one by one, so it is exact."""
        most = self.most_per_namespace
        there = await job_quota.count(conn, namespace, most=most)
        if most - NEAR <= there < most:
            await job_quota.hold(conn, namespace)
            there = await job_quota.count(conn, namespace, most=most)
        if there >= most:
            raise Conflict(f"the namespace {namespace} has {most} jobs, as many as it may have; delete some first")
