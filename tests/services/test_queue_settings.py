"""Limits of queues, and what is refused."""

from datetime import UTC, datetime

import pytest

from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.access import Caller, Role
from cronsvc.services.queues import Queues
from cronsvc.store.pool import Database
from tests.support.control import ALICE
from tests.support.rows import fetch, one

ROOT = Caller("key:root", Role.ADMIN, None, "10.9.9.9")


async def test_limits_are_set_one_by_one_or_together_and_audited(db: Database) -> None:
    desk = Queues(db)
    made = await desk.set_limits("bulk", {"concurrency": 3, "rate_per_minute": None}, ROOT, create=True)
    assert (made.queue.concurrency, made.queue.rate_per_minute, made.load.waiting) == (3, None, 0)
    changed = await desk.set_limits("bulk", {"rate_per_minute": 60}, ROOT)
    assert (changed.queue.concurrency, changed.queue.rate_per_minute) == (3, 60)
    await desk.set_limits("bulk", {"rate_per_minute": 60}, ROOT)
    rows = await fetch(
        db,
        "SELECT actor, action, before->>'concurrency', after->>'concurrency', after->>'rate_per_minute'"
        " FROM audit_log WHERE entity = 'queue' ORDER BY id",
    )
    assert rows == [("key:root", "update", None, "3", None), ("key:root", "update", "3", "3", "60")]


async def test_what_cannot_be_is_refused(db: Database) -> None:
    desk = Queues(db)
    with pytest.raises(NotFound):
        await desk.set_limits("nobody", {"concurrency": 1}, ROOT)
    with pytest.raises(InvalidInput) as refused:
        await desk.set_limits("a b", {"concurrency": 0, "rate_per_minute": -1}, ROOT, create=True)
    assert [error.field for error in refused.value.errors] == ["concurrency", "ratePerMinute", "name"]
    for name in ("nobody", "a b", "", "x" * 64, "a\0b"):
        with pytest.raises(NotFound):
            await desk.pause(name, ALICE)
        with pytest.raises(NotFound):
            await desk.resume(name, ALICE)
        with pytest.raises(NotFound):
            await desk.get(name, ALICE)
    with pytest.raises(InvalidInput, match="until"):
        await desk.pause("default", ALICE, until=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInput, match="note"):
        await desk.pause("default", ALICE, note="a\0b")
    assert await one(db, "SELECT count(*) FROM audit_log WHERE entity = 'queue'") == (0,)
