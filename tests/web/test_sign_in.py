"""Signing in to the page: sessions and their cookies, failures that are counted, and the identity provider's way."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from joserfc.jwk import RSAKey
from starlette.responses import JSONResponse, Response

from cronsvc.config_identity import OidcProvider
from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, WebSettings, create_app
from cronsvc.web.oidc import CALLBACK, MOST_BYTES, Oidc
from cronsvc.web.throttle import MOST_FAILURES, MOST_SOURCES, WINDOW_SECONDS, Throttle
from tests.support.issuer import CLIENT, CLIENT_SECRET, ISSUER, Issuer
from tests.support.rows import fetch, one
from tests.web.conftest import Client

HOME = "https://cron.example"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def provider(issuer: Issuer, **more: Any) -> Oidc:
    settings = {"issuer": ISSUER, "clientId": CLIENT, "clientSecret": CLIENT_SECRET, "publicUrl": HOME, **more}
    return Oidc(OidcProvider.model_validate(settings), transport=issuer.transport())


@pytest.fixture
async def browser(services: Services, issuer: Issuer) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser on https: it keeps cookies."""
    app = create_app(services, settings=WebSettings(sign_in=provider(issuer)))
    transport = httpx2.ASGITransport(app=app, client=("198.51.100.7", 40000))
    async with httpx2.AsyncClient(transport=transport, base_url=HOME) as client:
        yield client


async def begun(browser: httpx2.AsyncClient, issuer: Issuer, following: str = "/queues") -> dict[str, str]:
    """The query with which the browser comes back."""
    sent = await browser.get("/login/oidc", params={"next": following})
    assert sent.status_code == 303, sent.text
    return issuer.consent(sent.headers["location"])


def cookies(response: httpx2.Response) -> dict[str, str]:
    """Name and attributes of each cookie the answer sets."""
    return {line.partition("=")[0]: line for line in response.headers.get_list("set-cookie")}


async def test_cookies_on_https_have_every_guard(browser: httpx2.AsyncClient, keys: dict[Role, str]) -> None:
    response = await browser.post("/login", data={"key": keys[Role.VIEWER]}, headers=SAME_ORIGIN)
    line = cookies(response)["__Host-cronsvc_session"].lower()
    assert all(word in line for word in ("secure", "httponly", "samesite=strict", "path=/", "max-age="))
    assert "domain" not in line
    assert (await browser.get("/")).status_code == 200
    token = browser.cookies["__Host-cronsvc_session"]
    browser.cookies.clear()
    # Another host of the domain can plant the plain name, but not the guarded one.
    assert (await browser.get("/", headers={"Cookie": f"cronsvc_session={token}"})).status_code == 303


async def test_signing_in_again_ends_the_session_before(
    browser: httpx2.AsyncClient, keys: dict[Role, str], services: Services
) -> None:
    tokens = []
    for _ in range(2):
        await browser.post("/login", data={"key": keys[Role.VIEWER]}, headers=SAME_ORIGIN)
        tokens.append(browser.cookies["__Host-cronsvc_session"])
    browser.cookies.clear()
    answers = [
        (await browser.get("/", headers={"Cookie": f"__Host-cronsvc_session={each}"})).status_code for each in tokens
    ]
    assert answers == [303, 200]


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE sessions SET last_seen_at = clock_timestamp() - interval '2 hours 1 second' RETURNING 1",
        "UPDATE sessions SET expires_at = clock_timestamp() RETURNING 1",
        "UPDATE api_keys SET revoked_at = clock_timestamp() RETURNING 1",
    ],
    ids=["idle", "over", "key revoked"],
)
async def test_a_session_ends(browser: httpx2.AsyncClient, keys: dict[Role, str], db: Database, end: str) -> None:
    await browser.post("/login", data={"key": keys[Role.VIEWER]}, headers=SAME_ORIGIN)
    await fetch(db, end)
    gone = await browser.get("/")
    assert (gone.status_code, "expired=1" in gone.headers["location"]) == (303, True)
    assert "max-age=0" in cookies(gone)["__Host-cronsvc_session"].lower()


async def test_use_keeps_a_session_alive(browser: httpx2.AsyncClient, keys: dict[Role, str], db: Database) -> None:
    await browser.post("/login", data={"key": keys[Role.VIEWER]}, headers=SAME_ORIGIN)
    await fetch(db, "UPDATE sessions SET last_seen_at = clock_timestamp() - interval '1 hour' RETURNING 1")
    assert (await browser.get("/")).status_code == 200
    assert await one(db, "SELECT last_seen_at > clock_timestamp() - interval '1 minute' FROM sessions") == (True,)


