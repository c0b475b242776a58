"""Chains along the links of the OpenAPI document: what an operation has made is read, changed, acted on and deleted.

schemathesis walks them at random from a fixed seed, with every check on: what was made is there at once, what was
deleted is gone, and whatever is done in whatever order has a documented answer.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis

from cronsvc.services.access import Role
from tests.conftest import fresh_database
from tests.support.fuzzing import (
    DOCUMENT,
    OPERATIONS,
    SEED,
    Served,
    first_few,
    known,
    on_every_case,
    run,
    schema_for,
)
from tests.support.servers import Embedded

SCENARIOS = 15
MOST_ROUNDS = 6


def links() -> dict[str, list[str]]:
    """The operations that each maker leads to."""
    found = {}
    for name, route in OPERATIONS.items():
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        targets = [link["operationId"] for link in responses[str(route.status)].get("links", {}).values()]
        if targets:
            found[name] = targets
    return found


def makers() -> list[str]:
    """For each kind of thing the first operation that makes one: what follows is the same for all of them."""
    found: dict[tuple[str, ...], str] = {}
    for maker in LINKS:
        route = OPERATIONS[maker]
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        link = next(iter(responses[str(route.status)]["links"].values()))
        found.setdefault(tuple(link["parameters"]), maker)
    return list(found.values())


LINKS = links()


@pytest.fixture(scope="module")
def app(postgres_server: Embedded, template_database: str, valkey_server: Embedded) -> Iterator[Served]:
    with Redis.from_url(valkey_server.url) as client:
        client.flushall()
    with fresh_database(postgres_server.url, template_database) as url, Served(url, valkey_server.url).opened() as app:
        yield app


def test_whatever_can_be_made_leads_to_its_reading_changing_and_deleting() -> None:
    """The table decides; here stands what it must come to for the things everybody knows."""
    assert {"getJob", "replaceJob", "patchJob", "deleteJob", "triggerJob", "backfillJob"} <= set(LINKS["createJob"])
    assert {"getCalendar", "replaceCalendar", "deleteCalendar"} <= set(LINKS["createCalendar"])
    assert {"getMaintenanceWindow", "cancelMaintenanceWindow"} <= set(LINKS["createMaintenanceWindow"])
    assert {"getExecution", "cancelExecution", "getProgress"} <= set(LINKS["triggerJob"])
    assert {"getBackfill", "pauseBackfill", "cancelBackfill"} <= set(LINKS["backfillJob"])
    assert {"getRecovery", "cancelRecovery"} <= set(LINKS["recover"])
    assert {"getQueue", "patchQueue", "pauseQueue"} <= set(LINKS["putQueue"])
    assert LINKS["createKey"] == ["revokeKey"]
    assert LINKS["putSecret"] == ["deleteSecret"]


@pytest.mark.slow
@pytest.mark.parametrize("maker", makers())
def test_what_was_made_can_be_read_changed_and_deleted(maker: str, app: Served) -> None:
    names = [maker, *LINKS[maker]]
    facts = {name: app.run(known(app.world, OPERATIONS[name])) for name in names}
    # Whatever is linked to gets its place from the link, and from nowhere else.
    facts = {name: fact if name == maker else replace(fact, paths=[]) for name, fact in facts.items()}
    reached: dict[str, Counter[int]] = {name: Counter() for name in LINKS[maker]}
    for seed in range(SEED, SEED + MOST_ROUNDS):
        schema = schema_for(app, app.key(Role.ADMIN), most=SCENARIOS, phases=("stateful",), seed=seed)
        schema = schema.include(operation_id=names)
        on_every_case(schema, facts)
        found = run(schema)
        assert not found.failures, first_few(found.failures)
        for name, statuses in found.by_link.items():
            reached.get(name, Counter()).update(statuses)
        if not unreached(reached):
            return
    raise AssertionError(
        f"not followed, or never with success: { {name: reached[name] for name in unreached(reached)} }"
    )


def unreached(reached: dict[str, Counter[int]]) -> list[str]:
    """The operations to which no link led, or that never did there what they are for.

    Acts may not fit what has just been made (nothing failed that could be retried): being led there is enough. So it is
    for a calendar's change, which must give the name it was made with.
    """
    led_is_enough = {name for name in reached if OPERATIONS[name].method == "POST"} | {"replaceCalendar"}
    return [
        name
        for name, statuses in reached.items()
        if not statuses or (name not in led_is_enough and not statuses[OPERATIONS[name].status])
    ]
