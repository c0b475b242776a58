"""One attempt against targets that answer, that answer badly, and that never stop."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.api_call_answer import EXCERPT_BYTES
from cronsvc.executors.base import ExecutorSettings
from tests.executors.targets import (
    FixedResolver,
    Request,
    Respond,
    accepting,
    always,
    answer,
    attempt,
    listening,
    reset,
)

LOOPBACK = ExecutorSettings(egress_allow=("127.0.0.0/8",))
CERTIFICATE = Path(__file__).parent / "data" / "self_signed.pem"


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(LOOPBACK)
    yield executor
    await executor.close()


def words(outcome: Outcome) -> tuple[str, bool]:
    """An outcome's error type and whether it may be retried."""
    assert outcome.error is not None
    return outcome.error.type, outcome.retryable


async def test_the_seeds_call_arrives_as_written(api_call: ApiCall) -> None:
    body = b'{"made": true}'
    async with listening(always(answer(201, body, Content_Type="application/json", X_Request_Id="r-1"))) as target:
        config = api_call.parse(
            {
                "url": f"{target.url}generate-report",
                "method": "POST",
                "headers": {"Content-Type": "application/json", "Authorization": "Bearer your-token"},
                "data": {"reportType": "daily"},
                "params": {"query": "param"},
            }
        )
        outcome = await api_call.run(config, attempt(2))
    (request,) = target.requests
    assert (request.method, request.target) == ("POST", "/generate-report?query=param")
    assert json.loads(request.body) == {"reportType": "daily"}
    sent = request.headers
    assert sent["content-type"] == "application/json"
    assert sent["authorization"] == "Bearer your-token"
    assert sent["accept-encoding"] == "identity"
    assert sent["user-agent"].startswith("cronsvc/")
    assert sent["x-cronsvc-job-id"] == "3"
    assert sent["x-cronsvc-execution-id"] == "7"
    assert sent["x-cronsvc-scheduled-time"] == "2026-03-01T09:00:00.250000Z"
    assert sent["x-cronsvc-attempt"] == "2"
    assert sent["x-cronsvc-fence"] == "6"
    assert outcome.error is None
    assert outcome.http_status == 201
    assert outcome.excerpt == body.decode()
    assert outcome.result["status"] == 201
    assert outcome.result["body"] == {"made": True}
    assert outcome.result["headers"]["x-request-id"] == "r-1"


async def test_a_call_without_data_has_no_body_and_no_content_type(api_call: ApiCall) -> None:
    async with listening(always(answer(204))) as target:
        for method in ("GET", "POST", "HEAD", "DELETE"):
            outcome = await api_call.run(api_call.parse({"url": target.url, "method": method}), attempt())
            assert outcome.error is None
    assert [request.method for request in target.requests] == ["GET", "POST", "HEAD", "DELETE"]
    assert all("content-type" not in request.headers and request.body == b"" for request in target.requests)


async def test_the_idempotency_key_belongs_to_the_execution(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        config = api_call.parse({"url": target.url})
        for context in (attempt(1), attempt(2), attempt(3), attempt(1, execution_id=8)):
            await api_call.run(config, context)
    keys = [request.headers["idempotency-key"] for request in target.requests]
    assert keys[0] == keys[1] == keys[2] == "cronsvc-3-7-20260301T090000.250000Z"
    assert keys[3] != keys[0]


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (301, False),
        (304, False),
        (400, False),
        (404, False),
        (410, False),
        (429, True),
        (500, True),
        (501, False),
        (503, True),
    ],
)
async def test_a_status_that_is_not_success(api_call: ApiCall, status: int, retryable: bool) -> None:
    async with listening(always(answer(status, b"" if status == 304 else b"why"))) as target:
        config = api_call.parse({"url": target.url})
        outcome = await api_call.run(config, attempt())
        only = await api_call.run(config, attempt(1, of=1))
    assert words(outcome) == ("http_status", retryable)
    assert words(only) == ("http_status", False)
    assert outcome.http_status == status
    assert outcome.excerpt == ("" if status == 304 else "why")
    assert len(target.requests) == 2