async def test_logging_out_forgets_the_session_on_the_server(
    browser: httpx2.AsyncClient, keys: dict[Role, str], db: Database
) -> None:
    await browser.post("/login", data={"key": keys[Role.VIEWER]}, headers=SAME_ORIGIN)
    assert (await browser.post("/logout", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    await browser.post("/logout", headers=SAME_ORIGIN)
    assert await one(db, "SELECT count(*) FROM sessions") == (0,)


async def test_an_administrator_sees_and_ends_sessions(
    browser: httpx2.AsyncClient, admin: Client, keys: dict[Role, str], db: Database
) -> None:
    for role in (Role.VIEWER, Role.OPERATOR):
        browser.cookies.clear()
        await browser.post("/login", data={"key": keys[role]}, headers=SAME_ORIGIN)
    listed = (await admin.get("/api/v1/sessions")).json()["items"]
    assert [(each["actor"], each["source"]) for each in listed] == [
        ("key:test-operator", "198.51.100.7"),
        ("key:test-viewer", "198.51.100.7"),
    ]
    assert (await admin.send("DELETE", "/api/v1/sessions?actor=key:test-viewer")).json() == {"ended": 1}
    assert (await browser.get("/")).status_code == 200
    assert (await admin.send("DELETE", "/api/v1/sessions")).json() == {"ended": 1}
    assert (await browser.get("/")).status_code == 303
    assert await one(db, "SELECT count(*) FROM audit_log WHERE entity = 'session' AND action = 'revoke'") == (2,)


async def test_failures_are_counted_and_then_wait(browser: httpx2.AsyncClient, keys: dict[Role, str]) -> None:
    for _ in range(MOST_FAILURES):
        assert (await browser.post("/login", data={"key": "csk_x"}, headers=SAME_ORIGIN)).status_code == 401
    held = await browser.post("/login", data={"key": keys[Role.ADMIN]}, headers=SAME_ORIGIN)
    assert held.status_code == 429 and 1 <= int(held.headers["retry-after"]) <= WINDOW_SECONDS
    assert "Too many attempts" in held.text


def test_the_count_is_by_source_bounded_and_forgotten() -> None:
    now = [0.0]
    throttle = Throttle(monotonic=lambda: now[0])
    for n in range(MOST_FAILURES):
        throttle.failed(f"2001:db8::{n:x}")  # one customer's network
    assert throttle.wait_seconds("2001:db8::ffff") > 0
    assert throttle.wait_seconds("2001:db8:1::1") == throttle.wait_seconds("192.0.2.1") == 0
    now[0] += WINDOW_SECONDS
    assert throttle.wait_seconds("2001:db8::1") == 0
    for n in range(MOST_SOURCES + 100):
        throttle.failed(f"10.{n >> 16}.{(n >> 8) & 255}.{n & 255}")
    assert len(throttle._failures) == MOST_SOURCES


async def test_the_provider_vouches_for_somebody(
    browser: httpx2.AsyncClient, issuer: Issuer, services: Services, db: Database
) -> None:
    assert "Sign in with single sign-on" in (await browser.get("/login")).text
    sent = await browser.get("/login/oidc", params={"next": "/queues"})
    line = cookies(sent)["__Host-cronsvc_sign_in"].lower()
    assert all(word in line for word in ("secure", "httponly", "samesite=lax"))
    back = issuer.consent(sent.headers["location"])
    assert issuer.codes["code-1"]["redirect_uri"] == HOME + CALLBACK
    page = await browser.get(CALLBACK, params=back)
    assert page.status_code == 200 and "url=/queues" in page.text
    assert "samesite=strict" in cookies(page)["__Host-cronsvc_session"].lower()
    overview = await browser.get("/")
    assert "oidc:ann · operator" in overview.text
    assert await one(db, "SELECT actor, action, after->>'role' FROM audit_log WHERE entity = 'session'") == (
        *("oidc:ann", "sign_in", "operator"),
    )
    assert await one(db, "SELECT count(*) FROM sign_ins") == (0,)


async def test_an_answer_is_taken_once(browser: httpx2.AsyncClient, issuer: Issuer) -> None:
    back = await begun(browser, issuer)
    assert (await browser.get(CALLBACK, params=back)).status_code == 200
    issuer.codes["code-1"] = {}
    assert (await browser.get(CALLBACK, params=back)).status_code == 401
    assert issuer.exchanged == 1


@pytest.mark.parametrize(
    "change",
    [
        {"state": "x"},
        {"state": ""},
        {"code": "another"},
        {"iss": "https://evil.example"},
        {"error": "access_denied"},
    ],
    ids=str,
)
async def test_another_answer_signs_nobody_in(
    browser: httpx2.AsyncClient, issuer: Issuer, db: Database, change: dict[str, str]
) -> None:
    back = await begun(browser, issuer)
    assert (await browser.get(CALLBACK, params=back | change)).status_code == 401
    assert await one(db, "SELECT count(*) FROM sessions") == (0,)


async def test_strangers_pages_neither_lock_a_browser_out_nor_end_its_sign_in(
    browser: httpx2.AsyncClient, issuer: Issuer
) -> None:
    back = await begun(browser, issuer)
    for n in range(MOST_FAILURES + 1):
        stranger = {"error": "x"} if n % 2 else {"state": "x", "code": "y"}
        assert (await browser.get(CALLBACK, params=stranger)).status_code == 401
    assert (await browser.get(CALLBACK, params=back)).status_code == 200


async def test_another_browser_cannot_finish(browser: httpx2.AsyncClient, issuer: Issuer, db: Database) -> None:
    """Or somebody would be signed in as whoever sent them a link."""
    back = await begun(browser, issuer)
    mine = browser.cookies["__Host-cronsvc_sign_in"]
    for cookie in ("", "__Host-cronsvc_sign_in=" + "x" * 43):
        browser.cookies.clear()
        answer = await browser.get(f"{CALLBACK}?{urlencode(back)}", headers={"Cookie": cookie})
        assert answer.status_code == 401
    assert await one(db, "SELECT count(*) FROM sessions") == (0,)
    answer = await browser.get(f"{CALLBACK}?{urlencode(back)}", headers={"Cookie": f"__Host-cronsvc_sign_in={mine}"})
    assert answer.status_code == 200


async def test_a_sign_in_that_took_too_long_is_forgotten(
    browser: httpx2.AsyncClient, issuer: Issuer, db: Database
) -> None:
    back = await begun(browser, issuer)
    await fetch(db, "UPDATE sign_ins SET expires_at = clock_timestamp() RETURNING 1")
    assert (await browser.get(CALLBACK, params=back)).status_code == 401
    await begun(browser, issuer)
    assert await one(db, "SELECT count(*) FROM sign_ins") == (1,)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"nonce": "x"}, 401),
        ({"nonce": None}, 401),
        ({"aud": "other"}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"azp": "other"}, 401),
        ({"exp": 1}, 401),
        ({"sub": None}, 401),
        ({"roles": ["king"]}, 403),
        ({"roles": None}, 403),
    ],
    ids=str,
)
async def test_an_id_token_that_is_not_good_signs_nobody_in(
    browser: httpx2.AsyncClient, issuer: Issuer, db: Database, claims: dict[str, Any], status: int
) -> None:
    issuer.claims = claims
    assert (await browser.get(CALLBACK, params=await begun(browser, issuer))).status_code == status
    assert await one(db, "SELECT count(*) FROM sessions") == (0,)


