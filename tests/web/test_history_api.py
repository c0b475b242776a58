"""Retry options, retention, statistics, clean-up and resume with catching up, over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.store.pool import Database
from tests.support.rows import fetch
from tests.web.conftest import Client, reasons


async def plant(db: Database, job_id: int, *, days_ago: float, status: str = "SUCCESS", seconds: float = 2.0) -> None:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, trigger, status, attempt, start_time, end_time,"
        " created_at) VALUES (%s, %s, 'manual', %s, 1, %s, %s, %s) RETURNING 1",
        *(job_id, at, status, at, at + timedelta(seconds=seconds), at),
    )


async def test_every_retry_option_comes_back_as_it_was_sent(operator: Client) -> None:
    sent: dict[str, Any] = {
        "backoff": {
            "type": "list",
            "delays": [5, 25.5, 125],
            "jitter": 0,
            "delaySeconds": 2,
            "factor": 2,
            "maxSeconds": 200,
        },
        "retryOn": ["timeout", "connect", "http_status:503"],
        "deadlineSeconds": 3600,
        "pauseAfterFailures": 5,
        "retention": {"keepCompleted": 10, "keepFailed": 20, "days": 30},
    }
    job = await operator.make_job(**sent)
    assert {name: job[name] for name in sent} == sent
    again = await operator.send("PUT", f"/api/v1/jobs/{job['id']}", json=job)
    assert again.status_code == 200 and again.json() == job
    cleared = {"retryOn": None, "deadlineSeconds": None, "pauseAfterFailures": None, "backoff": None}
    patched = (await operator.send("PATCH", f"/api/v1/jobs/{job['id']}", json=cleared)).json()
    assert (patched["retryOn"], patched["deadlineSeconds"], patched["pauseAfterFailures"]) == (None, None, None)
    assert patched["backoff"] == {
        "type": "exponential",
        "delaySeconds": 2.0,
        "factor": 2.0,
        "maxSeconds": 300.0,
        "jitter": 0.1,
    }
    assert patched["revision"] == 2
    revisions = (await operator.get(f"/api/v1/jobs/{job['id']}/revisions")).json()["items"]
    assert revisions[1]["definition"]["retryOn"] == sent["retryOn"]


async def test_a_list_of_long_delays_is_not_cut_by_a_bound_nobody_named(operator: Client) -> None:
    job = await operator.make_job(backoff={"type": "list", "delays": [60, 3600]})
    assert (job["backoff"]["delays"], job["backoff"]["maxSeconds"]) == ([60, 3600], 3600)
    short = await operator.make_job(name="short", backoff={"type": "list", "delays": [1]})
    assert short["backoff"]["maxSeconds"] == 300


REFUSED = [
    ({"backoff": {"type": "list"}}, "backoff.delays", "1 to 100"),
    ({"backoff": {"type": "list", "delays": [1] * 101}}, "backoff.delays", "1 to 100"),
    ({"backoff": {"type": "list", "delays": [1, -1]}}, "backoff.delays[1]", "0 to"),
    ({"backoff": {"type": "list", "delays": [700000]}}, "backoff.delays[0]", "0 to"),
    ({"backoff": {"type": "list", "delays": [600], "maxSeconds": 300}}, "backoff.delays[0]", "0 to 300"),
    ({"backoff": {"type": "fixed", "delays": [1]}}, "backoff.delays", "belongs to the type list"),
    ({"retryOn": ["egress_denied"]}, "retryOn", "no further attempt can mend"),
    ({"retryOn": ["invalid_config"]}, "retryOn", "no further attempt can mend"),
    ({"retryOn": ["HTTP 503"]}, "retryOn", "http_status:503"),
    ({"retryOn": ["http_status:600"]}, "retryOn", "http_status:503"),
    ({"retryOn": ["timeout", "timeout"]}, "retryOn", "each once"),
    ({"retryOn": "timeout"}, "retryOn", "list"),
    ({"deadlineSeconds": 0}, "deadlineSeconds", "1 to"),
    ({"pauseAfterFailures": 0}, "pauseAfterFailures", "1 to"),
    ({"pauseAfterFailures": 1001}, "pauseAfterFailures", "1 to"),
]


@pytest.mark.parametrize(("change", "field", "words"), REFUSED)
async def test_what_cannot_be_is_refused_with_the_field(
    operator: Client, change: dict[str, Any], field: str, words: str
) -> None:
    good = {
        "name": "x",
        "cronExpression": "@daily",
        "taskPayload": {"type": "API_CALL", "config": {"url": "https://a.example/"}},
    }
    response = await operator.post("/api/v1/jobs", json=good | change)
    assert response.status_code == 422, response.text
    assert words in reasons(response)[field]


@pytest.mark.parametrize("path", ["/api/v1/cleanup", "/api/v1/jobs/cleanup"])
async def test_a_clean_up_answers_as_the_seed_does(operator: Client, db: Database, path: str) -> None:
    job = await operator.make_job()
    for days in (0.5, 1.5, 3):
        await plant(db, job["id"], days_ago=days)
    done = await operator.post(path, json={"gracePeriodHours": 48})
    assert done.status_code == 200
    words = "Old jobs cleaned up (grace period: 48h)"
    assert done.json() == {"success": True, "message": words, "deleted": 1, "more": False}
    usual = (await operator.post(path)).json()
    assert (usual["message"], usual["deleted"]) == ("Old jobs cleaned up (grace period: 24h)", 1)
    refused = await operator.post(path, json={"gracePeriodHours": -1})
    assert refused.status_code == 422 and "gracePeriodHours" in reasons(refused)


async def test_statistics_count_what_is_kept_and_what_is_gone(operator: Client, viewer: Client, db: Database) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}/statistics"
    await plant(db, job["id"], days_ago=3, seconds=1)
    await plant(db, job["id"], days_ago=3.0001, status="FAILED")
    await plant(db, job["id"], days_ago=0, seconds=3)
    before = (await viewer.get(path)).json()
    assert before["total"] == {
        "success": 2,
        "failed": 1,
        "skipped": 0,
        "cancelled": 0,
        "attempts": 3,
        "durationMsAverage": 2000.0,
        "durationMsMin": 1000,
        "durationMsMax": 3000,
    }
    assert {day["trigger"] for day in before["days"]} == {"manual"}
    assert (await operator.post("/api/v1/cleanup")).json()["deleted"] == 2
    assert (await viewer.get(path)).json() == before
    today = datetime.now(UTC).date()
    assert (before["from"], before["to"]) == (str(today - timedelta(days=29)), str(today))
    narrow = (await viewer.get(f"{path}?from={today - timedelta(days=5)}&to={today - timedelta(days=2)}")).json()
    assert (narrow["total"]["success"], narrow["total"]["failed"]) == (1, 1)
    empty = (await viewer.get(f"{path}?from=2020-01-01&to=2020-02-01")).json()
    assert (empty["days"], empty["total"]["durationMsAverage"]) == ([], None)
    for query, field in [("from=2020-02-30", "from"), ("to=1", "to"), ("from=2020-01-02&to=2020-01-01", "from")]:
        refused = await viewer.get(f"{path}?{query}")
        assert refused.status_code == 422 and field in reasons(refused)
    assert (await viewer.get("/api/v1/jobs/999/statistics")).status_code == 404


async def test_a_resume_may_catch_up(operator: Client, db: Database) -> None:
    for catch_up in (False, True):
        job = await operator.make_job(name=f"catch up {catch_up}", cronExpression="* * * * *")
        path = f"/api/v1/jobs/{job['id']}"
        assert (await operator.post(f"{path}/pause")).status_code == 200
        await fetch(
            db,
            "UPDATE jobs SET next_fire_time = date_trunc('minute', now()) - interval '1 hour' WHERE id = %s"
            " RETURNING 1",
            job["id"],
        )
        resumed = await operator.post(f"{path}/resume", **({"json": {"catchUp": True}} if catch_up else {}))
        assert resumed.status_code == 200 and resumed.json()["pause"] is None
        rows = (await operator.get(f"{path}/executions")).json()["items"]
        assert [row["statusReason"] for row in rows] == ([] if catch_up else ["paused"])
    assert (await operator.post(f"{path}/resume", json={"catchUp": 1})).status_code == 422
