"""Executions, recoveries, calendars and windows in a browser: what they show, and what their filters and buttons do."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from tests.support.rows import define, fetch, one
from tests.web.conftest import Client
from tests.web.test_page import Browser

NOW = datetime.now(UTC).replace(microsecond=0)
V1 = "/api/v1"


@pytest.fixture
async def operating(http: httpx2.AsyncClient, keys: dict[Role, str]) -> AsyncIterator[Browser]:
    browser = Browser(http)
    await browser.sign_in(keys[Role.OPERATOR])
    yield browser


async def page(browser: Browser, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


async def ran(db: Database, job_id: int, status: str, minute: int, backfill_id: int | None = None) -> int:
    (id_,) = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, trigger, backfill_id)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING id",
        job_id,
        NOW - timedelta(minutes=minute),
        status,
        "schedule" if backfill_id is None else "backfill",
        backfill_id,
    )
    return int(id_)


async def backfilled(db: Database, job_id: int, recovery_id: int | None) -> int:
    (id_,) = await one(
        db,
        "INSERT INTO backfills (job_id, revision, window_from, window_to, mode, direction, max_parallel, planned,"
        " recovery_id, created_by) VALUES (%s, 1, %s, %s, 'missing', 'oldest', 1, 1, %s, 'tests') RETURNING id",
        job_id,
        NOW - timedelta(hours=2),
        NOW,
        recovery_id,
    )
    return int(id_)


async def recovery(db: Database) -> int:
    (id_,) = await one(
        db,
        "INSERT INTO recoveries (window_from, window_to, selector, direction, max_parallel, max_total, created_by,"
        " note) VALUES (%s, %s, '{\"tags\": [\"mail\", \"slow\"]}', 'oldest', 1, 10, 'tests', 'the disk') RETURNING id",
        NOW - timedelta(hours=2),
        NOW,
    )
    return int(id_)


async def test_executions_are_found_by_what_made_them(operating: Browser, operator: Client, db: Database) -> None:
    job_id = await define(db, name="nightly", cron_expression="0 4 1 3 *")
    recovery_id = await recovery(db)
    alone, within = await backfilled(db, job_id, None), await backfilled(db, job_id, recovery_id)
    ids = {
        "plain": await ran(db, job_id, "SUCCESS", 1),
        "failed": await ran(db, job_id, "FAILED", 2),
        "alone": await ran(db, job_id, "SUCCESS", 3, alone),
        "within": await ran(db, job_id, "FAILED", 4, within),
    }
    cases = [
        ("", {"plain", "failed", "alone", "within"}),
        (f"backfillId={alone}", {"alone"}),
        (f"recoveryId={recovery_id}", {"within"}),
        (f"jobId={job_id}&recoveryId={recovery_id}", {"within"}),
        (f"recoveryId={recovery_id}&status=SUCCESS", set()),
        ("status=FAILED", {"failed", "within"}),
        ("trigger=backfill", {"alone", "within"}),
        ("recoveryId=424242", set()),
    ]
    for query, expected in cases:
        found = (await operator.get(f"{V1}/executions?{query}")).json()["items"]
        assert {each["id"] for each in found} == {ids[name] for name in expected}, query
        shown = await page(
            operating, f"/executions?{query}&status=" if "status" not in query else f"/executions?{query}"
        )
        assert set(re.findall(r'href="/executions/(\d+)"', shown)) == {str(ids[name]) for name in expected}, query
    assert "Nothing matches" in await page(operating, "/executions?recoveryId=424242")
    assert f'value="{alone}"' in await page(operating, f"/executions?backfillId={alone}")
    assert (await operating.get("/executions?jobId=x")).status_code == 422
    assert f'href="/executions?backfillId={alone}"' in await page(operating, "/backfills")


async def test_the_next_page_keeps_the_filter(operating: Browser, db: Database) -> None:
    job_id = await define(db, name="often", cron_expression="0 4 1 3 *")
    for minute in range(60):
        await ran(db, job_id, "FAILED" if minute % 6 else "SUCCESS", minute)
    first = await page(operating, "/executions?trigger=schedule")
    (following,) = re.findall(r'href="(/executions\?trigger=schedule&amp;cursor=[^"]+)"', first)
    rest = await page(operating, following.replace("&amp;", "&"))
    seen = [re.findall(r'href="/executions/(\d+)"', text) for text in (first, rest)]
    assert (len(seen[0]), len(seen[1]), len({*seen[0], *seen[1]})) == (50, 10, 60)


async def test_recoveries_are_listed_and_can_be_ended(operating: Browser, db: Database) -> None:
    assert "There are none" in await page(operating, "/recoveries")
    job_id = await define(db, name="nightly", cron_expression="0 4 1 3 *")
    recovery_id = await recovery(db)
    await backfilled(db, job_id, recovery_id)
    shown = await page(operating, "/recoveries")
    for words in ("tagged mail and slow", "the disk", f'href="/executions?recoveryId={recovery_id}"', "running"):
        assert words in shown, words
    ended = await operating.submit(f"/recoveries/{recovery_id}/cancel")
    assert (ended.status_code, ended.headers["location"]) == (303, "/recoveries")
    assert "/cancel" not in await page(operating, "/recoveries")
    assert await fetch(db, "SELECT status FROM recoveries UNION ALL SELECT status FROM backfills") == [
        ("cancelled",),
        ("cancelled",),
    ]


async def test_calendars_show_what_they_close_next(operating: Browser, operator: Client) -> None:
    assert "calendars import" in await page(operating, "/calendars")
    days = [NOW.date() + timedelta(days=n) for n in (-3, *range(1, 9))]
    body = {
        "name": "holidays",
        "weekend": ["sunday"],
        "dates": [{"date": day.isoformat(), "label": f"<day {n}>"} for n, day in enumerate(days)],
    }
    assert (await operator.post(f"{V1}/calendars", json=body)).status_code == 201
    await operator.make_job(calendar="holidays")
    shown = await page(operating, "/calendars")
    assert re.findall(r"<time datetime=\"(.*?)\"", shown) == [day.isoformat() for day in days[1:6]]
    assert f"and 3 more until {days[-1]}" in shown and "Sunday" in shown
    assert "&lt;day 1&gt;" in shown and "<day" not in shown


async def test_windows_say_whether_they_are_open_and_can_be_ended(operating: Browser, operator: Client) -> None:
    assert "There are none" in await page(operating, "/windows")
    ahead = {"startsAt": (NOW + timedelta(days=1)).isoformat(), "endsAt": (NOW + timedelta(days=2)).isoformat()}
    open_now = {"startsAt": (NOW - timedelta(hours=1)).isoformat(), "endsAt": (NOW + timedelta(hours=1)).isoformat()}
    every = {"cronExpression": "0 4 1 3 *", "timezone": "Europe/London", "durationSeconds": 5400}
    whens: dict[str, dict[str, object]] = {"ahead": {**ahead}, "open": {**open_now}, "yearly": {**every}}
    made: dict[str, int] = {}
    for name, when in whens.items():
        body = {"name": f"{name} window", "during": "hold", "tags": ["db", "slow"], "spreadSeconds": 60, **when}
        made[name] = (await operator.post(f"{V1}/maintenance-windows", json=body)).json()["id"]
    shown = await page(operating, "/windows")
    rows = {name: next(row for row in shown.split("<tr>") if f"{name} window" in row) for name in made}
    assert 'busy">open' in rows["open"] and "End now" in rows["open"] and "ends <time" in rows["open"]
    assert 'wait">ahead' in rows["ahead"] and "in 23 h" in rows["ahead"]
    assert "for 1 h 30 min" in rows["yearly"] and "At 04:00" in rows["yearly"] and "Europe/London" in rows["yearly"]
    assert all("tagged db and slow" in row and "spread over 1 min" in row for row in rows.values())
    assert (await operating.submit(f"/windows/{made['open']}/cancel")).headers["location"] == "/windows"
    assert "open window" not in await page(operating, "/windows")
    assert "cancelled" in await page(operating, "/windows?all=true")


async def test_every_page_leads_to_every_other(operating: Browser) -> None:
    for path in ("/", "/executions", "/dead-letters", "/queues", "/backfills", "/recoveries", "/calendars", "/windows"):
        shown = await page(operating, path)
        assert re.findall(r'<a href="([^"]*)" aria-current="page"', shown) == [path]
        assert shown.count("<nav") == 1
