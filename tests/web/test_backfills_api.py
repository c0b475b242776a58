"""Backfills and recoveries through the API and the page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from tests.support.rows import fetch, one
from tests.web.conftest import Client, reasons
from tests.web.test_page import Browser

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def window(first: int, last: int, **more: Any) -> dict[str, Any]:
    return {"from": text(NOON + timedelta(hours=first)), "to": text(NOON + timedelta(hours=last)), **more}


@pytest.fixture
async def job(operator: Client) -> dict[str, Any]:
    return await operator.make_job(cronExpression="0 * * * *")


async def test_a_dry_run_answers_200_and_a_backfill_202(operator: Client, job: dict[str, Any], db: Database) -> None:
    path = f"/api/v1/jobs/{job['id']}/backfill"
    dry = await operator.post(path, json=window(0, 5, dryRun=True))
    assert dry.status_code == 200, dry.text
    assert dry.json() == {
        "count": 6,
        "wouldSkip": 0,
        "first": text(NOON),
        "last": text(NOON + timedelta(hours=5)),
        "instants": [text(NOON + timedelta(hours=n)) for n in range(6)],
    }
    assert await fetch(db, "SELECT * FROM backfills") == []
    wish = window(0, 5, order="newest", maxParallel=2, params={"data": {"x": 1}}, note="outage of Tuesday")
    made = await operator.post(path, json=wish)
    assert made.status_code == 202, made.text
    backfill = made.json()
    assert made.headers["location"] == f"/api/v1/backfills/{backfill['id']}"
    expected = {
        "jobId": job["id"],
        "jobName": "Daily Report",
        "recoveryId": None,
        "from": text(NOON),
        "to": text(NOON + timedelta(hours=5)),
        "mode": "missing",
        "order": "newest",
        "maxParallel": 2,
        "params": {"data": {"x": 1}},
        "note": "outage of Tuesday",
        "status": "running",
        "counts": {
            "planned": 6,
            "waiting": 6,
            "running": 0,
            "succeeded": 0,
            "failed": 0,
            "skipped": 0,
            "cancelled": 0,
        },
        "createdBy": "key:test-operator",
        "finishedAt": None,
    }
    assert {name: backfill[name] for name in expected} == expected
    assert (await operator.get(f"/api/v1/backfills/{backfill['id']}")).json() == backfill
    listed = (await operator.get("/api/v1/backfills", params={"jobId": job["id"], "status": "running"})).json()
    assert listed == {"items": [backfill], "nextCursor": None}
    # Params may hold secrets: the audit log does not keep them.
    (after,) = await one(db, "SELECT after FROM audit_log WHERE entity = 'backfill'")
    assert after["planned"] == 6 and "params" not in after and "x" not in str(after)


async def test_a_backfill_is_steered(operator: Client, viewer: Client, job: dict[str, Any]) -> None:
    made = (await operator.post(f"/api/v1/jobs/{job['id']}/backfill", json=window(0, 5))).json()
    path = f"/api/v1/backfills/{made['id']}"
    for act, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("cancel", "cancelled")):
        answer = await operator.post(f"{path}/{act}")
        assert (answer.status_code, answer.json()["status"]) == (200, status), answer.text
    assert (await operator.post(f"{path}/resume")).status_code == 409
    assert (await viewer.get(path)).json()["counts"]["cancelled"] == 6
    assert (await viewer.post(f"{path}/cancel")).status_code == 403


async def test_bad_wishes_name_the_field(operator: Client, job: dict[str, Any]) -> None:
    path = f"/api/v1/jobs/{job['id']}/backfill"
    ahead = text(datetime.now(UTC) + timedelta(hours=1))
    for body, field in (
        ({"to": text(NOON)}, "from"),
        ({"from": text(NOON)}, "to"),
        (window(5, 0), "from"),
        ({"from": text(NOON), "to": ahead}, "to"),
        (window(-24 * 100, 0), "from"),
        (window(0, 5, mode="missed"), "mode"),
        (window(0, 5, order="random"), "order"),
        (window(0, 5, maxParallel=0), "maxParallel"),
        (window(0, 5, maxParallel=101), "maxParallel"),
        (window(0, 5, params={"url": 5}), "params.url"),
        (window(0, 5, dry_run=True), "dry_run"),
        ({"from": "yesterday", "to": text(NOON)}, "from"),
    ):
        answer = await operator.post(path, json=body)
        assert (answer.status_code, list(reasons(answer))) == (422, [field]), body
    assert (await operator.post("/api/v1/jobs/424242/backfill", json=window(0, 5))).status_code == 404


async def test_a_recovery_through_the_api(operator: Client, job: dict[str, Any], db: Database) -> None:
    async with db.transaction() as conn:
        await conn.execute("ALTER TABLE job_revisions DISABLE TRIGGER job_revisions_append_only")
        await conn.execute("UPDATE job_revisions SET created_at = %s", (NOON - timedelta(days=1),))
        await conn.execute("ALTER TABLE job_revisions ENABLE TRIGGER job_revisions_append_only")
        await conn.execute("UPDATE jobs SET misfire_policy = 'fire_all' WHERE id = %s", (job["id"],))
    body = window(0, 3, selector={"namePrefix": "Daily", "tags": []}, maxTotal=2, note="outage")
    dry = await operator.post("/api/v1/recoveries", json={**body, "dryRun": True})
    assert dry.status_code == 200, dry.text
    assert dry.json() == {
        "missing": 4,
        "wouldRun": 4,
        "estimatedMinutes": None,
        "jobs": [
            {
                "jobId": job["id"],
                "jobName": "Daily Report",
                "namespace": "default",
                "misfirePolicy": "fire_all",
                "missing": 4,
                "wouldRun": 4,
                "first": text(NOON),
                "last": text(NOON + timedelta(hours=3)),
                "estimatedMinutes": None,
            }
        ],
    }
    made = await operator.post("/api/v1/recoveries", json=body)
    assert made.status_code == 202, made.text
    recovery = made.json()
    assert (recovery["jobs"], recovery["status"], recovery["counts"]["waiting"]) == (1, "running", 4)
    assert recovery["selector"]["namePrefix"] == "Daily"
    path = made.headers["location"]
    assert (await operator.get(path)).json() == recovery
    assert (await operator.get("/api/v1/recoveries")).json()["items"] == [recovery]
    children = (await operator.get("/api/v1/backfills", params={"recoveryId": recovery["id"]})).json()["items"]
    assert [(child["mode"], child["recoveryId"]) for child in children] == [("missed", recovery["id"])]
    assert (await operator.post(f"{path}/cancel")).json()["status"] == "cancelled"
    assert "selector" in reasons(await operator.post("/api/v1/recoveries", json=window(0, 3)))
    for name in ("namespace", "queue", "namePrefix", "tags", "jobIds"):  # which could be read as none or as all
        nothing = await operator.post("/api/v1/recoveries", json=window(0, 3, selector={name: None}))
        assert list(reasons(nothing)) == [f"selector.{name}"]
    unknown = await operator.post("/api/v1/recoveries", json=window(0, 3, selector={"prefix": "x"}))
    assert list(reasons(unknown)) == ["selector.prefix"]


async def test_the_page_shows_progress_and_cancels(
    http: httpx2.AsyncClient, keys: dict[Role, str], operator: Client, job: dict[str, Any]
) -> None:
    hostile = window(0, 5, note="<script>alert(1)</script>")
    made = (await operator.post(f"/api/v1/jobs/{job['id']}/backfill", json=hostile)).json()
    browser, looker = Browser(http), Browser(http)
    await browser.sign_in(keys[Role.OPERATOR])
    await looker.sign_in(keys[Role.VIEWER])
    assert f'href="/backfills?jobId={job["id"]}"' in (await looker.get(f"/jobs/{job['id']}")).text
    shown = (await looker.get(f"/backfills?jobId={job['id']}")).text
    assert f"#{made['id']}" in shown and "0 of 6" in shown and "/cancel" not in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert f"/backfills/{made['id']}/cancel" in (await browser.get("/backfills")).text
    for act, word in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = await browser.submit(f"/backfills/{made['id']}/{act}")
        assert answer.headers["location"] == f"/backfills?jobId={job['id']}"
        assert f">{word}</span>" in (await browser.get("/backfills")).text
    assert "There are none" in (await browser.get("/backfills?jobId=424242")).text
