"""The API process: it outlives its dependencies, tells nothing about itself, and stops when told."""

import asyncio
import contextlib
import http.client
import json
import time
from urllib.parse import urlsplit

import pytest

from cronsvc.config import Settings
from cronsvc.errors import ConfigError
from cronsvc.processes.api import run_api
from cronsvc.processes.serving import address_of, listen, serve
from tests.cli.support import Running, cronsvc, running
from tests.support.servers import Embedded, free_port

NOWHERE = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1/0"}


def connection(api: Running) -> http.client.HTTPConnection:
    """A connection to where the process says that it listens."""
    api.wait_for(lambda: any('"event": "ready"' in line for line in api.err))
    line = next(line for line in api.err if '"event": "ready"' in line)
    port = urlsplit(json.loads(line)["url"]).port
    return http.client.HTTPConnection("127.0.0.1", port, timeout=20)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the other side did to it."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def test_it_serves_while_postgres_and_redis_are_away() -> None:
    with running("api", "--port", "0", **NOWHERE) as api:
        client = connection(api)
        statuses = []
        for path in ("/health", "/ready", "/api/v1/jobs"):
            client.request("GET", path, headers={"Authorization": "Bearer csk_x"})
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
            assert answer.getheader("server") is None
        assert statuses == [200, 503, 401]
        # The connection is kept alive and idle: it must not hold the process up.
        began = time.monotonic()
        assert api.stop() == 0, api.told()
        assert time.monotonic() - began < 20
        client.close()


def test_a_port_in_use_is_a_sentence(valkey_server: Embedded) -> None:
    port = free_port()
    with running("api", "--host", "127.0.0.1", "--port", str(port), **NOWHERE) as api:
        connection(api).close()
        done = cronsvc("api", "--host", "127.0.0.1", "--port", str(port), **NOWHERE)
        assert done.returncode == 1
        assert f"cronsvc: cannot listen on 127.0.0.1:{port}: " in done.stderr
        assert "Traceback" not in done.stderr


async def test_an_address_that_is_not_ours_is_a_config_error() -> None:
    settings = Settings(host="203.0.113.1", port=0)
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.1:0"):
        await run_api(settings, asyncio.Event())


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1"), ("0.0.0.0", "http://127.0.0.1")])
def test_the_url_is_one_to_open(host: str, url: str) -> None:
    with listen(host, 0) as listener:
        assert address_of(listener) == f"{url}:{listener.getsockname()[1]}"


async def test_a_request_in_flight_is_answered_before_the_end() -> None:
    stop, arrived, answer_now = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def application(scope: object, receive: object, send: object) -> None:
        arrived.set()
        await answer_now.wait()
        assert callable(send)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(application, listener, stop, trusted_proxies=(), ready=ready.set))
    await ready.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await arrived.wait()
    stop.set()
    while True:  # it stops listening at once
        try:
            _, other = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            break
        except ConnectionResetError:  # it had been queued when the listener closed
            continue
        await closed(other)
    answer_now.set()
    assert (await reader.read()).endswith(b"\r\n\r\ndone")
    await closed(writer)
    await asyncio.wait_for(serving, 10)


@pytest.mark.parametrize(("trusted", "seen"), [((), "127.0.0.1"), (("127.0.0.1",), "198.51.100.7")])
async def test_forwarded_addresses_are_believed_only_from_trusted_proxies(trusted: tuple[str, ...], seen: str) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()

    async def application(scope: dict[str, tuple[str, int]], receive: object, send: object) -> None:
        body = scope["client"][0].encode()
        assert callable(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve(application, listener, stop, trusted_proxies=trusted, ready=ready.set))
    await ready.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.7\r\nConnection: close\r\n\r\n")
    assert seen.encode() in await reader.read()
    await closed(writer)
    stop.set()
    await asyncio.wait_for(serving, 10)
