"""Where a login may lead: every page of the route table that takes a role, and nothing else."""

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.web.app import route_table
from cronsvc.web.own_pages import OwnPages
from cronsvc.web.page import Pages
from cronsvc.web.routing import Door
from cronsvc.web.services import WebSettings
from tests.web.test_page import Browser
from tests.web.test_routes import concrete

TABLE = route_table(Pages(WebSettings()))
SHOWN = [route for route in TABLE if route.door is Door.PAGE and route.method == "GET"]
PAGES = {route.path for route in SHOWN}


def test_every_page_is_known_and_no_other_path() -> None:
    own = OwnPages(TABLE)
    assert {path for path in PAGES if concrete(path) in own} == {
        route.path for route in SHOWN if isinstance(route.access, Role)
    }
    assert "/login" in PAGES and "/login" not in own
    assert {"/jobs/{jobId}/why", "/backfills", "/queues"} <= PAGES
    forms = [route for route in TABLE if route.door is Door.PAGE and route.method == "POST" and route.path != "/login"]
    assert not any(concrete(route.path) in own for route in forms if route.path not in PAGES)
    for foreign in ("/api/v1/jobs", "/jobs/x", "/jobs/1/", "/jobs/1?a=b", "/jobs/1//why", "/jobs/１", "//", "", "/\n"):
        assert foreign not in own, foreign


@pytest.mark.parametrize("path", ["/jobs/7/why", "/backfills", "/executions/9", "/"])
async def test_a_sign_in_leads_back_to_where_somebody_wanted_to_go(
    http: httpx2.AsyncClient, keys: dict[Role, str], path: str
) -> None:
    browser = Browser(http)
    asked = await browser.get(path)
    assert asked.headers["location"] in (f"/login?next={path}", f"/login?next={path}&expired=1")
    answer = await browser.submit("/login", key=keys[Role.VIEWER], next=path)
    assert answer.headers["location"] == path
