"""Somebody who uses the API while it is being hurt, and writes down what was asked, when, and what is known of it.

ok        2xx: it happened, between `invoke` and `done`
fail      4xx, or nobody listened: it did not happen
unknown   5xx, no answer, a broken connection: it may have happened, at any time after `invoke`
"""

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from tests.faults.record import Recorder

ANSWER_SECONDS = 6.0
PATIENCE_SECONDS = 60.0


class ApiUser:
    """One caller of one API process; `call` may be used from any thread."""

    def __init__(self, port: int, key: str, recorder: Recorder) -> None:
        self._port = port
        self._key = key
        self._recorder = recorder
        self._serial = itertools.count(1)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer of one request; 0 when there is no complete answer, -1 when it could not be sent."""
        conn = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            text = None if body is None else json.dumps(body)
            conn.request(method, f"/api/v1{path}", body=text, headers=headers)
            answer = conn.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        except ConnectionRefusedError:
            return -1, None
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            conn.close()

    def ask(self, job: int, field: str, value: Any, method: str, path: str, body: Any) -> tuple[str, Any]:
        """One logged operation on a job: `field` gets `value`; returns what is known of it, and the answer."""
        number = next(self._serial)
        if isinstance(body, dict):
            body = {
                name: text.format(op=f"op-{number}") if isinstance(text, str) else text for name, text in body.items()
            }
        invoke = time.time()
        status, answer = self.call(method, path, body)
        outcome = "ok" if 200 <= status < 300 else "fail" if status < 0 or 400 <= status < 500 else "unknown"
        self._recorder.write(
            "ops",
            id=number,
            job=job,
            field=field,
            value=value,
            invoke=invoke,
            done=time.time(),
            outcome=outcome,
            status=status,
            phase=_phase(answer) if outcome == "ok" else None,
        )
        return outcome, answer

    def insist(self, job: int, field: str, value: Any, method: str, path: str, body: Any) -> None:
        """The same until the API takes it; RuntimeError after PATIENCE_SECONDS."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.ask(job, field, value, method, path, body)[0] != "ok":
            if time.monotonic() > end:
                raise RuntimeError(f"the API does not take {method} {path} any more")
            time.sleep(0.3)

    def health(self) -> int:
        """The status of `/ready`, 0 without an answer."""
        conn = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        try:
            conn.request("GET", "/ready")
            return conn.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            conn.close()


def _phase(answer: Any) -> str | None:
    """The next instant that the service announced: where an interval's instants are counted from."""
    return answer.get("nextFireTime") if isinstance(answer, dict) else None


class Editor:
    """A thread that pauses, resumes and edits the jobs of class F until told to stop."""

    PERIODS = (3, 4, 5)

    def __init__(self, user: ApiUser, jobs: Sequence[int], *, seed: int, every: float) -> None:
        self._user = user
        self._jobs = jobs
        self._random = random.Random(seed)
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="editor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and leave every job resumed, however long the API takes to come back (at most a minute)."""
        self._stop.set()
        self._thread.join()
        for job in self._jobs:
            self._user.insist(job, "paused", False, "POST", f"/jobs/{job}/resume", None)

    def resume(self, job: int) -> str:
        return self._user.ask(job, "paused", False, "POST", f"/jobs/{job}/resume", None)[0]

    def _run(self) -> None:
        for job in itertools.cycle(self._jobs):
            if self._stop.wait(self._random.uniform(0.5, 1.5) * self._every):
                return
            with contextlib.suppress(KeyError):
                self._act(job)

    def _act(self, job: int) -> None:
        match self._random.choice(("pause", "resume", "edit", "describe")):
            case "pause":
                self._user.ask(job, "paused", True, "POST", f"/jobs/{job}/pause", {"note": "{op}"})
            case "resume":
                self.resume(job)
            case "edit":
                period = self._random.choice(self.PERIODS)
                body = {"cronExpression": f"*/{period} * * * * *", "description": "{op}"}
                self._user.ask(job, "period", period, "PATCH", f"/jobs/{job}", body)
            case _:
                self._user.ask(job, "description", None, "PATCH", f"/jobs/{job}", {"description": "{op}"})
