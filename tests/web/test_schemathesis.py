"""The whole OpenAPI document under fire: each operation in turn, with cases that are right and cases that are not.

Every check of schemathesis is on: no server error, documented statuses, media types, headers and schemas only, wrong
data refused, right data taken, no way past the key, methods that are not there answered by 405 with Allow.
"""

from collections.abc import Iterator

import pytest
from redis import Redis

from cronsvc.services.access import Role
from cronsvc.web.routing import Route
from tests.conftest import fresh_database
from tests.support.fuzzing import OPERATIONS, SEED, Run, Served, first_few, known, on_every_case, run, schema_for
from tests.support.servers import Embedded

EXAMPLES_EACH = 100
MOST_ROUNDS = 5


@pytest.fixture(scope="module")
def app(postgres_server: Embedded, template_database: str, valkey_server: Embedded) -> Iterator[Served]:
    with Redis.from_url(valkey_server.url) as client:
        client.flushall()
    with fresh_database(postgres_server.url, template_database) as url, Served(url, valkey_server.url).opened() as app:
        yield app


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_its_promises_whatever_is_sent(name: str, app: Served) -> None:
    route = OPERATIONS[name]
    facts = {name: app.run(known(app.world, route))}
    found = Run()
    for seed in range(SEED, SEED + MOST_ROUNDS):
        phases = ("examples", "coverage", "fuzzing") if seed == SEED else ("fuzzing",)
        schema = schema_for(app, app.key(Role.ADMIN), most=EXAMPLES_EACH, phases=phases, seed=seed)
        schema = schema.include(operation_id=name)
        on_every_case(schema, facts)
        run(schema, found)
        assert not found.failures, first_few(found.failures)
        if not takes_something(route) or found.sent["fuzzing"] >= EXAMPLES_EACH:
            break  # or else the generator gave up on an unlucky seed
    else:
        raise AssertionError(f"only {found.sent} in {MOST_ROUNDS} rounds")
    assert found.sent["fuzzing"]
    assert found.statuses[route.status], f"never succeeded: {dict(found.statuses)}"


def takes_something(route: Route) -> bool:
    """Whether there is more than one request to make of it."""
    inputs = (route.query, route.body, route.takes_file, route.takes_idempotency_key, route.takes_if_match)
    return any(inputs) or "{" in route.path


@pytest.mark.slow
def test_a_viewer_meets_documented_refusals_and_reaches_no_further(app: Served) -> None:
    """A few cases of each operation with a key that may only read: no door opens that the table keeps shut."""
    found = run(schema_for(app, app.key(Role.VIEWER), most=4, phases=("fuzzing",)))
    assert not found.failures, first_few(found.failures)
    assert found.by_operation.keys() == OPERATIONS.keys()
    for name, statuses in found.by_operation.items():
        access = OPERATIONS[name].access
        if isinstance(access, Role) and access is not Role.VIEWER:
            # A callback token would do in place of the key, and is refused as what it is.
            assert statuses.keys() <= {401, 403}, (name, statuses)
        assert 403 not in statuses or access is not Role.VIEWER, (name, statuses)
