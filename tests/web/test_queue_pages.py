"""The page of queues and the buttons for all jobs at once."""

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import define, fetch, one
from tests.web.test_page import Browser


@pytest.fixture
async def operating(http: httpx2.AsyncClient, keys: dict[Role, str]) -> Browser:
    browser = Browser(http)
    await browser.sign_in(keys[Role.OPERATOR])
    return browser


async def test_a_queue_is_paused_and_resumed_by_buttons(operating: Browser, db: Database) -> None:
    await define(db, queue="bulk", every_seconds=60)
    assert 'href="/queues"' in (await operating.get("/")).text
    page = (await operating.get("/queues")).text
    assert 'action="/queues/bulk/pause"' in page and 'action="/queues/default/pause"' in page
    answer = await operating.submit("/queues/bulk/pause", note="<b>moving</b>")
    assert (answer.status_code, answer.headers["location"]) == (303, "/queues")
    page = (await operating.get("/queues")).text
    assert "&lt;b&gt;moving&lt;/b&gt;" in page and "<b>moving" not in page
    assert "key:test-operator" in page and 'action="/queues/bulk/resume"' in page
    await operating.submit("/queues/bulk/resume")
    assert 'action="/queues/bulk/pause"' in (await operating.get("/queues")).text
    assert (await operating.submit("/queues/nothing/pause")).status_code == 404


async def test_who_may_not_steer_queues_sees_no_buttons(
    http: httpx2.AsyncClient, services: Services, keys: dict[Role, str]
) -> None:
    red = await services.access.create_key(name="red", role=Role.ADMIN, namespaces=["red"], created_by="tests")
    for key in (keys[Role.VIEWER], red):
        browser = Browser(http)
        await browser.sign_in(key)
        page = await browser.get("/queues")
        assert page.status_code == 200 and "default" in page.text and "/queues/default/" not in page.text
        assert (await browser.submit("/queues/default/pause")).status_code == 403


async def test_all_jobs_are_paused_and_resumed_with_their_number_on_the_button(
    operating: Browser, db: Database, http: httpx2.AsyncClient, keys: dict[Role, str]
) -> None:
    for name in ("a", "b", "c"):
        await define(db, name=name, every_seconds=60)
    page = (await operating.get("/")).text
    assert "Pause all 3 active jobs" in page and "Resume all" not in page
    assert (await operating.submit("/jobs/pause", note="storm")).headers["location"] == "/"
    assert await one(db, "SELECT count(*), min(pause_note) FROM jobs WHERE paused_at IS NOT NULL") == (3, "storm")
    page = (await operating.get("/")).text
    assert "Resume all 3 paused jobs" in page and "Pause all" not in page
    await operating.submit("/jobs/resume")
    assert await fetch(db, "SELECT 1 FROM jobs WHERE paused_at IS NOT NULL") == []
    watching = Browser(http)
    await watching.sign_in(keys[Role.VIEWER])
    assert "Pause all" not in (await watching.get("/")).text


async def test_the_buttons_cannot_be_pressed_from_elsewhere(operating: Browser, db: Database) -> None:
    await define(db, every_seconds=60)
    for path in ("/jobs/pause", "/jobs/resume", "/queues/default/pause", "/queues/default/resume"):
        forged = await operating.submit(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert forged.status_code == 403, path
    assert await fetch(db, "SELECT 1 FROM jobs WHERE paused_at IS NOT NULL") == []
