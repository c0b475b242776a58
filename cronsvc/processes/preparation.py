"""Reaching the database, and making it ready for service: this release's schema, and partitions ahead of the clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cronsvc.config import Settings
from cronsvc.services.upkeep import make_partitions
from cronsvc.store.migrations import upgrade
from cronsvc.store.pool import Database


@asynccontextmanager
async def opened_database(settings: Settings, *, application_name: str, max_size: int) -> AsyncIterator[Database]:
    """A pool for the length of the block. ConfigError: DATABASE_URL is not set."""
    database = await Database.open(
        settings.require_database_url(),
        application_name=application_name,
        max_size=max_size,
        pooler=settings.pooler == "transaction",
    )
    try:
        yield database
    finally:
        await database.close()


async def prepare_database(settings: Settings) -> str:
    """Migrate, make what partitions are missing, and return the schema's revision. Safe to race.

    ConfigError: no DATABASE_URL. Unavailable: Postgres cannot be reached, or is locked by somebody else.
    """
    revision = await asyncio.to_thread(upgrade, settings.require_database_url())
    async with opened_database(settings, application_name="cronsvc-migrate", max_size=1) as database:
        await make_partitions(database)
    return revision
