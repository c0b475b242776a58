"""The fence by where a database is reached and what it is called: young copies, and processes in the wrong database."""

import asyncio

import pytest
from psycopg.conninfo import conninfo_to_dict

from cronsvc.domain.fence import FenceReason
from cronsvc.errors import ConfigError, Conflict
from cronsvc.services.backfills import Backfills
from cronsvc.services.fence import Fence
from cronsvc.services.restore import ReleaseMode, Restore
from cronsvc.store import identity, restores
from cronsvc.store.pool import Conn, Database
from tests.services.test_fence import ADMIN, Memory, due_job, waiting_and_running
from tests.support.rows import fetch, one

STARTED_AGAIN = "server_start = server_start - interval '1 hour'"
# As a copy of five minutes ago, on the same timeline, whose original was reached elsewhere.
YOUNG_COPY = (
    f"UPDATE service_identity SET {STARTED_AGAIN}, noted_at = noted_at - interval '5 minutes',"
    """ addresses = '{"db.internal:5432/cron": 1}' RETURNING 1"""
)
RESTART = f"UPDATE service_identity SET {STARTED_AGAIN} RETURNING 1"


def restoring(db: Database, installation: str | None = None) -> Restore:
    return Restore(db, Backfills(db, {}), installation=installation)


async def known(db: Database) -> list[str]:
    (addresses,) = await one(db, "SELECT addresses FROM service_identity")
    return sorted(addresses)


async def test_where_it_was_reached_is_remembered_without_who_asked(db: Database, database_url: str) -> None:
    assert await Fence(db, Memory()).look()
    (address,) = await known(db)
    assert f"/{conninfo_to_dict(database_url)['dbname']}" in address
    login = conninfo_to_dict(database_url)
    assert str(login["password"]) not in address and "@" not in address


async def test_a_young_copy_beside_a_redis_of_its_own_is_not_believed(db: Database) -> None:
    assert await Fence(db, Memory()).look()
    (here,) = await known(db)
    await fetch(db, YOUNG_COPY)
    assert not await Fence(db, Memory()).look()
    reason, detail = await one(db, "SELECT fence_reason, fence_detail FROM service_identity")
    assert reason == "other_address" and "db.internal:5432/cron" in detail and here in detail
    assert await known(db) == ["db.internal:5432/cron"]  # while it is fenced nothing is learnt
    await restoring(db).confirm(ReleaseMode.RESUME, ADMIN)
    assert await Fence(db, Memory()).look()
    assert await known(db) == [here]


async def test_everything_started_again_and_redis_empty_is_no_copy(db: Database) -> None:
    assert await Fence(db, Memory()).look()
    for _ in range(2):
        await fetch(db, RESTART)
        assert await Fence(db, Memory()).look()
    assert await one(db, "SELECT count(*) FROM audit_log WHERE entity = 'service'") == (0,)


async def test_a_database_of_the_release_before_knows_no_addresses(db: Database) -> None:
    assert await Fence(db, Memory()).look()
    await fetch(db, f"UPDATE service_identity SET {STARTED_AGAIN}, addresses = '{{}}' RETURNING 1")
    assert await Fence(db, Memory()).look()
    assert len(await known(db)) == 1


async def test_a_worker_makes_its_address_known_as_well(db: Database) -> None:
    memory = Memory()
    assert await Fence(db, memory).look()
    await fetch(db, """UPDATE service_identity SET addresses = '{"bouncer:6432/cron": 1}' RETURNING 1""")
    assert await Fence(db, memory, notes=False).look()
    (here,) = await known(db)  # the other one was last used in 1970
    assert here != "bouncer:6432/cron"


async def test_no_more_than_sixteen_addresses_are_kept(db: Database) -> None:
    assert await Fence(db, Memory()).look()
    (lineage,) = await one(db, "SELECT lineage::text FROM service_identity")
    await asyncio.gather(*(_reached(db, lineage, f"pod-{number}:5432/cron") for number in range(20)))
    kept = await known(db)
    assert len(kept) == 16 and sum(each.startswith("pod-") for each in kept) >= 15


async def _reached(db: Database, lineage: str, address: str) -> None:
    async with db.statements() as conn:
        await identity.settle_in(conn, lineage=lineage, address=address, installation=None)


