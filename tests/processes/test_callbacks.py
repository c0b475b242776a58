"""A worker that is killed right after its target took the work over: nothing is lost, and nothing is sent twice."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

import psycopg

from tests.support.fleet import fleet, wait_until

LEASE = {"CRONSVC_LEASE_SECONDS": "2", "CRONSVC_HEARTBEAT_SECONDS": "0.5"}


@contextmanager
def target() -> Iterator[tuple[str, list[str]]]:
    """A server that takes everything over; its URL, and the callback URLs it was given."""
    given: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given.append(self.headers["X-Cronsvc-Callback-Url"])
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", given
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def call(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=20) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def test_a_worker_killed_after_the_202_is_not_needed_any_more() -> None:
    """A killed process is the point: its lease runs out, the rescue passes, and the row still waits for the target."""
    with fleet() as service, target() as (url, given), psycopg.connect(service.postgres.url, autocommit=True) as conn:
        api = service.start("api", PORT="0")
        wait_until(lambda: '"url"' in api.output(), seconds=60, what="the API")
        public = next(json.loads(line)["url"] for line in api.output().splitlines() if '"url"' in line)
        service.start("scheduler", **LEASE)
        worker = service.start("worker", CRONSVC_PUBLIC_URL=public, **LEASE)
        config = {"url": url, "method": "POST", "completion": {"heartbeatSeconds": 300, "timeoutSeconds": 900}}
        payload = json.dumps({"type": "API_CALL", "config": config})
        conn.execute(
            "INSERT INTO jobs (name, run_at, task_payload)"
            " VALUES ('long', date_trunc('second', now()) + interval '2 s', %s)",
            (payload,),
        )

        def status() -> tuple[Any, ...] | None:
            return conn.execute(
                "SELECT status, worker_id IS NULL AND callback_due IS NOT NULL, attempt FROM job_executions"
            ).fetchone()

        wait_until(lambda: status() == ("RUNNING", True, 1), seconds=60, what="the target's taking over")
        worker.signal(signal.SIGKILL)
        worker.wait()
        lost = "SELECT count(*) FROM workers WHERE state = 'lost'"
        wait_until(lambda: conn.execute(lost).fetchone() == (1,), seconds=60, what="the loss of the worker")
        beaten = conn.execute("SELECT max(heartbeat_at) FROM schedulers").fetchone()

        def has_beaten() -> bool:
            return conn.execute("SELECT max(heartbeat_at) FROM schedulers").fetchone() != beaten

        wait_until(has_beaten, seconds=60, what="another round of the scheduler, with its rescue")
        assert status() == ("RUNNING", True, 1), service.logs()
        assert call(f"{given[0]}/progress", {"progress": 60})["status"] == "RUNNING"
        assert call(f"{given[0]}/complete", {"status": "success", "result": 5})["status"] == "SUCCESS"
        assert len(given) == 1
        assert given[0].rpartition("/")[2] not in service.logs()
