"""Bodies nobody should trust, headers everybody should get, and exceptions that must not leave."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import Response

from cronsvc.errors import CronsvcError, InvalidInput
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, create_app
from cronsvc.web.body import MAX_DEPTH, parse_json
from cronsvc.web.headers import SECURITY_HEADERS
from cronsvc.web.problems import MALFORMED, Refused, problem_of
from cronsvc.web.routing import PUBLIC, Call, Door, Route
from tests.support.rows import one
from tests.web.conftest import PLAIN_JOB, Client

JSON = {"Content-Type": "application/json"}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   ",
        b"{",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 1} x',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 9223372036854775808}',
        b'{"a": ' + b"1" * 10_000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        nested(MAX_DEPTH + 1),
        nested(100_000),
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda raw: raw[:24].decode("latin-1"),
)
def test_what_is_not_json_to_us_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_json(raw)
    assert caught.value.kind is MALFORMED


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (nested(MAX_DEPTH), None),
        (b'{"a": 9223372036854775807, "b": -9223372036854775807}', {"a": 2**63 - 1, "b": -(2**63 - 1)}),
        (' {"ä": "\U0001f600"} '.encode(), {"ä": "\U0001f600"}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"1.5e3", 1500.0),
    ],
)
def test_what_is_json_is_read(raw: bytes, value: object) -> None:
    assert value is None or parse_json(raw) == value


@pytest.mark.parametrize("raw", [b'{"a": ["x", "\\u0000"]}', b'{"a": {"\\u0000": 1}}', b'{"a": "\\ud800"}'])
def test_texts_that_postgres_cannot_store_are_named(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(raw)
    assert [error.field.partition(".")[0] for error in caught.value.errors] == ["a"]


async def test_bodies_on_the_wire(operator: Client, db: Database) -> None:
    cases: list[tuple[bytes, dict[str, str], int]] = [
        (b"{", JSON, 400),
        (nested(10_000), JSON, 400),
        (b"[]", JSON, 422),
        (b"{}", JSON, 422),
        (json.dumps(PLAIN_JOB).encode(), {"Content-Type": "text/plain"}, 415),
        (json.dumps(PLAIN_JOB).encode(), {}, 415),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b" " * 20_001, JSON, 413),
        (b'"' + b"x" * 10_000_000 + b'"', JSON, 413),
    ]
    for content, headers, status in cases:
        response = await operator.post("/api/v1/jobs", content=content, headers=headers)
        assert response.status_code == status, (content[:40], response.text)
        assert response.headers["content-type"] == "application/problem+json"
    good = await operator.post(
        "/api/v1/jobs",
        content=json.dumps(PLAIN_JOB).encode(),
        headers={"Content-Type": "application/json; charset=UTF-8"},
    )
    assert good.status_code == 201
    assert await one(db, "SELECT count(*) FROM jobs") == (1,)


async def test_an_endless_body_is_cut_off_where_it_gets_too_large(operator: Client) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    response = await operator.post("/api/v1/jobs", content=endless(), headers=JSON)
    assert response.status_code == 413
    assert sent <= 22_000  # the limit of the test's application, and a chunk


async def test_a_body_that_never_arrives_is_given_up(operator: Client) -> None:
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    response = await operator.post("/api/v1/jobs", content=stuck(), headers=JSON)
    assert response.status_code == 408
    assert response.json()["type"] == "/problems/request-timeout"


async def test_a_body_is_not_read_before_the_caller_is_known(nobody: Client) -> None:
    read = False

    async def watched() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"{}"

    assert (await nobody.post("/api/v1/jobs", content=watched(), headers=JSON)).status_code == 401
    assert not read


async def test_every_answer_carries_the_security_headers(http: httpx2.AsyncClient, viewer: Client) -> None:
    answers = [
        await http.get("/health"),
        await http.get("/login"),
        await http.get("/"),
        await http.get("/nothing"),
        await http.get("/static/style.css"),
        await http.post("/login"),
        await viewer.get("/api/v1/jobs"),
        await http.get("/api/v1/jobs"),
    ]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
        assert answer.headers["x-request-id"]
        assert "strict-transport-security" not in answer.headers
    assert viewer.key is not None
    for answer in (answers[6], answers[7], answers[2]):
        assert answer.headers["cache-control"] == "no-store"
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    for directive in ("default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert directive in policy
    assert "unsafe" not in policy


async def test_a_request_id_of_a_proxy_is_kept_when_it_is_harmless(http: httpx2.AsyncClient) -> None:
    kept = await http.get("/health", headers={"X-Request-Id": "abc-123.DEF_456"})
    assert kept.headers["x-request-id"] == "abc-123.DEF_456"
    replaced = await http.get("/health", headers={"X-Request-Id": 'x"><script>'})
    assert replaced.headers["x-request-id"].isalnum()


class UnmappedError(CronsvcError):
    """A class that problems.py has never heard of."""


@pytest.fixture
def failing_app(services: Services) -> Starlette:
    async def crash(call: Call) -> Response:
        raise RuntimeError("password=hunter2 in the message")

    async def strange(call: Call) -> Response:
        raise UnmappedError("secret detail")

    return create_app(
        services,
        more=[
            Route("GET", "/crash", PUBLIC, crash, "crash", "Crash", "test"),
            Route("GET", "/strange", PUBLIC, strange, "strange", "Strange", "test"),
            Route("GET", "/crash-page", PUBLIC, crash, "crashPage", "Crash", "page", door=Door.PAGE),
        ],
    )


async def test_an_unforeseen_exception_is_logged_under_its_id_and_never_shown(failing_app: Starlette) -> None:
    transport = httpx2.ASGITransport(app=failing_app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://cronsvc.test") as http:
        with structlog.testing.capture_logs() as lines:
            response = await http.get("/crash")
            strange = await http.get("/strange")
            page = await http.get("/crash-page")
    assert response.status_code == 500
    problem: dict[str, Any] = response.json()
    assert problem["type"] == "/problems/internal-error"
    assert "hunter2" not in response.text
    assert dict(SECURITY_HEADERS).items() <= {name: response.headers.get(name) for name in SECURITY_HEADERS}.items()
    line, of_page = [line for line in lines if line["event"] == "unexpected_error"]
    assert line["request_id"] == problem["requestId"] == response.headers["x-request-id"]
    assert (line["method"], line["route"], line["log_level"]) == ("GET", "/crash", "error")
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert of_page["request_id"] in page.text
    assert "hunter2" not in page.text
    assert strange.status_code == 500
    assert "secret" not in strange.text
    assert [line["reason"] for line in lines if line["event"] == "request_failed"] == ["secret detail"]


def test_an_error_without_a_kind_counts_as_ours() -> None:
    problem = problem_of(UnmappedError("secret detail"))
    assert problem.kind.status == 500
    assert "secret" not in problem.detail
