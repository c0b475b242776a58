"""Start, stop, crash and start again: the data and the url stay."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis

from cronsvc.embedded import Embedded, EmbeddedError, Postgres, Valkey, postgres, valkey
from cronsvc.embedded.binaries import find_postgres
from tests.embedded.helpers import is_gone, kill, remember, remembered, wait_until
from tests.support.servers import free_port

Start = Callable[..., Embedded]


def test_both_start_at_once_and_keep_their_data_and_url(folder: Path) -> None:
    """The way `cronsvc up` does it, first on a new folder, then on the kept one, with syncing on."""
    urls = []
    for word in ("cold", "warm"):
        with (
            postgres(folder / "postgres", wait=False) as database,
            valkey(folder / "valkey", wait=False) as doorbell,
        ):
            known_early = (database.url, doorbell.url)
            database.ready()
            doorbell.ready()
            pids = (database.pid, doorbell.pid)
            for server in (database, doorbell):
                remember(server.url, word)
            urls.append((database.url, doorbell.url))
            assert known_early == urls[0]
        assert all(pid is not None and is_gone(pid) for pid in pids)
    with postgres(folder / "postgres") as database, valkey(folder / "valkey") as doorbell:
        assert [remembered(database.url), remembered(doorbell.url)] == [["cold", "warm"]] * 2
    assert urls[0] == urls[1]


@pytest.mark.parametrize("by_force", [False, True], ids=["kindly", "killed"])
def test_an_outage_on_purpose(start: Start, folder: Path, by_force: bool) -> None:
    with start(folder / "data") as server:
        url, first = server.url, server.pid
        remember(url, "before")
        server.stop(kill=by_force)
        wait_until(lambda: server.pid is None)
        with pytest.raises((psycopg.OperationalError, redis.ConnectionError)):
            remembered(url)
        assert server.restart_if_dead() is False, "the supervisor leaves a planned outage alone"
        server.start()
        assert server.url == url
        assert server.pid not in (None, first)
        assert remembered(url) == ["before"]


def test_a_killed_server_is_started_again_with_its_data(start: Start, folder: Path) -> None:
    with start(folder / "data") as server:
        url = server.url
        assert server.restart_if_dead() is False
        for round_number in range(3):
            remember(url, str(round_number))
            kill(server)
            assert server.restart_if_dead() is True
            assert server.restart_if_dead() is False
        assert remembered(url) == ["0", "1", "2"]


def test_a_killed_postgres_returns_although_a_session_is_busy(folder: Path) -> None:
    """The session outlives its postmaster until its statement ends, and holds the shared memory so long."""
    with Postgres(folder / "postgres", durable=False) as server:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(
                "CREATE FUNCTION burn(seconds float) RETURNS void LANGUAGE plpgsql AS "
                "$$ BEGIN WHILE clock_timestamp() < now() + seconds * interval '1 s' LOOP END LOOP; END $$"
            )
            session = conn.info.backend_pid
            burning = threading.Thread(target=_ignore_the_end_of, args=(conn, "SELECT burn(2)"))
            burning.start()
            wait_until(lambda: psutil.Process(session).cpu_times().user > 0.2)
            kill(server)
            assert not is_gone(session)
            assert server.restart_if_dead() is True
            assert is_gone(session)
            burning.join()
        remember(server.url, "after")


def _ignore_the_end_of(conn: psycopg.Connection, statement: str) -> None:
    with suppress(psycopg.OperationalError):
        conn.execute(statement.encode())


def test_a_server_survives_the_end_of_the_thread_that_asked_for_it(start: Start, folder: Path) -> None:
    """The kernel would end it with that thread; our own thread is what it is tied to."""
    servers: list[Embedded] = []
    asking = threading.Thread(target=lambda: servers.append(start(folder / "data")))
    asking.start()
    asking.join()
    with servers[0] as server:
        pid = server.pid
        remember(server.url, "still here")
        assert server.pid == pid
        kill(server)
        restarting = threading.Thread(target=server.restart_if_dead)
        restarting.start()
        restarting.join()
        assert remembered(server.url) == ["still here"]
        assert server.restart_if_dead() is False


def test_stop_interrupts_a_start(folder: Path) -> None:
    with Postgres(folder / "postgres") as server:
        server.launch()
        server.stop()
        with pytest.raises(EmbeddedError, match="stopped while it was starting"):
            server.ready()
        assert server.pid is None
        server.start()
        remember(server.url, "whole")


def test_the_terminals_ctrl_c_does_not_reach_the_server(start: Start, folder: Path) -> None:
    with start(folder / "data") as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) == server.pid != os.getpgid(0)


def test_without_a_port_there_is_no_tcp_and_strangers_are_kept_out(start: Start, folder: Path) -> None:
    with start(folder / "data") as server:
        assert server.pid is not None
        assert [c for c in psutil.Process(server.pid).net_connections(kind="inet") if c.status == "LISTEN"] == []
        assert server.data_dir.stat().st_mode & 0o077 == 0
        assert (server.data_dir / "run").stat().st_mode & 0o077 == 0


def test_a_port_is_served_on_loopback_only(start: Start, folder: Path) -> None:
    port = free_port()
    with start(folder / "data", port=port) as server:
        assert (urlsplit(server.url).hostname, urlsplit(server.url).port) == ("127.0.0.1", port)
        remember(server.url, "by tcp")
        assert remembered(server.url) == ["by tcp"]
        assert server.pid is not None
        listening = [c for c in psutil.Process(server.pid).net_connections(kind="inet") if c.status == "LISTEN"]
        assert {c.laddr for c in listening} == {("127.0.0.1", port)}


def test_postgres_is_set_up_as_promised(folder: Path) -> None:
    with Postgres(folder / "postgres", durable=False, settings={"max_connections": "33"}) as server:
        server.start()
        with psycopg.connect(server.url) as conn:
            shown = {
                name: conn.execute("SELECT current_setting(%s)", [name]).fetchone()
                for name in ("max_connections", "timezone", "server_encoding", "fsync", "synchronous_commit")
            }
            assert shown == {
                "max_connections": ("33",),
                "timezone": ("UTC",),
                "server_encoding": ("UTF8",),
                "fsync": ("off",),
                "synchronous_commit": ("on",),
            }
            assert conn.info.dbname == "cronsvc"
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url, password="wrong")
        with postgres(folder / "durable") as durable, psycopg.connect(durable.url) as conn:
            assert conn.execute("SELECT current_setting('fsync'), current_setting('max_connections')").fetchone() == (
                "on",
                "100",
            )


def test_valkey_keeps_everything_and_evicts_nothing(folder: Path) -> None:
    with Valkey(folder / "valkey") as server:
        server.start()
        with redis.Redis.from_url(server.url) as client:
            settings = client.config_get("*")
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: settings[name] for name in wanted} == wanted


def test_a_server_that_cannot_start_quotes_its_log(folder: Path) -> None:
    nonsense = {"no_such_setting": "1"}
    quoted = 'unrecognized configuration parameter "no_such_setting"'
    with pytest.raises(EmbeddedError, match=quoted), postgres(folder / "postgres", settings=nonsense):
        pass
    with postgres(folder / "postgres", durable=False) as server:
        remember(server.url, "the folder is free again")


def test_signals_of_a_kind_stop_end_in_a_clean_shutdown(folder: Path) -> None:
    """A later start of a cleanly stopped cluster needs no recovery."""
    with Postgres(folder / "postgres", durable=False) as server:
        server.start()
        server.stop()
        cluster = next(server.data_dir.glob("pg*"))
        control = find_postgres().with_name("pg_controldata")
        if not control.exists():
            pytest.skip("these binaries come without pg_controldata")
        state = psutil.Popen([control, cluster], stdout=-1, text=True).communicate()[0]
        assert "shut down" in next(line for line in state.splitlines() if "cluster state" in line)
        assert signal.SIGINT in server.stop_signals
