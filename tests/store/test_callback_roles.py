"""Callbacks where each process has a role of its own: who signs and checks may read the keys, nobody else."""

from collections.abc import Iterator

import psycopg
import pytest

from cronsvc.domain.execution import Status
from cronsvc.services.callback_waits import Tokens, end_silent
from cronsvc.services.callbacks import Callbacks, Ending, News
from cronsvc.services.callers import Caller, Role, everywhere, within
from cronsvc.store import callbacks
from cronsvc.store.pool import Database
from tests.support.callbacks import accepting, grant_of, silence, taken_over
from tests.support.roles import logins
from tests.support.running import attempt, runner, state, waiting


@pytest.fixture
def urls(database_url: str) -> Iterator[dict[str, str]]:
    with logins(database_url) as found:
        yield found


def test_the_keys_are_for_who_signs_and_who_checks(urls: dict[str, str]) -> None:
    for role, url in urls.items():
        with psycopg.connect(url, autocommit=True) as conn:
            if role in ("cronsvc_api", "cronsvc_worker"):
                assert conn.execute("SELECT octet_length(secret) FROM callback_keys").fetchall() == [(32,)]
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute("SELECT secret FROM callback_keys")
            for write in ("INSERT INTO callback_keys DEFAULT VALUES", "DELETE FROM callback_keys"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(write.encode())


async def test_each_process_can_do_its_part(urls: dict[str, str], db: Database) -> None:
    processes = {
        name: await Database.open(urls[f"cronsvc_{name}"], application_name="cronsvc-test", max_size=4)
        for name in ("api", "scheduler", "worker")
    }
    try:
        called, silent = await waiting(db), (await taken_over(db, pause_after_failures=1))[0]
        worker = await runner(processes["worker"], accepting())
        await attempt(worker, called)
        calls = Callbacks(processes["api"])
        async with db.statements() as conn:
            found = await callbacks.find(conn, grant_of(called))
        assert found is not None
        token = await Tokens(processes["worker"], found.claimed).token(60)
        with everywhere():  # as the door does for a token
            grant = await calls.authenticate(token)
            assert (await calls.progress(grant, News(progress=5))).status is Status.RUNNING
            assert (await calls.complete(grant, Ending(True))).status is Status.SUCCESS
        await silence(db, silent)
        assert await end_silent(processes["scheduler"]) == 1
        by_hand, _ = await taken_over(db, pause_after_failures=1)
        alice = Caller("key:alice", Role.OPERATOR, ("default",))
        with within(alice):
            told = await calls.complete_as(by_hand.execution_id, alice, Ending(False, retry=False))
        assert told.status is Status.FAILED
        assert (await state(db, called))[0] == "SUCCESS"
    finally:
        for process in processes.values():
            await process.close()