async def test_a_name_is_remembered_while_it_is_open(db: Database) -> None:
    assert await Fence(db, Memory()).look()
    assert await Fence(db, Memory(), installation="production").look()
    assert await one(db, "SELECT installation FROM service_identity") == ("production",)
    assert await Fence(db, Memory()).look()  # one that was told no name
    assert await one(db, "SELECT installation FROM service_identity") == ("production",)


async def test_a_process_with_the_wrong_name_stops_and_disturbs_nobody(db: Database) -> None:
    production = Fence(db, Memory(), installation="production")
    assert await production.look()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"CRONSVC_INSTALLATION.*production.*laptop"):
            await Fence(db, Memory(), installation="laptop").look()
    with pytest.raises(ConfigError):
        await restoring(db, "laptop").check_installation()
    await restoring(db, "production").check_installation()
    assert await production.look()
    assert not await production.holds()
    assert await one(db, "SELECT count(*) FROM audit_log WHERE entity = 'service'") == (0,)


async def test_two_names_at_once_leave_one(db: Database) -> None:
    assert await Fence(db, Memory()).look()
    fences = [Fence(db, Memory(), installation=name) for name in ("blue", "green")]
    await asyncio.gather(*(each.look() for each in fences), return_exceptions=True)
    told = await asyncio.gather(*(each.look() for each in fences), return_exceptions=True)
    assert sorted(type(each).__name__ for each in told) == ["ConfigError", "bool"]


async def test_a_copy_under_another_name_is_not_believed(db: Database) -> None:
    """Whatever Redis remembers and wherever it is reached."""
    memory = Memory()
    assert await Fence(db, memory, installation="production").look()
    await fetch(db, RESTART)
    assert not await Fence(db, memory, installation="staging").look()
    state = await restoring(db, "staging").state(ADMIN)
    assert (state.fenced, state.waiting_for_look, state.reason) == (True, False, FenceReason.OTHER_INSTALLATION)
    await restoring(db, "staging").confirm(ReleaseMode.RESUME, ADMIN)
    assert await Fence(db, memory, installation="staging").look()
    assert await one(db, "SELECT installation FROM service_identity") == ("staging",)


async def test_a_confirmation_renames_an_installation(db: Database) -> None:
    assert await Fence(db, Memory(), installation="production").look()
    with pytest.raises(Conflict):
        await restoring(db, "production").confirm(ReleaseMode.RESUME, ADMIN)
    with pytest.raises(Conflict):
        await restoring(db).confirm(ReleaseMode.RESUME, ADMIN)
    with pytest.raises(Conflict):  # nothing of an open database is skipped
        await restoring(db, "prod-eu").confirm(ReleaseMode.SKIP, ADMIN)
    await restoring(db, "prod-eu").confirm(ReleaseMode.RESUME, ADMIN)
    assert await Fence(db, Memory(), installation="prod-eu").look()


async def test_skip_waits_until_somebody_has_compared(db: Database) -> None:
    """Postgres started again and Redis is away: this may well be the database that it was."""
    memory = Memory()
    assert await Fence(db, memory).look()
    job_id = await due_job(db)
    await waiting_and_running(db, job_id)
    await fetch(db, RESTART)
    memory.away = True
    assert not await Fence(db, memory).look()
    rows = "SELECT status, max_attempts FROM job_executions ORDER BY 1"
    before = await fetch(db, rows)
    with pytest.raises(Conflict, match="checking"):
        await restoring(db).confirm(ReleaseMode.SKIP, ADMIN)
    assert await fetch(db, rows) == before
    memory.away = False
    assert await Fence(db, memory).look()
    with pytest.raises(Conflict, match="nothing is fenced"):
        await restoring(db).confirm(ReleaseMode.SKIP, ADMIN)
    assert await fetch(db, rows) == before


async def test_a_skip_ends_when_somebody_else_has_resumed(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of its transactions: what waits by then is to run."""
    assert await Fence(db, Memory()).look()
    await waiting_and_running(db, await due_job(db))
    await fetch(db, "UPDATE service_identity SET database_oid = 1 RETURNING 1")

    async def resumed_meanwhile(_: Conn) -> list[int]:
        await restoring(db).confirm(ReleaseMode.RESUME, ADMIN)
        return []

    monkeypatch.setattr(restores, "running_backfills", resumed_meanwhile)
    with pytest.raises(Conflict, match="nothing is fenced"):
        await restoring(db).confirm(ReleaseMode.SKIP, ADMIN)
    assert await one(db, "SELECT count(*) FROM job_executions WHERE status = 'QUEUED'") == (1,)
