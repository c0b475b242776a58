"""Patterns of strangers in the API: refused when they are written, and read by no process that has others to serve."""

from typing import Any

import pytest

from cronsvc.executors import matching
from tests.web.conftest import PLAIN_JOB, Client, reasons

FIELD = "taskPayload.config.expect.body.matches"
SLOW_TO_READ = "(?i)" + "[\x01-\uffff]" * 190  # takes Python more than a second


def expecting(pattern: str) -> dict[str, Any]:
    return {"type": "API_CALL", "config": {"url": "https://h.example/", "expect": {"body": {"matches": pattern}}}}


async def test_every_way_in_is_watched(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = matching.matches

    async def watched(pattern: str, text: str) -> bool | None:
        asked.append(pattern)
        return await ask(pattern, text)

    monkeypatch.setattr(matching, "matches", watched)
    job = await operator.make_job(taskPayload=expecting("fine"))
    path = f"/api/v1/jobs/{job['id']}"
    params = {"params": {"expect": {"body": {"matches": "("}}}}
    window = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    for method, url, body, field in (
        (
            "POST",
            "/api/v1/jobs",
            {**PLAIN_JOB, "name": "other", "taskPayload": expecting("("), "maxAttempts": 0},
            FIELD,
        ),
        ("PUT", path, {**job, "taskPayload": expecting("(")}, FIELD),
        ("PATCH", path, {"taskPayload": expecting("(")}, FIELD),
        ("POST", f"{path}/trigger", params, "params.expect.body.matches"),
        ("POST", f"{path}/backfill", window | params, "params.expect.body.matches"),
        ("POST", f"{path}/backfill", window | params | {"dryRun": True}, "params.expect.body.matches"),
    ):
        asked.clear()
        refused = await operator.send(method, url, json=body)
        assert refused.status_code == 422, f"{method} {url}: {refused.text}"
        assert "is not a regular expression as Python reads it: missing )" in reasons(refused)[field]
        assert asked == ["("]
        assert ("maxAttempts" in reasons(refused)) == (url == "/api/v1/jobs")  # all faults at once
    assert (await operator.get(path)).json()["revision"] == 1
    assert (await operator.send("PATCH", path, json={"taskPayload": expecting("fine, too")})).status_code == 200


async def test_what_takes_long_to_read_is_refused(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "SECONDS", 0.3)
    refused = await operator.post("/api/v1/jobs", json={**PLAIN_JOB, "taskPayload": expecting(SLOW_TO_READ)})
    assert refused.status_code == 422
    assert reasons(refused) == {FIELD: "takes longer than 0.3 s to read"}
