"""What surrounds every answer: names, headers, where a request comes from, and nothing of an exception."""

import re
from pathlib import Path

import httpx2
import pytest

from cronsvc.web.app import Services, WebSettings, create_app
from cronsvc.web.routing import PUBLIC, Door, Route

PACKAGE = Path(__file__).parents[2] / "cronsvc/web"


def client_of(services: Services, *allowed: str) -> httpx2.AsyncClient:
    app = create_app(services, settings=WebSettings(allowed_hosts=allowed))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://cron.example.com")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("cron.example.com", 401),
        ("CRON.example.com.:8443", 401),
        ("a.b.jobs.example.org", 401),
        ("[::1]:8000", 401),
        ("jobs.example.org", 421),
        ("evil.example", 421),
        ("cron.example.com.evil.example", 421),
        ("xjobs.example.org", 421),
        ("cron.example.com@evil.example", 421),
        ("cron.example.com/", 421),
        ("", 421),
        ("127.0.0.1", 421),
    ],
)
async def test_only_the_names_that_were_given_are_answered(services: Services, host: str, status: int) -> None:
    async with client_of(services, "cron.example.com", "*.jobs.example.org", "[::1]") as http:
        response = await http.get("/api/v1/me", headers={"Host": host})
        assert response.status_code == status
        if status == 421:
            assert response.json()["type"] == "/problems/misdirected-request"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert host not in response.text or not host


async def test_probes_answer_under_any_name(services: Services) -> None:
    async with client_of(services, "cron.example.com") as http:
        for path in ("/health", "/ready"):
            assert (await http.get(path, headers={"Host": "10.1.2.3:8000"})).status_code == 200
            assert (await http.get(path, headers={"Host": "a b"})).status_code == 421


async def test_without_a_list_every_well_formed_name_is_answered(services: Services) -> None:
    async with client_of(services) as http:
        assert (await http.get("/api/v1/me", headers={"Host": "anything.example:1"})).status_code == 401
        assert (await http.get("/api/v1/me", headers={"Host": "not/a/name"})).status_code == 421
        two = [("Host", "a.example"), ("Host", "b.example")]
        assert (await http.get("/api/v1/me", headers=two)).status_code == 421


def test_pages_need_no_inline_style_or_script() -> None:
    """The Content-Security-Policy forbids both, so a page that has one would be broken."""
    forbidden = re.compile(
        r"<script|<style|\sstyle=|\son\w+=|javascript:|\|\s*safe\b|autoescape\s+false", re.IGNORECASE
    )
    for template in (PACKAGE / "templates").glob("*.html"):
        assert forbidden.search(template.read_text()) is None, template.name
    for module in PACKAGE.glob("*.py"):
        assert "Markup(" not in module.read_text(), module.name


async def test_every_answer_has_the_headers(services: Services) -> None:
    async with client_of(services) as http:
        for path in ("/health", "/login", "/", "/nothing", "/api/v1/me", "/static/style.css", "/problems/not-found"):
            headers = (await http.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy, path
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "strict-transport-security" not in headers  # this is plain http
        secure = await http.get("https://cron.example.com/health")
        assert secure.headers["strict-transport-security"].startswith("max-age=")


async def test_no_word_of_an_exception_leaves(services: Services) -> None:
    async def broken(call: object) -> None:
        raise RuntimeError("password=hunter2 at 10.0.0.5")

    routes = [
        Route("GET", "/api/v1/broken", PUBLIC, broken, "broken", "Broken", "x"),  # type: ignore[arg-type]
        Route("GET", "/broken", PUBLIC, broken, "brokenPage", "Broken", "x", door=Door.PAGE),  # type: ignore[arg-type]
    ]
    app = create_app(services, more=routes)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://x.example") as http:
        for path in ("/api/v1/broken", "/broken"):
            response = await http.get(path)
            assert response.status_code == 500
            assert not re.search(r"hunter2|10\.0\.0\.5|RuntimeError|Traceback", response.text)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://cron.example.com"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "http://cron.example.com"}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://cron.example.com.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
    ids=str,
)
async def test_unsafe_requests_with_a_cookie_say_where_they_come_from(
    services: Services, headers: dict[str, str], status: int
) -> None:
    async with client_of(services) as http:
        assert (await http.post("/logout", headers=headers)).status_code == status
