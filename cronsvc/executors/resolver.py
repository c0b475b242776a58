"""Names to addresses, for job calls only.

`getaddrinfo` blocks a thread for as long as a name server likes. These lookups have threads of their own, so names of
a hostile zone can hold up other job calls at worst, never the rest of the process, and no lookup is waited for longer
than a connection would be.
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class PooledResolver(AbstractResolver):
    """The system's resolver behind `threads` threads; a lookup fails after `timeout_seconds`."""

    def __init__(self, *, threads: int = 16, timeout_seconds: float = 5.0) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cronsvc-names")
        self._timeout_seconds = timeout_seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name, in the system's order. Raises OSError when there is none or no answer in time."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = await asyncio.get_running_loop().run_in_executor(self._pool, _lookup, host, port, family)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Start no further lookup. One that is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str, port: int, family: socket.AddressFamily) -> Sequence[tuple[int, int, int, str, tuple[Any, ...]]]:
    try:
        return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:  # a label too long for IDNA: no such name
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