async def test_a_token_of_a_stranger_signs_nobody_in(browser: httpx2.AsyncClient, issuer: Issuer) -> None:
    issuer.key = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    assert (await browser.get(CALLBACK, params=await begun(browser, issuer))).status_code == 401


@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>", media_type="text/html"),
        JSONResponse({}),
        JSONResponse({"id_token": 1}),
        JSONResponse([]),
        JSONResponse({"error": "server_error"}, status_code=500),
        Response("x" * (MOST_BYTES + 1)),
    ],
    ids=["html", "nothing", "a number", "a list", "an error", "too long"],
)
async def test_nonsense_from_the_provider_is_no_failure_of_ours(
    browser: httpx2.AsyncClient, issuer: Issuer, answer: Response
) -> None:
    issuer.answer = answer
    response = await browser.get(CALLBACK, params=await begun(browser, issuer))
    assert response.status_code in (401, 503)
    assert "Error" not in response.text


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://login.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
    ],
    ids=str,
)
async def test_a_discovery_document_that_is_not_good_is_not_followed(
    browser: httpx2.AsyncClient, issuer: Issuer, discovery: dict[str, Any]
) -> None:
    issuer.discovery = discovery
    assert (await browser.get("/login/oidc")).status_code == 503


async def test_roles_by_namespace_come_from_claims(
    browser: httpx2.AsyncClient, issuer: Issuer, operator: Client
) -> None:
    red = (await operator.make_job(name="red job", namespace="red"))["id"]
    blue = (await operator.make_job(name="blue job", namespace="blue"))["id"]
    issuer.claims = {"roles": {"red": "operator", "blue": "viewer"}}
    await browser.get(CALLBACK, params=await begun(browser, issuer))
    assert [(await browser.get(f"/jobs/{job}")).status_code for job in (red, blue)] == [200, 200]
    answers = [(await browser.post(f"/jobs/{job}/run", headers=SAME_ORIGIN)).status_code for job in (red, blue)]
    assert answers == [303, 403]


async def test_without_a_provider_there_is_no_such_way(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/login/oidc")).status_code == 404
    assert "single sign-on" not in (await http.get("/login")).text
