"""What cronsvc fetches for itself: behind the same wall as job URLs, and never without an end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from cronsvc.errors import Unavailable
from cronsvc.executors.fetching import MOST_BYTES, Fetcher


@pytest.fixture
async def site() -> AsyncIterator[str]:
    async def redirect(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/keys")

    app = web.Application()
    answers: dict[str, Any] = {"/keys": b"{}", "/long": b"x" * (MOST_BYTES + 1), "/full": b"x" * MOST_BYTES}
    for path, body in answers.items():
        app.router.add_get(path, _answering(body))
    app.router.add_get("/redirect", redirect)
    runner = web.AppRunner(app)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


def _answering(body: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    return answer


async def test_a_document_is_fetched(site: str) -> None:
    fetcher = Fetcher(["127.0.0.1"])
    assert await fetcher.fetch(f"{site}/keys") == b"{}"
    assert len(await fetcher.fetch(f"{site}/full")) == MOST_BYTES


@pytest.mark.parametrize("path", ["/long", "/redirect", "/missing"])
async def test_what_is_no_plain_answer_is_none(site: str, path: str) -> None:
    with pytest.raises(Unavailable):
        await Fetcher(["127.0.0.1"]).fetch(site + path)


@pytest.mark.parametrize("host", ["", "localhost", "127.1", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_out_of_reach(site: str, host: str) -> None:
    url = site if not host else site.replace("127.0.0.1", host)
    with pytest.raises(Unavailable):
        await Fetcher([]).fetch(f"{url}/keys")
