"""The advisory locks of schedulers: they spread the work, and what is right does not rest on them."""

from cronsvc.store.pool import Conn

# The first key of every advisory lock of ours; the second is a shard, or one of the singletons below.
LOCK_CLASS = 0x63726F6E  # "cron"
SHARDS = 64
REDISPATCH_LOCK = SHARDS
UPKEEP_LOCK = SHARDS + 1
RELEASE_LOCK = SHARDS + 2
WINDOWS_LOCK = SHARDS + 3
ENDS_LOCK = SHARDS + 4

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%(class)s::int, %(key)s::int)"


async def try_lock(conn: Conn, key: int) -> bool:
    """Take one of the singleton locks for the transaction; False if another replica is at it."""
    row = await (await conn.execute(TRY_LOCK, {"class": LOCK_CLASS, "key": key})).fetchone()
    return row is not None and bool(row[0])
