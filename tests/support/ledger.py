"""One job that runs every minute, and what tests do to the ledger of its instants."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsvc.services.scheduling import Scheduling
from cronsvc.store.pool import Database
from tests.support.control import Desk
from tests.support.rows import fetch

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
AHEAD = 8 * 60  # a minute that has not come


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


@dataclass
class Ledger:
    """One job, every minute, with what the tests do to it."""

    db: Database
    desk: Desk
    job_id: int

    async def tick(self, until: int) -> None:
        scheduling = Scheduling(self.db, self.desk.dispatcher)
        while (await scheduling.tick(now=minute(until))).more:
            pass

    async def run(self, first: int, last: int) -> None:
        """Tick at each of these minutes, as on a quiet day."""
        for number in range(first, last + 1):
            await self.tick(number)

    async def end_all(self) -> None:
        await self.sql(
            "UPDATE job_executions SET status = 'SUCCESS', attempt = 1, start_time = scheduled_time,"
            " end_time = scheduled_time, dispatch_at = NULL WHERE status = 'QUEUED'"
        )

    async def lose(self, number: int) -> None:
        await self.sql(
            "DELETE FROM job_executions WHERE job_id = %s AND scheduled_time = %s", self.job_id, minute(number)
        )

    async def sql(self, statement: str, *parameters: object) -> None:
        async with self.db.transaction() as conn:
            done = await conn.execute(statement.encode(), parameters)
            assert done.rowcount, statement

    async def gaps(self) -> list[tuple[datetime, datetime]]:
        rows = await fetch(self.db, "SELECT missing_time, seen_from FROM cronsvc_v1.gaps ORDER BY 1")
        return [(missing.astimezone(UTC), seen.astimezone(UTC)) for missing, seen in rows]
