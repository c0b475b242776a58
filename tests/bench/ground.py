"""Durable servers, a migrated database and the few helpers that every measurement shares."""

import statistics
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from cronsvc.embedded import Postgres, Valkey
from cronsvc.store import partitions
from cronsvc.store.migrations import upgrade
from cronsvc.store.pool import Database
from tests.support.servers import scratch_directory

PAYLOAD = '{"type": "NOOP", "config": {}}'


@dataclass(frozen=True, slots=True)
class Ground:
    """A server of each kind. `fresh_database()` is a new migrated database with seventeen weeks of partitions."""

    postgres_url: str
    redis_url: str

    async def fresh_database(self) -> str:
        name = f"bench_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.postgres_url, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        url = psycopg.conninfo.make_conninfo(self.postgres_url, dbname=name)
        upgrade(url)
        async with opened(url) as db, db.transaction() as conn:
            now = datetime.now(UTC)
            await partitions.ensure(conn, {partitions.week_of(now + timedelta(weeks=n)) for n in range(-12, 5)})
        return url


@contextmanager
def ground() -> Iterator[Ground]:
    """Postgres that syncs to disk, as in production, and Valkey."""
    with scratch_directory() as directory:
        postgres, valkey = Postgres(directory / "pg"), Valkey(directory / "vk")
        try:
            for server in (postgres, valkey):
                server.start()
            yield Ground(postgres.url, valkey.url)
        finally:
            valkey.close()
            postgres.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    db = await Database.open(url, application_name="bench", max_size=10)
    try:
        yield db
    finally:
        await db.close()


async def define_jobs(db: Database, count: int, *, at: datetime, expression: str = "* * * * * *") -> None:
    """`count` jobs whose cursors stand at `at`."""
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO jobs (name, cron_expression, task_payload, next_fire_time, armed_revision,"
            " misfire_grace_seconds) SELECT 'job-' || n, %s, %s::jsonb, %s, 1, 86400 FROM generate_series(1, %s) AS n",
            (expression, PAYLOAD, at, count),
        )
        await conn.execute("ANALYZE jobs")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0..1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
