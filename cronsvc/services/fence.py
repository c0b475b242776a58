"""The fence of a restored database, as schedulers and workers keep it.

Promises: in a database that was restored or cloned nothing fires, is dispatched or is claimed until somebody confirms.
The hot statements ask `cronsvc_fenced()` themselves, which is true from the first statement after a restore on, because
every restore makes another database or starts a server. A process then looks closer: it fences for good, or clears a
server that only started again. Redis and each process remember how far the database was (its generation); that tells
an older state from the present one.
"""

import logging
import time
from typing import Protocol

from cronsvc.domain.fence import FenceReason, Finding, Identity, judge
from cronsvc.errors import ConfigError, Unavailable
from cronsvc.store import audit, identity
from cronsvc.store.pool import Conn, Database
from cronsvc.tasks import Reminder

_log = logging.getLogger("cronsvc.restore")

ACTOR = "cronsvc:restore"
ENTITY = "service"
FOLLOW_SECONDS = 5.0
ADDRESS_SECONDS = 3600
WHAT_TO_DO = "see `cronsvc restore status`, then `cronsvc restore confirm --mode resume` or `--mode skip`"


class Remembers(Protocol):
    """What outlives a restore of Postgres; the queue's Broker is one."""

    async def generations(self) -> dict[str, int]:
        """The highest generation of each lineage; Unavailable."""
        ...

    async def remember_generation(self, lineage: str, generation: int) -> None:
        """Keep this one unless a higher one is kept; Unavailable."""
        ...


async def fence_detail(conn: Conn) -> str | None:
    """Why nothing is sent, in a sentence; None when the database is what it was, as far as it can tell by itself."""
    found = await identity.read(conn)
    if found is None:
        return None
    judged = judge(found, {}, asked_redis=False)  # what others remember they have written down
    return judged.detail if judged.finding is Finding.OTHER else None


def refusal(detail: str | None) -> ConfigError:
    """Why a process with another name than its database's does not go on."""
    return ConfigError(
        f"CRONSVC_INSTALLATION does not fit the database: {detail}. Is DATABASE_URL the right one? To rename the"
        " installation run `cronsvc restore confirm --mode resume` with the new name; its processes then stop"
    )


class Fence:
    """What one process knows of its database, and what it makes of it. `notes`: it also counts the generation up.

    `installation`: the name that the operator gave to what this process belongs to.
    """

    def __init__(self, db: Database, memory: Remembers, *, notes: bool = True, installation: str | None = None) -> None:
        self._db = db
        self._memory = memory
        self._notes = notes
        self._installation = installation
        self._own: dict[str, int] = {}
        self._reminder = Reminder()
        self._looked: float | None = None

    async def holds(self) -> bool:
        """Whether nothing may be done now; one small statement."""
        async with self._db.statements() as conn:
            return await identity.fenced(conn)

    async def follow(self) -> None:
        """Look if it holds, and every few seconds anyway. Unavailable: no Postgres.

        A process vouches for what it has seen last: one that looked only at its start would vouch for any later state.
        """
        is_old = self._looked is None or time.monotonic() - self._looked >= FOLLOW_SECONDS
        if is_old or await self.holds():
            await self.look()

    async def look(self) -> bool:
        """Compare, and write down what follows; returns whether work may go on.

        Unavailable: no Postgres. ConfigError: the database is what it was, and belongs to another installation.
        """
        try:
            kept, asked = await self._memory.generations(), True
        except Unavailable:
            kept, asked = {}, False
        # Read after what is remembered: then it can only be behind if something was lost.
        found = await self._read()
        remembered = kept | {lineage: max(own, kept.get(lineage, own)) for lineage, own in self._own.items()}
        judged = judge(found, remembered, asked_redis=asked, installation=self._installation)
        if judged.finding is Finding.NOT_OURS:
            raise refusal(judged.detail)
        if judged.finding is Finding.OTHER:
            assert judged.reason is not None and judged.detail is not None
            await self._fence(found, judged.reason, judged.detail)
            if self._reminder.due():
                _log.error("fenced: nothing is sent, for %s; %s", judged.detail, WHAT_TO_DO)
            return False
        if judged.finding is Finding.UNSURE:
            if self._reminder.due():
                _log.warning(
                    "fenced: Postgres started again, and without Redis nobody knows whether it is an older state;"
                    " waiting for Redis"
                )
            return False
        if judged.finding is Finding.STARTED_AGAIN:
            await self._clear(found)
        if self._reminder.over():
            _log.warning("the fence is open, work goes on")
        await self._remember(found, kept if asked else None)
        self._looked = time.monotonic()
        return True

    async def _read(self) -> Identity:
        async with self._db.statements() as conn:
            found = await identity.read(conn)
            if found is None:
                await identity.adopt(conn)
                found = await identity.read(conn)
        assert found is not None
        return found

    async def _fence(self, found: Identity, reason: FenceReason, detail: str) -> None:
        if found.fenced_at is not None:
            return
        async with self._db.transaction(actor=ACTOR) as conn:
            if await identity.fence(conn, lineage=found.lineage, reason=reason, detail=detail):
                after = {"reason": reason.value, "detail": detail}
                await audit.append(conn, action="fence", entity=ENTITY, entity_id="restore", after=after)

    async def _clear(self, found: Identity) -> None:
        async with self._db.statements() as conn:
            cleared = await identity.clear(conn, found)
        if cleared and found.changed_timeline:
            _log.warning(
                "Postgres is on timeline %s, it was on %s: a failover or a recovery; nothing that was seen is missing",
                found.present_timeline,
                found.timeline,
            )
        elif cleared:
            _log.info("Postgres started again and is the same database")

    async def _remember(self, found: Identity, kept: dict[str, int] | None) -> None:
        """Count up, and tell Redis; while that is away the process remembers alone. Also where we have reached it."""
        generation, address = found.generation, found.present_address
        is_unnamed = found.installation is None and self._installation is not None
        if address is not None and (
            is_unnamed or found.present_seconds - found.addresses.get(address, 0) >= ADDRESS_SECONDS
        ):
            async with self._db.statements() as conn:
                await identity.settle_in(conn, lineage=found.lineage, address=address, installation=self._installation)
        if self._notes:
            async with self._db.statements() as conn:
                generation = await identity.note(conn, lineage=found.lineage) or generation
        self._own = {found.lineage: max(generation, self._own.get(found.lineage, 0))}
        if kept is not None and kept.get(found.lineage, -1) < generation:
            try:
                await self._memory.remember_generation(found.lineage, generation)
            except Unavailable as error:
                _log.debug("%s", error)  # whoever pushes tickets announces it
