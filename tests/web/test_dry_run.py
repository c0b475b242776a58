"""PATCH and PUT with dryRun: the difference, every refusal of the real thing, and nothing written."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest

from cronsvc.services import rehearsing
from cronsvc.store.pool import Database
from tests.support.rows import fetch, one
from tests.web.conftest import PLAIN_JOB, Client, reasons

EVERYTHING = "SELECT (SELECT jsonb_agg(j) FROM jobs j), (SELECT count(*) FROM job_revisions),"
EVERYTHING += " (SELECT count(*) FROM audit_log), (SELECT count(*) FROM job_executions), (SELECT count(*) FROM queues)"

BERLIN = {"cronExpression": "30 2 * * *", "timezone": "Europe/Berlin"}


async def plan(client: Client, job: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    response = await client.send("PATCH", f"/api/v1/jobs/{job['id']}?dryRun=true", json=patch)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_patch_says_what_it_would_change_and_changes_nothing(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    before = await fetch(db, EVERYTHING)
    found = await plan(operator, job, {"cronExpression": "0 9,10 * * *", "queue": "new"})
    assert await fetch(db, EVERYTHING) == before
    assert (found["dryRun"], found["changes"], found["complete"], found["firesAtOnce"]) == (True, True, True, False)
    assert (found["added"]["count"], found["removed"]["count"]) == (30, 0)
    assert len(found["added"]["first"]) == 20
    assert all("T10:00:00" in instant for instant in found["added"]["first"])
    assert found["firstChangedFire"] == found["added"]["first"][0]
    assert found["job"]["revision"] == job["revision"] + 1 and found["job"]["queue"] == "new"
    begin, end = (datetime.fromisoformat(found[name]) for name in ("from", "until"))
    assert end - begin == timedelta(days=30)
    # The real thing does what was said.
    real = await operator.send("PATCH", f"/api/v1/jobs/{job['id']}", json={"cronExpression": "0 9,10 * * *"})
    assert real.json()["nextFireTime"] == found["job"]["nextFireTime"]


@pytest.mark.parametrize(
    ("expression", "effects"), [("30 2 * * *", {"moved", "once"}), ("30 * * * *", {"left_out", "twice"})]
)
async def test_changes_of_the_clock_that_touch_the_new_schedule(
    operator: Client, monkeypatch: pytest.MonkeyPatch, expression: str, effects: set[str]
) -> None:
    monkeypatch.setattr(rehearsing, "HORIZON", timedelta(days=366))  # has both changes, whatever day it is
    job = await operator.make_job()
    found = await plan(operator, job, {"cronExpression": expression, "timezone": "Europe/Berlin"})
    assert {each["effect"] for each in found["clockChanges"]} == effects
    for each in found["clockChanges"]:
        assert (each["wallFrom"][10:], each["wallUntil"][10:]) == ("T02:00:00", "T03:00:00")
        assert datetime.fromisoformat(each["at"]).time() == time(1)
    moved = next((each["at"] for each in found["clockChanges"] if each["effect"] == "moved"), None)
    if moved is not None:  # it runs right after the gap
        await operator.send("PATCH", f"/api/v1/jobs/{job['id']}", json={**BERLIN, "startAt": moved})
        upcoming = (await operator.get(f"/api/v1/jobs/{job['id']}/upcoming?count=1")).json()
        assert upcoming["fireTimes"] == [moved]
    assert (await plan(operator, job, {**BERLIN, "timezone": "UTC"}))["clockChanges"] == []


async def test_put_too(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    document = {**PLAIN_JOB, "cronExpression": "0 8 * * *"}
    response = await operator.send("PUT", f"/api/v1/jobs/{job['id']}?dryRun=true", json=document)
    found = response.json()
    assert (found["added"]["count"], found["removed"]["count"]) == (30, 30)
    assert await one(db, "SELECT revision, cron_expression FROM jobs") == (job["revision"], "0 9 * * *")


async def test_what_makes_no_difference(operator: Client) -> None:
    job = await operator.make_job()
    found = await plan(operator, job, {"description": "words only"})
    assert found["changes"] is True and found["added"]["count"] == found["removed"]["count"] == 0
    assert found["firstChangedFire"] is None
    assert (await plan(operator, job, {}))["changes"] is False


async def test_a_job_that_is_held_back_fires_nothing(operator: Client) -> None:
    job = await operator.make_job(isActive=False)
    assert (await plan(operator, job, {"cronExpression": "0 8 * * *"}))["added"]["count"] == 0
    assert (await plan(operator, job, {"isActive": True}))["added"]["count"] == 30
    active = await operator.make_job(name="active")
    assert (await plan(operator, active, {"isActive": False}))["removed"]["count"] == 30
    assert (await plan(operator, active, {"maxRuns": 3}))["removed"]["count"] == 27
    await operator.post(f"/api/v1/jobs/{active['id']}/pause")
    assert (await plan(operator, active, {"cronExpression": "0 8 * * *"}))["removed"]["count"] == 0


async def test_too_many_fires_to_compare_are_compared_as_far_as_it_goes(operator: Client) -> None:
    job = await operator.make_job()
    found = await plan(operator, job, {"cronExpression": None, "every": "PT1S"})
    assert found["complete"] is False
    reached = datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["from"])
    assert timedelta(hours=13) < reached < timedelta(hours=14)
    assert 49_990 <= found["added"]["count"] <= 50_000


async def test_a_job_of_every_minute_is_compared_to_the_end(operator: Client) -> None:
    job = await operator.make_job()
    found = await plan(operator, job, {"cronExpression": "* * * * *"})
    assert found["complete"] is True and found["added"]["count"] >= 30 * 1440 - 31


async def test_what_is_due_is_on_its_way_at_once(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    await fetch(
        db,
        "UPDATE jobs SET next_fire_time = date_trunc('day', now()) - interval '15 hours',"
        " misfire_grace_seconds = 200000 RETURNING 1",
    )
    found = await plan(operator, job, {"description": "words only"})
    assert found["firesAtOnce"] is True
    assert await one(db, "SELECT count(*) FROM job_executions") == (0,)


async def test_it_refuses_what_would_be_refused(operator: Client, viewer: Client, admin: Client) -> None:
    job = await operator.make_job()
    await operator.make_job(name="taken")
    path = f"/api/v1/jobs/{job['id']}?dryRun=true"
    bad = await operator.send("PATCH", path, json={"cronExpression": "never"})
    assert (bad.status_code, set(reasons(bad))) == (422, {"cronExpression"})
    assert (await operator.send("PATCH", path, json={"name": "taken"})).status_code == 409
    stale = await operator.send("PATCH", path, json={"name": "x"}, headers={"If-Match": '"99"'})
    assert stale.status_code == 412
    assert (await viewer.send("PATCH", path, json={"name": "x"})).status_code == 403
    command = {"taskPayload": {"type": "SQL", "config": {"connection": "x", "statement": "SELECT 1"}}}
    assert (await operator.send("PATCH", path, json=command)).status_code == 403
