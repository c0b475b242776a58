"""Tags in a selector mean the same everywhere: a job is chosen when it has all of them."""

import pytest

from cronsvc.domain.backfill import Selector
from cronsvc.domain.maintenance import Selector as WindowSelector
from cronsvc.services.bulk_pausing import JobSelector
from cronsvc.store.backfill_steps import eligible
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.rows import define, fetch

TAGS = {"both": ["mail", "slow", "more"], "first": ["mail"], "second": ["slow"], "neither": []}


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [(("mail",), {"both", "first"}), (("mail", "slow"), {"both"}), (("mail", "slow", "other"), set())],
)
async def test_all_of_the_tags(db: Database, tags: tuple[str, ...], chosen: set[str]) -> None:
    desk = Desk(db)
    for name, given in TAGS.items():
        await define(db, name=name, tags=given, cron_expression="0 4 1 3 *")
    window = WindowSelector(tags=tags)
    assert {name for name, given in TAGS.items() if window.matches("default", given, "default")} == chosen
    async with db.statements() as conn:
        found = await eligible(conn, Selector(tags=tags), namespaces=None, limit=10)
    assert {job.definition.name for job in found} == chosen
    assert (await desk.bulk_pausing.pause(JobSelector(tags=tags), ALICE)).matched == len(chosen)
    assert {name for (name,) in await fetch(db, "SELECT name FROM jobs WHERE paused_at IS NOT NULL")} == chosen
