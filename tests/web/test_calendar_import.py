"""An iCalendar file over HTTP: what it makes of a calendar, and who is told what is wrong with it."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from cronsvc.services.calendar_import import MOST_BYTES
from cronsvc.store.pool import Database
from tests.support.rows import one
from tests.web.conftest import Client, reasons

PATH = "/api/v1/calendars/uk-holidays/import"
ICS = {"Content-Type": "text/calendar; charset=utf-8"}
YEAR = datetime.now(UTC).year + 1


def file(*events: str) -> bytes:
    lines = ["BEGIN:VCALENDAR", *("\r\n".join(["BEGIN:VEVENT", *each.split(), "END:VEVENT"]) for each in events)]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


CHRISTMAS = "DTSTART;VALUE=DATE:20001225 DTEND;VALUE=DATE:20001227 RRULE:FREQ=YEARLY SUMMARY:Christmas"
PARTY = "DTSTART:20301220T180000Z DTEND:20301220T220000Z SUMMARY:Party"


async def put(
    client: Client, content: bytes, path: str = PATH, headers: dict[str, str] | None = None
) -> httpx2.Response:
    return await client.send("PUT", path, content=content, headers=ICS if headers is None else headers)


async def test_a_file_makes_a_calendar_and_later_replaces_its_dates(operator: Client, db: Database) -> None:
    made = await put(operator, file(CHRISTMAS, PARTY))
    assert made.status_code == 201, made.text
    calendar = made.json()["calendar"]
    assert (calendar["name"], calendar["namespace"], calendar["weekend"]) == ("uk-holidays", "default", [])
    # Two dates a year, a year back and ten ahead.
    assert (made.json()["dates"], made.json()["ignoredEvents"]) == (len(calendar["dates"]), 1)
    assert {"date": f"{YEAR}-12-26", "label": "Christmas"} in calendar["dates"] and 20 <= len(calendar["dates"]) <= 24

    fields = {"name": "uk-holidays", "weekend": ["saturday", "sunday"], "description": "by hand"}
    await operator.send("PUT", made.headers["location"], json=fields)
    job = await operator.make_job(calendar="uk-holidays", cronExpression="0 9 * * *", startAt=f"{YEAR}-12-24T00:00:00Z")
    again = await put(operator, file(f"DTSTART;VALUE=DATE:{YEAR}1224"))
    assert again.status_code == 200
    kept: dict[str, Any] = again.json()["calendar"]
    assert (kept["id"], kept["weekend"], kept["description"]) == (calendar["id"], fields["weekend"], "by hand")
    assert kept["dates"] == [{"date": f"{YEAR}-12-24", "label": ""}] and kept["revision"] == 3
    upcoming = (await operator.get(f"/api/v1/jobs/{job['id']}/upcoming?count=1")).json()["fireTimes"]
    assert upcoming[0] > f"{YEAR}-12-24"
    assert await one(db, "SELECT array_agg(action ORDER BY id) FROM audit_log WHERE entity = 'calendar'") == (
        ["create", "update", "update"],
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no iCalendar file"),
        (b"{}", "no iCalendar file"),
        (file("SUMMARY:x"), "event 1 has a date that cannot be read"),
        (file("DTSTART;VALUE=DATE:20260101 RRULE:FREQ=DAILY"), "2000 dates"),
    ],
)
async def test_a_file_that_cannot_be_read_changes_nothing(
    operator: Client, db: Database, content: bytes, says: str
) -> None:
    answer = await put(operator, content)
    assert answer.status_code == 422, answer.text
    assert says in next(iter(reasons(answer).values()))
    assert await one(db, "SELECT count(*) FROM calendars") == (0,)


async def test_a_file_is_bounded_and_of_its_type(operator: Client, viewer: Client) -> None:
    assert (await put(operator, file(CHRISTMAS), headers={"Content-Type": "application/json"})).status_code == 415
    assert (await put(operator, b" " * 20_001)).status_code == 413  # what this API takes of any body
    assert (await put(viewer, file(CHRISTMAS))).status_code == 403
    assert "name" in reasons(await put(operator, file(CHRISTMAS), "/api/v1/calendars/a%20b/import"))
    assert MOST_BYTES < 1_048_576


async def test_another_namespace_has_its_own(operator: Client) -> None:
    made = await put(operator, file(CHRISTMAS), f"{PATH}?namespace=team-a")
    assert made.json()["calendar"]["namespace"] == "team-a"
    assert (await put(operator, file(CHRISTMAS))).status_code == 201
