"""The buttons that end executions and run them again, and the page of dead letters, in a browser's hands."""

import re

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from tests.support.rows import fetch, one
from tests.web.conftest import Client
from tests.web.test_ending_api import dead_letter, execution
from tests.web.test_page import HOSTILE, Browser


@pytest.fixture
async def operating(http: httpx2.AsyncClient, keys: dict[Role, str]) -> Browser:
    browser = Browser(http)
    await browser.sign_in(keys[Role.OPERATOR])
    return browser


async def test_a_waiting_execution_can_be_cancelled_and_run_again(operating: Browser, operator: Client) -> None:
    path = f"/executions/{(await execution(operator))['id']}"
    page = (await operating.get(path)).text
    assert f'action="{path}/cancel"' in page and "/retry" not in page
    done = await operating.submit(f"{path}/cancel")
    assert (done.status_code, done.headers["location"]) == (303, path)
    page = (await operating.get(path)).text
    assert "CANCELLED" in page and "by key:test-operator" in page and "/cancel" not in page
    assert f'action="{path}/retry"' in page
    refused = await operating.submit(f"{path}/cancel")
    assert (refused.status_code, refused.headers["content-type"]) == (409, "text/html; charset=utf-8")
    done = await operating.submit(f"{path}/retry")
    assert (done.status_code, done.headers["location"]) == (303, path)
    assert (await operator.get(f"/api/v1{path}")).json()["status"] == "QUEUED"


async def test_a_running_execution_shows_that_it_is_being_cancelled(
    operating: Browser, operator: Client, db: Database
) -> None:
    path = f"/executions/{(await execution(operator))['id']}"
    await fetch(db, "UPDATE job_executions SET status = 'RUNNING', attempt = 1, claim_no = 1 RETURNING 1")
    assert f'action="{path}/cancel"' in (await operating.get(path)).text
    await operating.submit(f"{path}/cancel")
    page = (await operating.get(path)).text
    assert "its worker is stopping it" in page and "/cancel" not in page


async def test_the_page_of_dead_letters(operating: Browser, operator: Client, db: Database) -> None:
    assert "There are none" in (await operating.get("/dead-letters")).text
    first, second = await dead_letter(operator, db, name="a"), await dead_letter(operator, db, name="b")
    overview = (await operating.get("/")).text
    assert re.search(r'<a href="/dead-letters">Dead letters</a></dt><dd>2</dd>', overview)
    page = (await operating.get("/dead-letters")).text
    assert "http-equiv" not in page  # a page that fetches itself would eat the note under the writer's hands
    for id_ in (first["id"], second["id"]):
        assert f'href="/executions/{id_}"' in page and f'action="/dead-letters/{id_}/redrive"' in page
    done = await operating.submit(f"/dead-letters/{first['id']}/redrive", back="/dead-letters")
    assert (done.status_code, done.headers["location"]) == (303, "/dead-letters")
    unsaid = await operating.submit(f"/dead-letters/{second['id']}/resolve", back="/dead-letters", note="")
    assert unsaid.status_code == 422 and "cannot be empty" in unsaid.text
    path = f"/executions/{second['id']}"
    assert f'action="/dead-letters/{second["id"]}/resolve"' in (await operating.get(path)).text
    done = await operating.submit(f"/dead-letters/{second['id']}/resolve", back=path, note=HOSTILE)
    assert done.headers["location"] == path
    page = (await operating.get(path)).text
    assert "alert(&#39;{{7*7}}&#39;)" in page and "<script" not in page and "dead letter" not in page
    assert "There are none" in (await operating.get("/dead-letters")).text
    assert await one(db, "SELECT count(*) FROM job_executions WHERE resolved_at IS NOT NULL") == (1,)


async def test_a_viewer_sees_them_without_buttons(
    http: httpx2.AsyncClient, keys: dict[Role, str], operator: Client, db: Database
) -> None:
    made = await dead_letter(operator, db)
    viewing = Browser(http)
    await viewing.sign_in(keys[Role.VIEWER])
    for path in ("/dead-letters", f"/executions/{made['id']}"):
        page = (await viewing.get(path)).text
        assert "503" in page
        assert re.findall(r'<form[^>]*action="([^"]*)"', page) == ["/logout"]
    for path in (f"/executions/{made['id']}/retry", f"/dead-letters/{made['id']}/resolve"):
        assert (await viewing.submit(path, note="x")).status_code == 403


async def test_forms_of_a_foreign_page_are_refused(operating: Browser, operator: Client, db: Database) -> None:
    made = await dead_letter(operator, db)
    for path in (
        f"/executions/{made['id']}/cancel",
        f"/executions/{made['id']}/retry",
        f"/dead-letters/{made['id']}/redrive",
        f"/dead-letters/{made['id']}/resolve",
    ):
        refused = await operating.submit(path, headers={"Sec-Fetch-Site": "cross-site"}, note="x")
        assert refused.status_code == 403, path
    assert await one(db, "SELECT status, resolved_at FROM job_executions") == ("FAILED", None)


async def test_many_dead_letters_are_paged(operating: Browser, operator: Client, db: Database) -> None:
    made = await dead_letter(operator, db)
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status)"
        " SELECT %s, date_trunc('second', clock_timestamp()) - n * interval '1 second', 'FAILED'"
        " FROM generate_series(1, 51) AS n RETURNING 1",
        made["jobId"],
    )
    page = (await operating.get("/dead-letters")).text
    assert page.count("/redrive") == 50
    more = re.search(r'href="(/dead-letters\?cursor=[^"]+)"', page)
    assert more is not None
    rest = (await operating.get(more[1])).text
    assert rest.count("/redrive") == 2 and 'href="/dead-letters">Latest' in rest
