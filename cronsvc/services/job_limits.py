"""How many jobs a namespace may have, and how often one of them may fire. Jobs written by SQL are not asked."""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from cronsvc.domain.schedule import Schedule, ScheduleError
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.preview import instants
from cronsvc.services.remembered_counts import RememberedCounts
from cronsvc.store import job_quota
from cronsvc.store.pool import Conn

# Instants ahead: the closest two are nearly always among them, for hours repeat by the day. Not where two days that
# fire adjoin once in years (`0,59 0,23 1,29 * *`): such an expression may come closer then than is allowed.
LOOKED_AT = 200
NEAR = 100  # jobs below the limit at which creations begin to wait for each other
# So long is a count remembered, and only so many jobs below the limit: more than all processes create in that time.
COUNT_SECONDS = 5.0
COUNT_MARGIN = 2000


def _counts() -> RememberedCounts:
    return RememberedCounts(seconds=COUNT_SECONDS, margin=COUNT_MARGIN)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What the operator allows; the defaults are those of the environment."""

    least_interval_seconds: int = 1
    most_per_namespace: int = 10_000
    counts: RememberedCounts = field(default_factory=_counts, compare=False)

    def check_interval(self, schedule: Schedule, now: datetime) -> None:
        """Raise InvalidInput when two of the next 200 fires of a checked schedule are closer than allowed."""
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

    async def check_room(self, conn: Conn, namespace: str) -> None:
        """Raise Conflict when a job that this transaction has put into the namespace is one too many.

        Near the limit creations go one by one, so it is exact. They wait for each other as the last thing before the
        commit: who waits here holds rows of jobs, so who is waited for must ask for none any more.
        """
        most = self.most_per_namespace
        if self.counts.let_through(namespace, most):
            return
        there = await job_quota.count(conn, namespace, most=most + 1)
        if most - NEAR < there <= most:
            await job_quota.hold(conn, namespace)
            there = await job_quota.count(conn, namespace, most=most + 1)
        if there > most:
            raise Conflict(f"the namespace {namespace} has {most} jobs, as many as it may have; delete some first")
        self.counts.remember(namespace, there)
