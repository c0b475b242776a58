"""`cronsvc up` as a newcomer meets it: one command, real servers of its own, and a clean end."""

import json
import os
import re
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from cronsvc.store.migrations import HEAD
from tests.cli.support import Running, cronsvc, running
from tests.support.servers import Embedded, scratch_directory

READY = "cronsvc is ready: "


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory / "data dir"


def url_of(up: Running) -> str:
    """Wait until it is ready; the URL it prints."""
    up.wait_for(lambda: up.printed("job URLs") is not None)
    line = up.printed(READY)
    assert line is not None
    return line.removeprefix(READY)


def get(url: str, key: str | None = None) -> int:
    request = urllib.request.Request(url, headers={} if key is None else {"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def servers_of(data_dir: Path) -> list[psutil.Process]:
    """Processes whose command line names the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_ours = any(str(data_dir) in word for word in words) and "cronsvc" not in words
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process)
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_from_nothing_to_a_served_key_and_back(data_dir: Path) -> None:
    with running("up", "--data-dir", str(data_dir), "--port", "0") as up:
        url = url_of(up)
        key = (data_dir / "admin-key").read_text().strip()
        assert url.startswith("http://127.0.0.1:")
        assert sum(key in line for line in up.out) == 1
        assert not any(key in line for line in up.err)
        assert mode(data_dir / "admin-key") == mode(data_dir / "env") == mode(data_dir / "secret-keys") == 0o600
        made = (data_dir / "secret-keys").read_text().strip()
        assert not any(made in line for line in (*up.out, *up.err))
        assert get(f"{url}/health") == get(f"{url}/ready") == 200
        assert get(f"{url}/api/v1/jobs") == 401
        assert get(f"{url}/api/v1/jobs", key) == 200

        joined = cronsvc("--env-file", str(data_dir / "env"), "check")
        assert joined.returncode == 0, joined.stdout
        assert f"revision {HEAD}" in joined.stdout
        with_secrets = cronsvc("--env-file", str(data_dir / "env"), "secrets", "list")
        assert with_secrets.returncode == 0, with_secrets.stderr
        second = cronsvc("up", "--data-dir", str(data_dir), "--port", "0")
        assert second.returncode == 1 and "another cronsvc already uses" in second.stderr

        assert len(servers_of(data_dir)) >= 2
        assert up.stop(signal.SIGINT) == 0, up.told()
    assert servers_of(data_dir) == []
    assert get(f"{url}/health") == 0

    with running("up", "--data-dir", str(data_dir), "--port", "0") as up:
        url = url_of(up)
        assert get(f"{url}/api/v1/jobs", key) == 200  # the data was kept, and with it the key
        assert (data_dir / "secret-keys").read_text().strip() == made
        assert not any(key in line for line in up.out)
        assert up.printed("admin key") is not None
        assert up.stop() == 0, up.told()
    assert servers_of(data_dir) == []


def test_the_drain_has_an_order(data_dir: Path) -> None:
    with running("up", "--data-dir", str(data_dir), "--port", "0", CRONSVC_LOG_FORMAT="json") as up:
        url_of(up)
        assert up.stop() == 0, up.told()
    events = [json.loads(line)["event"] for line in up.err]
    stops = [event for event in events if event in ("stopping", "stopped", "scheduler stopped", "worker stopped")]
    assert stops == ["stopping", "stopped", "scheduler stopped", "worker stopped", "stopped"]


def test_a_killed_server_comes_back_under_the_same_address(data_dir: Path) -> None:
    with running("up", "--data-dir", str(data_dir), "--port", "0") as up:
        url = url_of(up)
        for server in servers_of(data_dir):
            server.kill()
        up.wait_for(lambda: get(f"{url}/ready") == 503)
        up.wait_for(lambda: sum("server_restarted" in line for line in up.err) == 2)
        up.wait_for(lambda: get(f"{url}/ready") == 200)
        assert up.stop() == 0, up.told()


def test_kill_9_leaves_no_server_behind(data_dir: Path) -> None:
    with running("up", "--data-dir", str(data_dir), "--port", "0") as up:
        url_of(up)
        servers = servers_of(data_dir)
        up.process.kill()
        up.process.wait()
        psutil.wait_procs(servers, timeout=20)
    assert servers_of(data_dir) == []


def test_given_servers_are_used_each_by_itself(data_dir: Path, database_url: str, valkey_server: Embedded) -> None:
    with running("up", "--data-dir", str(data_dir), "--port", "0", DATABASE_URL=database_url) as up:
        url = url_of(up)
        assert get(f"{url}/ready") == 200
        assert [name for name in ("postgres", "valkey") if (data_dir / name).exists()] == ["valkey"]
        assert set(dotenv_values(data_dir / "env")) == {"REDIS_URL", "CRONSVC_PUBLIC_URL", "CRONSVC_SECRET_KEYS"}
        assert up.printed("psql") is None
        assert up.stop() == 0, up.told()
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT name, role FROM api_keys").fetchall() == [("admin", "admin")]
    both = {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url}
    with running("up", "--data-dir", str(data_dir), "--port", "0", **both) as up:
        url_of(up)
        assert not (data_dir / "env").exists()
        assert servers_of(data_dir) == []
        assert up.stop() == 0, up.told()


def test_a_port_in_use_is_a_sentence_and_ends_it(data_dir: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cronsvc("up", "--data-dir", str(data_dir), "--port", str(port))
    assert done.returncode == 1
    assert re.search(rf"(?m)^cronsvc: cannot listen on 127.0.0.1:{port}: Address already in use", done.stderr)
    assert "Traceback" not in done.stderr
    assert servers_of(data_dir) == []


def test_loopback_may_be_allowed_for_development(data_dir: Path) -> None:
    with running("up", "--data-dir", str(data_dir), "--port", "0", "--allow-loopback") as up:
        up.wait_for(lambda: up.printed("data  ") is not None)
        url = up.out[0].removeprefix(READY)
        key = (data_dir / "admin-key").read_text().strip()
        body = {
            "name": "ping",
            "cronExpression": "0 0 1 1 *",
            "taskPayload": {"type": "API_CALL", "config": {"url": f"{url}/health", "method": "GET"}},
        }
        request = urllib.request.Request(
            f"{url}/api/v1/jobs",
            data=json.dumps(body).encode(),
            method="POST",
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 201
        triggered = cronsvc("--env-file", str(data_dir / "env"), "trigger", "ping")
        assert triggered.returncode == 0, triggered.stderr
        database_url = str(dotenv_values(data_dir / "env")["DATABASE_URL"])

        def succeeded() -> bool:
            with psycopg.connect(database_url) as conn:
                found = conn.execute(
                    "SELECT status FROM job_executions WHERE id = %s", (int(triggered.stdout),)
                ).fetchone()
            return found == ("SUCCESS",)

        up.wait_for(succeeded, seconds=30)
        assert up.stop() == 0, up.told()
