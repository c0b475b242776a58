"""NOTIFY as a doorbell: somebody changed a job or a retry is near, so look again.

Only a hint. It needs a connection of its own, which a pooler in transaction mode cannot give; whoever loses it, or
never had it, polls.
"""

import asyncio
import logging
from contextlib import suppress

import psycopg

from cronsvc.store.pool import connection_settings, first_line
from cronsvc.tasks import cancelled

CHANNEL = "cronsvc_wake"
_log = logging.getLogger("cronsvc.store")


class Doorbell:
    """Sets `rung` whenever Postgres notifies; reconnects by itself. Run `listen()` as a task, cancel it to end."""

    def __init__(self, url: str, *, application_name: str) -> None:
        self._url = url
        self._application_name = application_name
        self.rung = asyncio.Event()

    async def listen(self) -> None:
        """Listen until cancelled. While Postgres is away it tries again each second and says so once."""
        said = False
        while not cancelled():
            try:
                settings = connection_settings(application_name=self._application_name, pooler=False)
                async with await psycopg.AsyncConnection.connect(self._url, **settings) as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    said = False
                    self.rung.set()  # whatever was announced while nobody listened
                    async for _ in conn.notifies():
                        self.rung.set()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if not said:
                    _log.warning("listening for wake-ups interrupted, polling meanwhile: %s", first_line(error))
                said = True
            await asyncio.sleep(1.0)

    async def wait(self, seconds: float) -> None:
        """Sleep for `seconds`, or less if the doorbell rings."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rung.wait()
        self.rung.clear()
