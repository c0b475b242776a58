"""Calendars and maintenance windows over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.web.conftest import PLAIN_JOB, Client, reasons

V1 = "/api/v1"
HOLIDAYS: dict[str, Any] = {
    "name": "uk-holidays",
    "weekend": ["saturday", "sunday"],
    "dates": [{"date": "2030-12-25", "label": "Christmas Day"}, {"date": "2030-12-26"}],
}


async def test_a_calendar_from_beginning_to_end(operator: Client, viewer: Client) -> None:
    created = await operator.post(f"{V1}/calendars", json=HOLIDAYS)
    assert created.status_code == 201, created.text
    calendar = created.json()
    path = created.headers["location"]
    assert (calendar["namespace"], calendar["weekend"], calendar["jobs"]) == ("default", ["saturday", "sunday"], 0)
    assert calendar["dates"][1] == {"date": "2030-12-26", "label": ""}
    read = await viewer.get(path)
    assert (read.json(), read.headers["etag"]) == (calendar, '"1"')
    job = await operator.make_job(calendar="uk-holidays", calendarRule="next", timezone="Europe/London")
    assert (job["calendar"], job["calendarRule"]) == ("uk-holidays", "next")
    assert (await operator.send("DELETE", path)).status_code == 409
    changed = {**HOLIDAYS, "dates": []}
    stale = await operator.send("PUT", path, json=changed, headers={"If-Match": '"9"'})
    assert stale.status_code == 412
    put = await operator.send("PUT", path, json=changed, headers={"If-Match": '"1"'})
    assert (put.status_code, put.headers["etag"], put.json()["jobs"]) == (200, '"2"', 1)
    assert [each["id"] for each in (await viewer.get(f"{V1}/calendars")).json()["items"]] == [calendar["id"]]
    patched = await operator.send("PATCH", f"{V1}/jobs/{job['id']}", json={"calendar": None})
    assert patched.json()["calendar"] is None
    assert (await operator.send("DELETE", path)).status_code == 204
    assert (await viewer.get(path)).status_code == 404


async def test_what_is_wrong_with_a_calendar_is_said(operator: Client) -> None:
    wrong = {"name": "a b", "weekend": ["caturday"], "dates": [{"date": "2030-02-30"}]}
    assert set(reasons(await operator.post(f"{V1}/calendars", json=wrong))) == {"weekend.0", "dates.0.date"}
    twice = {"name": "x", "dates": [{"date": "2030-01-01"}, {"date": "2030-01-01"}]}
    assert reasons(await operator.post(f"{V1}/calendars", json=twice)) == {"dates": "lists a date twice"}
    missing = await operator.post(f"{V1}/jobs", json={**PLAIN_JOB, "calendar": "nowhere"})
    assert reasons(missing) == {"calendar": "there is no calendar 'nowhere' in its namespace"}


async def test_preview_and_upcoming_follow_the_calendar(operator: Client) -> None:
    await operator.post(f"{V1}/calendars", json=HOLIDAYS)
    schedule = {"cronExpression": "0 9 * * *", "calendar": "uk-holidays", "after": "2030-12-24T00:00:00Z", "count": 3}
    found = (await operator.post(f"{V1}/schedules/preview", json=schedule)).json()
    assert found["fireTimes"] == ["2030-12-24T09:00:00Z", "2030-12-27T09:00:00Z", "2030-12-30T09:00:00Z"]
    assert "uk-holidays" in found["description"]
    job = await operator.make_job(calendar="uk-holidays", startAt="2030-12-24T00:00:00Z")
    upcoming = (await operator.get(f"{V1}/jobs/{job['id']}/upcoming?count=3")).json()
    assert upcoming["fireTimes"] == found["fireTimes"] and upcoming["inWindows"] == []


async def test_a_window_from_beginning_to_end(operator: Client, viewer: Client) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    body = {
        "name": "upgrade",
        "startsAt": start.isoformat(),
        "endsAt": (start + timedelta(days=1)).isoformat(),
        "during": "hold",
        "tags": ["db"],
        "spreadSeconds": 60,
        "reason": "new disks",
    }
    created = await operator.post(f"{V1}/maintenance-windows", json=body)
    assert created.status_code == 201, created.text
    window, path = created.json(), created.headers["location"]
    assert (window["tags"], window["held"], window["cancelledAt"]) == (["db"], 0, None)
    concerned = await operator.make_job(tags=["db"])
    inside = (await operator.get(f"{V1}/jobs/{concerned['id']}/upcoming?count=5")).json()["inWindows"]
    assert [each["windowId"] for each in inside] == [window["id"]] and inside[0]["during"] == "hold"
    other = await operator.make_job(name="other")
    assert (await operator.get(f"{V1}/jobs/{other['id']}/upcoming?count=5")).json()["inWindows"] == []
    put = await operator.send("PUT", path, json={**body, "during": "skip"}, headers={"If-Match": '"1"'})
    assert (put.status_code, put.json()["during"], put.headers["etag"]) == (200, "skip", '"2"')
    cancelled = await operator.post(f"{path}/cancel")
    assert cancelled.json()["cancelledBy"] == "key:test-operator"
    assert (await viewer.get(f"{V1}/maintenance-windows")).json()["items"] == []
    everything = (await viewer.get(f"{V1}/maintenance-windows?all=true")).json()["items"]
    assert [each["id"] for each in everything] == [window["id"]]
    assert (await operator.send("PUT", path, json=body)).status_code == 409


async def test_what_is_wrong_with_a_window_is_said(operator: Client) -> None:
    assert set(reasons(await operator.post(f"{V1}/maintenance-windows", json={"name": "x"}))) == {"during"}
    bare = await operator.post(f"{V1}/maintenance-windows", json={"name": "x", "during": "hold"})
    assert set(reasons(bare)) == {"startsAt", "endsAt"}
