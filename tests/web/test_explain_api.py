"""Why did it run, or not: the call and the page."""

from datetime import UTC, datetime, timedelta

import httpx2

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.scalars import write_instant
from tests.support.rows import define, fetch
from tests.web.conftest import Client, reasons
from tests.web.test_page import Browser


async def test_a_manual_run_is_explained(operator: Client, viewer: Client) -> None:
    job = await operator.make_job()
    execution = (await operator.post(f"/api/v1/jobs/{job['id']}/trigger", json={})).json()
    path = f"/api/v1/jobs/{job['id']}/explain"
    found = (await viewer.get(path, params={"at": execution["scheduledTime"]})).json()
    assert (found["jobId"], found["jobName"], found["at"]) == (job["id"], job["name"], execution["scheduledTime"])
    assert found["verdict"] == "waiting" and "no worker alive" in found["summary"]
    assert found["execution"]["id"] == execution["id"] and found["attempts"] == []
    record = next(step for step in found["steps"] if step["what"] == "record")
    assert record["facts"]["requestedBy"] == "key:test-operator" and record["facts"]["executionId"] == execution["id"]
    assert record["facts"]["recordedAt"] == execution["queuedAt"]
    assert "your-token" not in str(found)


async def test_now_and_the_nearest_instants(operator: Client) -> None:
    job = await operator.make_job(cronExpression="0 4 1 3 *", timezone="America/New_York")
    found = (await operator.get(f"/api/v1/jobs/{job['id']}/explain")).json()
    assert (found["verdict"], found["execution"]) == ("not_scheduled", None)
    assert found["nearest"] == {"before": None, "after": job["nextFireTime"]}
    ahead = (await operator.get(f"/api/v1/jobs/{job['id']}/explain", params={"at": job["nextFireTime"]})).json()
    assert ahead["verdict"] == "not_yet"
    zone = next(step for step in ahead["steps"] if step["what"] == "timezone")
    assert zone["facts"]["localTime"].endswith("-03-01T04:00:00-05:00")


async def test_a_time_that_did_not_exist(operator: Client) -> None:
    """An instant cannot say 02:30 on that day; a local time can."""
    job = await operator.make_job(cronExpression="30 2 * * *", timezone="America/New_York")
    path = f"/api/v1/jobs/{job['id']}/explain"
    by_wall = (await operator.get(path, params={"at": "2027-03-14T02:30"})).json()
    by_instant = (await operator.get(path, params={"at": "2027-03-14T03:00:00-04:00"})).json()
    assert by_wall["at"] == by_instant["at"] == "2027-03-14T07:00:00Z"
    assert by_wall["verdict"] == "not_yet"
    assert "02:30 did not exist in America/New_York on 2027-03-14" in by_wall["summary"]
    change = next(step for step in by_wall["steps"] if step["what"] == "timezone")["facts"]["change"]
    assert (change["kind"], change["named"]) == ("gap", ["2027-03-14T02:30:00"])


async def test_bad_moments_are_refused(operator: Client) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}/explain"
    for at in ("yesterday", "2026-02-30T00:00:00Z", "2026-13-01T00:00", "", "2026-03-08"):
        response = await operator.get(path, params={"at": at})
        assert response.status_code == 422 and "RFC 3339" in reasons(response)["at"], at
    assert "years" in reasons(await operator.get(path, params={"at": "0001-01-01T00:00:00Z"}))["at"]
    assert (await operator.get(path, params={"when": "now"})).status_code == 422
    assert (await operator.get("/api/v1/jobs/999999/explain")).status_code == 404


async def test_a_deleted_job_is_still_explained(operator: Client) -> None:
    job = await operator.make_job()
    await operator.send("DELETE", f"/api/v1/jobs/{job['id']}")
    found = await operator.get(f"/api/v1/jobs/{job['id']}/explain")
    assert (found.status_code, found.json()["verdict"]) == (200, "deleted")


async def test_the_page_says_the_same(http: httpx2.AsyncClient, keys: dict[Role, str], db: Database) -> None:
    browser = Browser(http)
    await browser.sign_in(keys[Role.VIEWER])
    at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    job_id = await define(db, name="<b>bold</b>", cron_expression="0 * * * *")
    ((execution_id,),) = await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, status_reason, end_time, created_at)"
        " VALUES (%s, %s, 'SKIPPED', 'overlap', now(), now()) RETURNING id",
        job_id,
        at,
    )
    link = f"/jobs/{job_id}/why?at={write_instant(at).replace(':', '%3A')}"
    assert f'href="{link}"' in (await browser.get(f"/executions/{execution_id}")).text
    assert f'href="/jobs/{job_id}/why"' in (await browser.get(f"/jobs/{job_id}")).text
    page = await browser.get(link)
    assert page.status_code == 200 and "SKIPPED (overlap)" in page.text
    assert f'href="/executions/{execution_id}"' in page.text
    assert "<b>bold" not in page.text and "&lt;b&gt;bold" in page.text
    after = write_instant(at + timedelta(hours=1)).replace(":", "%3A")
    assert f'href="/jobs/{job_id}/why?at={after}"' in page.text
    assert (await browser.get(f"/jobs/{job_id}/why?at=2026-03-08T02%3A30%3A00")).status_code == 200
    assert (await browser.get(f"/jobs/{job_id}/why?at=nonsense")).status_code == 422
    assert (await browser.get("/jobs/999999/why")).status_code == 404
