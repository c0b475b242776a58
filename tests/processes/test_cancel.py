"""A person at a shell cancels what a worker process runs: the call ends, the row says so, and it can be run again."""

import json
import socket

import psycopg

from tests.cli.support import cronsvc
from tests.support.fleet import fleet, wait_until


def test_cancel_and_retry_reach_a_real_worker() -> None:
    with fleet() as service, socket.create_server(("127.0.0.1", 0)) as target:
        target.settimeout(60)
        payload = {"type": "API_CALL", "config": {"url": f"http://127.0.0.1:{target.getsockname()[1]}/"}}
        service.start("scheduler")
        service.start("worker")
        with psycopg.connect(service.postgres.url, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO jobs (name, run_at, timeout_seconds, task_payload)"
                " VALUES ('slow', clock_timestamp() + interval '1 second', 300, %s)",
                (json.dumps(payload),),
            )

            def row() -> tuple[object, ...]:
                found = conn.execute("SELECT status, status_reason, attempt FROM job_executions").fetchone()
                return found or ()

            call, _ = target.accept()  # it is called, and never answered
            with call:
                wait_until(lambda: row()[0] == "RUNNING", seconds=30, what="the row to be RUNNING")
                found = conn.execute("SELECT id FROM job_executions").fetchone()
                assert found is not None
                asked = cronsvc("executions", "cancel", str(found[0]), "--note", "stuck", **service.environment)
                assert (asked.returncode, asked.stdout) == (0, "RUNNING\n"), asked.stderr
                wait_until(lambda: row()[0] != "RUNNING", seconds=30, what=f"the end of it\n{service.logs()}")
                assert row() == ("CANCELLED", "user", 1)
                call.settimeout(30)
                while call.recv(4096):  # the request, and then the end of the connection
                    pass
            again = cronsvc("executions", "retry", str(found[0]), **service.environment)
            assert (again.returncode, again.stdout) == (0, "QUEUED\n"), again.stderr
            call, _ = target.accept()
            with call:
                call.recv(4096)
                call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                wait_until(lambda: row()[0] == "SUCCESS", seconds=30, what=f"the success\n{service.logs()}")
            assert row() == ("SUCCESS", None, 2)
            outcomes = conn.execute("SELECT outcome FROM job_attempts ORDER BY claim_no").fetchall()
            assert outcomes == [("cancelled",), ("success",)]
