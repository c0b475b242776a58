"""Documents that cronsvc itself fetches for the operator, such as the keys of an issuer of tokens.

The same wall as for job URLs: the address is judged when the socket is made. No redirect, no proxy, no cookie, GET
only; at most MOST_BYTES within FETCH_SECONDS.
"""

import asyncio
from collections.abc import Sequence

import aiohttp
from yarl import URL

from cronsvc import __version__
from cronsvc.errors import Unavailable
from cronsvc.executors.egress import Egress
from cronsvc.executors.resolver import PooledResolver

FETCH_SECONDS = 5.0
MOST_BYTES = 262_144


class Fetcher:
    """Fetches documents within what `egress_allow` and public addresses permit."""

    def __init__(self, egress_allow: Sequence[str]) -> None:
        self._egress = Egress(egress_allow)

    async def fetch(self, url: str) -> bytes:
        """The body of a 200 answer. Unavailable: there is none, in words without the body."""
        target = URL(url)
        host = target.raw_host or ""
        refusal = self._egress.refusal(host)
        if refusal is not None:
            raise Unavailable(f"{host} {refusal}")
        resolver = PooledResolver(threads=1)
        listed = self._egress.lists_host(host)
        connector = aiohttp.TCPConnector(
            resolver=resolver,
            socket_factory=self._egress.open_socket_to_listed_host if listed else self._egress.open_socket,
            force_close=True,
        )
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    headers={"User-Agent": f"cronsvc/{__version__}", "Accept": "application/json"},
                    auto_decompress=False,
                ) as session,
                session.get(target, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as answer,
            ):
                if answer.status != 200:
                    raise Unavailable(f"{host} answered {answer.status}")
                body = await answer.content.read(MOST_BYTES + 1)
                while len(body) <= MOST_BYTES and not answer.content.at_eof():
                    body += await answer.content.read(MOST_BYTES + 1 - len(body))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{host} did not answer ({type(error).__name__})") from error
        finally:
            await resolver.close()
        if len(body) > MOST_BYTES:
            raise Unavailable(f"{host} answered with more than {MOST_BYTES} bytes")
        return body
