"""The right of one worker process to run what it claimed, kept alive by its heartbeat."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from cronsvc.errors import CronsvcError, Unavailable
from cronsvc.services.running import Runner
from cronsvc.store import presence, running
from cronsvc.store.pool import Database
from cronsvc.tasks import cancelled

_log = logging.getLogger("cronsvc.running")

# Longer than a claim can be under way: statements end after ten seconds, connecting after three.
STRAY_AGE = timedelta(seconds=20)


class Lease:
    """Keeps a worker process's lease alive and tells the runner when it is gone."""

    def __init__(
        self,
        db: Database,
        runner: Runner,
        *,
        lease: timedelta,
        beat: timedelta,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._db = db
        self._runner = runner
        self._lease = lease
        self._beat = beat
        self._draining = draining
        self._valid_until = asyncio.get_running_loop().time() + lease.total_seconds()

    async def keep(self) -> None:
        """Renew until the lease is lost for good; returns then, with everything that ran stopped.

        The process must take a new identity to go on, and leave what the old one held to the rescuers. The lease is
        counted from before each beat was sent, on the monotonic clock: it always ends here before it ends in Postgres.
        """
        loop = asyncio.get_running_loop()
        while not cancelled():
            sent = loop.time()
            if sent >= self._valid_until:
                _log.error("the lease ran out while Postgres was away; %s attempts stopped", self._runner.lapse())
                return
            try:
                async with asyncio.timeout(min(self._lease.total_seconds() / 2, self._valid_until - sent)):
                    async with self._db.statements() as conn:
                        alive = await presence.beat(
                            conn,
                            process_id=self._runner.worker_id,
                            lease=self._lease,
                            running=self._runner.running,
                            draining=self._draining(),
                        )
                        if alive and (runs := self._runner.claims()):
                            self._runner.cancel(await running.to_stop(conn, runs))
            except (Unavailable, TimeoutError) as error:
                _log.warning("heartbeat failed: %s", str(error) or "no answer in time")
            else:
                if not alive:
                    _log.error("this worker was declared lost; %s attempts stopped", self._runner.lapse())
                    return
                self._valid_until = sent + self._lease.total_seconds()
                await self._return_strays()
            await asyncio.sleep(max(0.0, min(self._beat.total_seconds(), self._valid_until - loop.time())))

    async def _return_strays(self) -> None:
        try:
            async with asyncio.timeout(self._beat.total_seconds()):
                await self._runner.return_strays(age=STRAY_AGE)
        except (CronsvcError, TimeoutError) as error:
            _log.warning("cannot look for executions that nobody here runs: %s", str(error) or "no answer in time")