async def test_retry_after_is_passed_on_where_a_retry_helps(api_call: ApiCall) -> None:
    date = "Sun, 01 Mar 2026 12:00:00 GMT"
    for response, expected in (
        (answer(503, Retry_After="17"), 17.0),
        # The target's own clock says how far away its date is, whatever this machine's clock says.
        (answer(429, Date=date, Retry_After="Sun, 01 Mar 2026 12:00:42 GMT"), 42.0),
        (answer(503, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"), 3600.0),
        (answer(503, Retry_After="whenever"), None),
        (answer(404, Retry_After="17"), None),
    ):
        async with listening(always(response)) as target:
            outcome = await api_call.run(api_call.parse({"url": target.url}), attempt())
        assert outcome.retry_after == expected


async def test_a_redirect_is_not_followed(api_call: ApiCall) -> None:
    async with accepting("127.0.0.1") as elsewhere:
        async with listening(always(answer(302, Location=f"http://127.0.0.1:{elsewhere.port}/"))) as target:
            outcome = await api_call.run(api_call.parse({"url": target.url}), attempt())
        assert elsewhere.connections == 0
    assert words(outcome) == ("http_status", False)
    assert outcome.error is not None
    assert "redirects are not followed" in outcome.error.message


async def test_an_endless_body_is_cut_and_the_connection_closed(api_call: ApiCall) -> None:
    async def endless(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with listening(endless) as target:
        outcome = await api_call.run(api_call.parse({"url": target.url}), attempt())
        await target.gone.wait()
    assert outcome.error is None
    assert outcome.excerpt == "x" * EXCERPT_BYTES
    assert outcome.result["truncated"] is True


async def test_a_bomb_is_not_inflated(api_call: ApiCall) -> None:
    bomb = gzip.compress(b"0" * 20_000_000)
    async with listening(always(answer(200, bomb, Content_Encoding="gzip"))) as target:
        outcome = await api_call.run(api_call.parse({"url": target.url}), attempt())
    assert outcome.error is None
    assert outcome.excerpt is not None
    assert outcome.excerpt.startswith(f"({len(bomb)} bytes"), "as many as were sent"


async def drip_body(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    await drip(writer)


async def drip_headers(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await drip(writer)


async def say_nothing(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def keep_promising(_: Request, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("respond", [drip_body, drip_headers, say_nothing, keep_promising])
async def test_the_deadline_cuts_whatever_drips(api_call: ApiCall, respond: Respond) -> None:
    async with listening(respond) as target:
        config = api_call.parse({"url": target.url})
        assert words(await api_call.run(config, attempt(timeout_seconds=0.2))) == ("timeout", True)
        lost = await api_call.run(config, attempt(1, of=1, timeout_seconds=0.2))
        assert words(lost) == ("lost", False)
        assert lost.error is not None
        assert "unknown" in lost.error.message
    assert len(target.requests) == 2


async def test_a_status_stands_though_its_body_never_ends(api_call: ApiCall) -> None:
    async def not_found(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\nmissing")
        await asyncio.Event().wait()

    async with listening(not_found) as target:
        outcome = await api_call.run(api_call.parse({"url": target.url}), attempt(1, of=1, timeout_seconds=0.2))
    assert words(outcome) == ("http_status", False)
    assert outcome.excerpt == "missing"


async def reset_at_once(_: Request, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def reset_in_the_body(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    reset(writer)


RESPONSES_THAT_ARE_NONE = {
    "closed at once": always(close=True),
    "reset at once": reset_at_once,
    "reset in the body": reset_in_the_body,
    "closed in the body": always(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True),
    "closed in a chunk": always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", close=True),
    "not HTTP": always(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", close=True),
    "bad chunk": always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", close=True),
    "two lengths": always(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", close=True),
    "long header": always(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", close=True),
    "many headers": always(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 10_000 + b"\r\n", close=True),
}


@pytest.mark.parametrize("kind", RESPONSES_THAT_ARE_NONE)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_breaks_off(api_call: ApiCall, kind: str, method: str) -> None:
    async with listening(RESPONSES_THAT_ARE_NONE[kind]) as target:
        secret = "Bearer hunter2"
        config = api_call.parse({"url": target.url, "method": method, "headers": {"Authorization": secret}})
        outcome = await api_call.run(config, attempt())
        assert words(outcome) == ("protocol", True)
        assert len(target.requests) == 1, "one attempt is one request, also for methods a client may repeat"
        lost = await api_call.run(config, attempt(1, of=1))
        assert words(lost) == ("lost", False)
        assert len(target.requests) == 2
    assert outcome.error is not None
    assert lost.error is not None
    assert "hunter2" not in outcome.error.message + lost.error.message


async def test_a_connection_that_is_refused_was_provably_not_used(api_call: ApiCall) -> None:
    async with accepting("127.0.0.1") as target:
        url = target.url
    config = api_call.parse({"url": url})
    assert words(await api_call.run(config, attempt())) == ("connect", True)
    assert words(await api_call.run(config, attempt(1, of=1))) == ("connect", True)


async def test_names_that_do_not_resolve_or_never_answer() -> None:
    executor = ApiCall(LOOPBACK, resolver=FixedResolver({"silent.example": []}))
    unknown = executor.parse({"url": "http://unknown.example/"})
    assert words(await executor.run(unknown, attempt(1, of=1))) == ("connect", True)
    silent = executor.parse({"url": "http://silent.example/"})
    outcome = await executor.run(silent, attempt(1, of=1, timeout_seconds=0.1))
    assert words(outcome) == ("timeout", True), "nothing was sent, so nothing is lost"
    await executor.close()


async def test_certificates_are_checked(api_call: ApiCall) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    async with listening(always(answer()), tls=context) as target:
        outcome = await api_call.run(api_call.parse({"url": f"https://127.0.0.1:{target.port}/"}), attempt(1, of=1))
    assert words(outcome) == ("tls", True)
    assert outcome.error is not None
    assert "certificate" in outcome.error.message
    assert target.requests == []


async def test_tls_to_a_target_that_speaks_none(api_call: ApiCall) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outcome = await api_call.run(api_call.parse({"url": f"https://127.0.0.1:{port}/"}), attempt(1, of=1))
    server.close()
    await server.wait_closed()
    assert words(outcome) == ("tls", True)


async def test_connections_are_kept_only_while_an_attempt_is_left(api_call: ApiCall) -> None:
    async with listening(always(answer(200, b"ok"))) as target:
        config = api_call.parse({"url": target.url})
        for _ in range(3):
            await api_call.run(config, attempt(1, of=3))
        assert target.connections == 1
        for number, of in ((1, 1), (1, 1), (2, 3), (3, 3)):
            await api_call.run(config, attempt(number, of=of))
        assert target.connections == 5
    assert "connection" not in target.requests[0].headers
    assert target.requests[-1].headers["connection"] == "close"


async def test_a_kept_connection_that_died_costs_one_attempt_and_never_the_last(api_call: ApiCall) -> None:
    async def second_time_gone(_: Request, writer: asyncio.StreamWriter) -> None:
        if len(target.requests) == 2:
            reset(writer)
        else:
            writer.write(answer(200, b"ok"))

    async with listening(second_time_gone) as target:
        config = api_call.parse({"url": target.url})
        assert (await api_call.run(config, attempt(1, of=2))).error is None
        assert words(await api_call.run(config, attempt(1, of=2))) == ("protocol", True)
        assert target.connections == 1, "it was the kept connection"
        assert (await api_call.run(config, attempt(2, of=2))).error is None
        assert target.connections == 2
    assert len(target.requests) == 3


async def test_cookies_and_proxy_variables_are_ignored(api_call: ApiCall, monkeypatch: pytest.MonkeyPatch) -> None:
    async with accepting("127.0.0.1") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with listening(always(answer(200, b"", Set_Cookie="session=1; Path=/"))) as target:
            config = api_call.parse({"url": target.url})
            for number in (1, 1, 2):
                await api_call.run(config, attempt(number))
        assert proxy.connections == 0
    assert len(target.requests) == 3
    assert all("cookie" not in request.headers for request in target.requests)


async def test_a_cancelled_attempt_lets_go_of_its_connection(api_call: ApiCall) -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()  # returns when the other side has closed
        ended.set()
        writer.close()

    server = await asyncio.start_server(watch, "127.0.0.1", 0)
    config = api_call.parse({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"})
    running = asyncio.create_task(api_call.run(config, attempt()))
    await arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await ended.wait()
    server.close()
    await server.wait_closed()


async def test_more_calls_than_connections_wait_their_turn() -> None:
    executor = ApiCall(ExecutorSettings(egress_allow=("127.0.0.1",), max_connections=3))
    async with listening(always(answer(200, b"ok"))) as target:
        config = executor.parse({"url": target.url})
        outcomes = await asyncio.gather(*(executor.run(config, attempt(execution_id=n)) for n in range(40)))
        assert all(outcome.error is None for outcome in outcomes)
        assert target.connections == 3
        assert len({request.headers["idempotency-key"] for request in target.requests}) == 40
        await executor.close()


async def test_the_systems_resolver_is_used_and_closed() -> None:
    executor = ApiCall(ExecutorSettings(egress_allow=("localhost",)))
    async with listening(always(answer(200, b"ok")), host="localhost") as target:
        config = executor.parse({"url": f"http://localhost:{target.port}/"})
        assert (await executor.run(config, attempt())).error is None
    await executor.close()
    await executor.close()


async def test_text_that_postgres_cannot_hold_is_replaced(api_call: ApiCall) -> None:
    body = b'{"a": "x\\u0000y", "b": "\\udc00"}'
    async with listening(always(answer(200, body + b" \x00", Content_Type="text/plain\xff"))) as target:
        outcome = await api_call.run(api_call.parse({"url": target.url}), attempt())
    assert "\x00" not in (outcome.excerpt or "")
    json.dumps(outcome.result, ensure_ascii=False).encode()
