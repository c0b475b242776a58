"""One owner at a time, and nothing left of an owner that vanished."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cronsvc.embedded import Embedded, EmbeddedError, Postgres, postgres, valkey
from tests.embedded.helpers import is_gone, kill, owner, remember, remembered, wait_until

Start = Callable[..., Embedded]
ENDS = [signal.SIGKILL, signal.SIGTERM]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_the_servers_end_with_their_owner_and_the_next_one_has_the_data(folder: Path, end: signal.Signals) -> None:
    with owner(folder) as first:
        for server in first.report.values():
            remember(server["url"], "kept")
        first.process.send_signal(end)
        first.process.wait(20)
        wait_until(lambda: all(is_gone(pid) for pid in first.pids()))
    with owner(folder) as second:
        assert [remembered(server["url"]) for server in second.report.values()] == [["kept"]] * 2
        assert second.report["postgres"]["url"] == first.report["postgres"]["url"]


def test_the_next_owner_need_not_wait_for_the_servers_of_a_killed_one(folder: Path) -> None:
    """It meets servers that are still stopping, and pids that PID 1 may never reap."""
    for round_number in range(3):
        with owner(folder) as current:
            for server in current.report.values():
                remember(server["url"], str(round_number))
                assert remembered(server["url"]) == [str(number) for number in range(round_number + 1)]
            current.process.kill()
            current.process.wait(20)
    wait_until(lambda: all(is_gone(pid) for pid in current.pids()))


def test_a_second_owner_is_refused_with_a_sentence(folder: Path) -> None:
    with owner(folder) as first:
        with owner(folder) as second:
            assert second.report == {
                "refused": f"another cronsvc already uses {folder}/postgres (process {first.process.pid})"
            }
        for server in first.report.values():
            remember(server["url"], "undisturbed")
        assert not any(is_gone(pid) for pid in first.pids())


def test_a_second_owner_in_the_same_process_is_refused_too(start: Start, folder: Path) -> None:
    with start(folder / "data") as server:
        remember(server.url, "first")
        with pytest.raises(EmbeddedError, match="another cronsvc already uses"):
            start(folder / "data")
        assert remembered(server.url) == ["first"]
    with start(folder / "data") as server:
        assert remembered(server.url) == ["first"]


def test_a_server_left_by_an_owner_without_our_kernels_help_is_ended(start: Start, folder: Path) -> None:
    """As on macOS, where the kernel does not tie children to owners: the same command, run by nobody's child."""
    with start(folder / "data") as made:
        remember(made.url, "kept")
        command = psutil.Process(made.pid).cmdline()
    left = subprocess.Popen(
        command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=made_by(folder / "data")
    )
    pid_files = ("pg*/postmaster.pid", "valkey.pid")
    wait_until(
        lambda: any(
            file.read_text().startswith(str(left.pid)) for name in pid_files for file in (folder / "data").glob(name)
        )
    )
    with start(folder / "data") as taker:
        assert is_gone(left.pid)
        assert taker.pid != left.pid
        assert remembered(taker.url) == ["kept"]
    left.wait(10)


def made_by(path: Path) -> int:
    """The user that owns this folder, whom its servers run as."""
    return path.stat().st_uid


def test_a_lock_file_that_names_a_living_stranger_does_not_keep_postgres_down(folder: Path) -> None:
    """After a reboot the pid may be anybody's, and a zombie counts as alive: Postgres alone would refuse for ever."""
    with Postgres(folder / "postgres", durable=False) as server:
        server.start()
        remember(server.url, "kept")
        cluster = next(server.data_dir.glob("pg*"))
        kill(server)
        with subprocess.Popen(["sleep", "600"], user=made_by(cluster)) as stranger:
            try:
                lines = (cluster / "postmaster.pid").read_text().splitlines(keepends=True)
                (cluster / "postmaster.pid").write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
                server.start()
                assert remembered(server.url) == ["kept"]
                assert stranger.poll() is None, "a stranger is never ended"
            finally:
                stranger.kill()


def test_two_owners_of_two_folders_do_not_meet(folder: Path) -> None:
    with owner(folder / "a") as first, owner(folder / "b") as second:
        for name, own in (("a", first), ("b", second)):
            for server in own.report.values():
                remember(server["url"], name)
        found = [remembered(server["url"]) for own in (first, second) for server in own.report.values()]
        assert found == [["a"], ["a"], ["b"], ["b"]]


def test_a_lock_file_of_a_dead_owner_refuses_nobody(folder: Path) -> None:
    with valkey(folder / "valkey") as server:
        lock = server.data_dir / ".lock"
        assert lock.read_text() == f"{os.getpid()}\n"
    assert lock.exists()
    with valkey(folder / "valkey") as server:
        remember(server.url, "mine")


def test_an_initdb_cut_short_is_done_again(folder: Path) -> None:
    with Postgres(folder / "postgres") as server:
        server.launch()
        wait_until(lambda: (folder / "postgres/unfinished/PG_VERSION").exists())
        server.stop()
        assert not list(server.data_dir.glob("pg*"))
    with postgres(folder / "postgres", durable=False) as again:
        remember(again.url, "whole")
