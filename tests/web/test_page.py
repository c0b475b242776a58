"""The page in a browser's hands: login, tables, buttons, forgery, hostile names."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, WebSettings, create_app
from tests.support.rows import define, fetch, one
from tests.web.conftest import Client

OURS = {"Sec-Fetch-Site": "same-origin"}


@dataclass(slots=True)
class Browser:
    """Keeps the session cookie like a browser does."""

    http: httpx2.AsyncClient
    cookie: str = ""

    async def get(self, path: str) -> httpx2.Response:
        return await self.http.get(path, headers={"Cookie": self.cookie, "Accept": "text/html"})

    async def submit(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx2.Response:
        given = OURS if headers is None else headers
        return await self.http.post(path, data=fields, headers={"Cookie": self.cookie, **given})

    async def sign_in(self, key: str) -> httpx2.Response:
        response = await self.submit("/login", key=key)
        found = SimpleCookie(response.headers.get("set-cookie", ""))
        if "cronsvc_session" in found:
            self.cookie = f"cronsvc_session={found['cronsvc_session'].value}"
        return response


@pytest.fixture
async def operating(http: httpx2.AsyncClient, keys: dict[Role, str]) -> AsyncIterator[Browser]:
    browser = Browser(http)
    await browser.sign_in(keys[Role.OPERATOR])
    yield browser


async def test_signing_in_and_out(http: httpx2.AsyncClient, keys: dict[Role, str]) -> None:
    browser = Browser(http)
    first = await browser.get("/jobs/5")
    assert (first.status_code, first.headers["location"]) == (303, "/login?next=/jobs/5")
    form = await browser.get("/login?next=/jobs/5")
    assert 'name="next" value="/jobs/5"' in form.text

    wrong = await browser.sign_in("csk_wrong")
    assert (wrong.status_code, wrong.headers.get("set-cookie")) == (401, None)
    assert 'role="alert"' in wrong.text
    assert "csk_wrong" not in wrong.text

    entered = await browser.submit("/login", key=f" {keys[Role.VIEWER]} ", next="/jobs/5")
    assert (entered.status_code, entered.headers["location"]) == (303, "/jobs/5")
    cookie = entered.headers["set-cookie"].lower()
    for attribute in ("httponly", "samesite=strict", "path=/", "max-age="):
        assert attribute in cookie
    assert "secure" not in cookie  # this request came by http
    await browser.sign_in(keys[Role.VIEWER])
    assert "key:test-viewer" in (await browser.get("/")).text

    out = await browser.submit("/logout")
    assert out.headers["location"] == "/login"
    assert "max-age=0" in out.headers["set-cookie"].lower()
    ended = await browser.get("/")
    assert ended.headers["location"] == "/login?next=/&expired=1"
    assert "session has ended" in (await browser.get("/login?expired=1")).text


async def test_cookies_are_secure_over_https(services: Services, keys: dict[Role, str]) -> None:
    app = create_app(services, settings=WebSettings())
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="https://cronsvc.test") as http:
        response = await Browser(http).sign_in(keys[Role.VIEWER])
    assert "secure" in response.headers["set-cookie"].lower()
    assert "max-age" in response.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/login", "jobs/1"]
)
async def test_a_login_leads_to_our_own_pages_only(
    http: httpx2.AsyncClient, keys: dict[Role, str], target: str
) -> None:
    response = await Browser(http).submit("/login", key=keys[Role.VIEWER], next=target)
    assert response.headers["location"] == "/"


async def test_the_overview_shows_jobs_counts_and_executions(operating: Browser, operator: Client) -> None:
    empty = (await operating.get("/")).text
    assert "There are no jobs yet" in empty
    assert "Nothing has run yet" in empty
    job = await operator.make_job(tags=["nightly"], timezone="Europe/Berlin")
    execution = (await operator.post(f"/api/v1/jobs/{job['id']}/trigger")).json()
    page = (await operating.get("/")).text
    for words in (
        "Daily Report",
        "At 09:00",
        "<code>0 9 * * *</code>",
        "Europe/Berlin",
        "nightly",
        f'action="/jobs/{job["id"]}/run"',
        f'action="/jobs/{job["id"]}/pause"',
        f'href="/executions/{execution["id"]}"',
        "QUEUED",
        '<meta http-equiv="refresh" content="10">',
        "Active jobs",
        "key:test-operator",
    ):
        assert words in page, words
    assert "http-equiv" not in (await operating.get("/?refresh=off")).text


async def test_a_viewer_sees_no_buttons(http: httpx2.AsyncClient, keys: dict[Role, str], operator: Client) -> None:
    job = await operator.make_job()
    browser = Browser(http)
    await browser.sign_in(keys[Role.VIEWER])
    for path in ("/", f"/jobs/{job['id']}"):
        page = (await browser.get(path)).text
        assert re.findall(r'<form[^>]*action="([^"]*)"', page) == ["/logout"]
    refused = await browser.submit(f"/jobs/{job['id']}/run")
    assert (refused.status_code, refused.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "operator" in refused.text


async def test_catching_up_leaves_what_was_held_back_to_the_next_tick(
    operating: Browser, operator: Client, db: Database
) -> None:
    path = f"/jobs/{(await operator.make_job())['id']}"
    await operating.submit(f"{path}/pause", back=path)
    past = datetime(2026, 1, 1, tzinfo=UTC)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s RETURNING 1", past)
    assert 'name="catchUp" value="yes"' in (await operating.get(path)).text
    assert (await operating.submit(f"{path}/resume", back=path, catchUp="please")).status_code == 422
    assert (await operating.submit(f"{path}/resume", back=path, catchUp="yes")).headers["location"] == path
    assert await fetch(db, "SELECT next_fire_time, paused_at FROM jobs") == [(past, None)]


async def test_the_buttons_do_what_they_say(operating: Browser, operator: Client, db: Database) -> None:
    job = await operator.make_job()
    path = f"/jobs/{job['id']}"
    paused = await operating.submit(f"{path}/pause", back=path)
    assert (paused.status_code, paused.headers["location"]) == (303, path)
    page = (await operating.get(path)).text
    assert "Paused by <strong>key:test-operator</strong>" in page
    assert f'action="{path}/resume"' in page
    assert (await operating.submit(f"{path}/resume", back="https://evil.example")).headers["location"] == "/"
    assert (await operator.get(f"/api/v1{path}")).json()["pause"] is None
    run = await operating.submit(f"{path}/run")
    execution_id, requested_by = await one(db, "SELECT id, requested_by FROM job_executions")
    assert run.headers["location"] == f"/executions/{execution_id}"
    assert requested_by == "key:test-operator"
    shown = (await operating.get(f"/executions/{execution_id}")).text
    assert "No attempt has finished" in shown
    assert "manual, by key:test-operator" in shown


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://cronsvc.test"}, False),
        ({"Origin": "http://cronsvc.test"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://cronsvc.test.evil.example"}, False),
        ({"Origin": "http://cronsvc.test:81"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_a_form_of_a_foreign_page_is_refused(
    operating: Browser, operator: Client, db: Database, headers: dict[str, str], allowed: bool
) -> None:
    job = await operator.make_job()
    for path in (f"/jobs/{job['id']}/run", f"/jobs/{job['id']}/pause", "/login", "/logout"):
        response = await operating.submit(path, headers=headers)
        assert (response.status_code == 403) is not allowed, path
    assert await one(db, "SELECT count(*) FROM job_executions") == (1 if allowed else 0,)


HOSTILE = "<script>alert('{{7*7}}')</script>"


async def test_hostile_text_is_shown_and_never_run(operating: Browser, operator: Client, db: Database) -> None:
    job = await operator.make_job(
        name=HOSTILE,
        description=f'"><img src=x onerror="{HOSTILE}">',
        tags=["<b>tag"],
        taskPayload={"type": "API_CALL", "config": {"url": "https://api.example.com/", "data": {HOSTILE: HOSTILE}}},
    )
    await operator.post(f"/api/v1/jobs/{job['id']}/pause", json={"note": HOSTILE})
    execution = (await operator.post(f"/api/v1/jobs/{job['id']}/trigger")).json()
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET status = 'FAILED', dispatch_at = NULL,"
            " error = jsonb_build_object('type', %(text)s::text, 'message', %(text)s::text),"
            " result = to_jsonb(%(text)s::text), log_details = to_jsonb(%(text)s::text)",
            {"text": HOSTILE},
        )
        await conn.execute(
            "INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome, error,"
            " response_excerpt) SELECT job_id, scheduled_time, 1, id, 1, 'error', error, %s FROM job_executions",
            (HOSTILE,),
        )
    for path in ("/", f"/jobs/{job['id']}", f"/executions/{execution['id']}"):
        page = (await operating.get(path)).text
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "<b>tag" not in page
        assert "alert(&#39;{{7*7}}&#39;)" in page, path


async def test_rows_written_by_sql_are_shown_too(operating: Browser, db: Database) -> None:
    """A quarantined job, an interval, a job without a schedule, and an error that is not of our shape."""
    broken = await define(db, name="broken", cron_expression="nonsense", quarantine_reason="minute: nonsense")
    await define(db, name="often", every_seconds=20)
    bare = await define(db, name="bare")
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status, status_reason, error, skipped_until,"
            " skipped_count, trigger, attempt) VALUES (%(id)s, date_trunc('second', clock_timestamp()), 'SKIPPED',"
            " 'misfire', '{}', date_trunc('second', clock_timestamp()) + interval '1 hour', 60, 'schedule', 0)",
            {"id": bare},
        )
    page = (await operating.get("/")).text
    for words in ("quarantined", "every PT20S", "bare", "SKIPPED", "misfire", "60 instants"):
        assert words in page, words
    for job_id in (broken, bare):
        assert (await operating.get(f"/jobs/{job_id}")).status_code == 200
    assert "minute: nonsense" in (await operating.get(f"/jobs/{broken}")).text


async def test_errors_are_pages(operating: Browser) -> None:
    for path in ("/jobs/999", "/jobs/x", "/executions/999", "/?cursor=nonsense", "/static/nothing"):
        response = await operating.get(path)
        assert response.status_code in (404, 422), path
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert "Back to the jobs" in response.text


async def test_many_jobs_are_paged(operating: Browser, operator: Client) -> None:
    for number in range(27):
        await operator.make_job(name=f"job-{number:02}")
    page = (await operating.get("/")).text
    assert "job-26" in page
    assert "job-01<" not in page
    more = re.search(r'href="(/\?cursor=[^"]+)"', page)
    assert more is not None
    rest = (await operating.get(more[1])).text
    assert "job-01<" in rest
    assert "job-26<" not in rest


async def test_the_page_loads_nothing_from_elsewhere(operating: Browser, app: Starlette) -> None:
    page = (await operating.get("/")).text
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("/", "?", "#")) and not source.startswith("//") for source in sources)
    assert not re.search(r"<style|style=|onclick|<script", page)
    style = await operating.get(next(source for source in sources if "style.css" in source))
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in style.text
    again = await operating.http.get("/static/style.css", headers={"If-None-Match": style.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_forms_that_are_not_forms(operating: Browser, http: httpx2.AsyncClient) -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({"json": {"key": "x"}}, 415),
        ({"data": {"key": "x", "colour": "red"}}, 422),
        ({"content": b"key=a&key=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 422),
        ({"content": b"key=%ff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
        ({"content": b"key=" + b"x" * 30_000, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 413),
    ]
    for options, status in cases:
        headers = {**OURS, **options.pop("headers", {})}
        response = await http.post("/login", headers=headers, **options)
        assert response.status_code == status, options
        assert response.headers["content-type"].startswith("text/html")
