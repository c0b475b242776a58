"""Egress lists of namespaces: who may set which, what they take away, and that workers keep to them."""

import json
from collections.abc import AsyncIterator

import pytest

from cronsvc.domain.egress_list import EgressList, NamespaceEgress, host_entry_fault, host_key, network_of
from cronsvc.errors import Forbidden, InvalidInput, NotFound
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from cronsvc.services.callers import Caller, Role
from cronsvc.services.egress_lists import EgressLists
from cronsvc.services.target_hosts import TargetHosts
from cronsvc.store.pool import Database
from tests.executors.targets import always, answer, listening
from tests.support.rows import fetch, one
from tests.support.running import attempt, outcomes, runner, state, waiting

ROOT = Caller("root", Role.ADMIN)
RED = Caller("red", Role.ADMIN, ("red",))


@pytest.fixture
def lists(db: Database) -> EgressLists:
    return EgressLists(db)


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    made = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",)))
    yield made
    await made.close()


def permits(egress: NamespaceEgress, *hosts: str) -> list[bool]:
    return [egress.refusal(host) is None for host in hosts]


def networks(*texts: str) -> EgressList:
    found = [network_of(text) for text in texts]
    return EgressList(networks=tuple(each for each in found if not isinstance(each, str)))


def test_what_a_list_permits() -> None:
    names = NamespaceEgress("red", (EgressList(("api.example.com", "*.example.org")),))
    assert permits(names, "api.example.com", "API.example.com.", "a.example.org", "a.b.example.org") == [True] * 4
    assert (
        permits(names, "example.org", "badexample.org", "x.api.example.com", "api.example.com.evil", "8.8.8.8")
        == [False] * 5
    )
    ranges = NamespaceEgress("red", (networks("8.8.8.0/24", "2001:4860::/32"),))
    assert permits(ranges, "8.8.8.8", "[2001:4860::1]", "::ffff:8.8.8.8", "dns.google") == [True] * 4
    assert permits(ranges, "8.8.4.4", "2a00::1") == [False, False]
    both = NamespaceEgress("red", (EgressList(("a.example", "b.example")), EgressList(("b.example", "c.example"))))
    assert permits(both, "a.example", "b.example", "c.example") == [False, True, False]
    assert permits(NamespaceEgress(), "anything.example") == [True]
    assert names.refusal("evil.example") == (
        "calls evil.example, which the egress list of the namespace 'red' does not permit; "
        "it has api.example.com, *.example.org"
    )
    assert host_key("[0:0::1]") == "::1"
    assert host_key("[::FFFF:192.0.2.7]") == host_key("::ffff:c000:207") == host_key("192.0.2.7")


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.com", "a.*.com", "http://a.com", "a.com:80", "a.com/x", "10.0.0.1", "0x7f.1", "-a.com", "ä.com"],
)
def test_entries_that_are_no_host(entry: str) -> None:
    assert host_entry_fault(entry) is not None


async def test_nobody_in_a_namespace_widens_what_was_narrowed_for_it(db: Database, lists: EgressLists) -> None:
    await lists.put("red", ["a.example", "b.example"], [], ROOT)
    found = await lists.put("red", ["B.example.", "evil.example"], [], RED)
    assert found.service is not None
    assert found.own is not None
    assert found.service.entries.hosts == ("a.example", "b.example")
    assert found.own.entries.hosts == ("b.example", "evil.example")
    egress = NamespaceEgress("red", (found.service.entries, found.own.entries))
    assert permits(egress, "a.example", "b.example", "evil.example") == [False, True, False]
    await lists.delete("red", RED)
    assert (await lists.get("red", RED)).service == found.service
    with pytest.raises(NotFound):
        await lists.delete("red", RED)  # what is left is not theirs to lift
    with pytest.raises(Forbidden):
        await lists.put("blue", ["a.example"], [], RED)
    for act in (lists.get("blue", RED), lists.delete("blue", RED)):
        with pytest.raises(NotFound):
            await act
    await lists.put("blue", ["a.example"], [], ROOT)
    assert [each.namespace for each in (await lists.list(RED)).items] == ["red"]
    page = await lists.list(ROOT, limit=1)
    assert [each.namespace for each in page.items] == ["blue"]
    assert [each.namespace for each in (await lists.list(ROOT, cursor=page.next_cursor)).items] == ["red"]
    said = await fetch(db, "SELECT action, entity_id, actor FROM audit_log WHERE entity = 'egress_list' ORDER BY id")
    assert said == [
        ("create", "red/service", "root"),
        ("create", "red/namespace", "red"),
        ("delete", "red/namespace", "red"),
        ("create", "blue/service", "root"),
    ]


async def test_bad_entries_are_all_named(lists: EgressLists) -> None:
    with pytest.raises(InvalidInput) as refused:
        await lists.put("red", ["ok.example", "http://x"], ["10.0.0.1/8", "::/0"], ROOT)
    assert [error.field for error in refused.value.errors] == ["hosts[1]", "networks[0]"]
    with pytest.raises(InvalidInput, match="DELETE lifts"):
        await lists.put("red", [], [], ROOT)
    with pytest.raises(InvalidInput, match="at most 200"):
        await lists.put("red", [f"h{number}.example" for number in range(201)], [], ROOT)


async def test_a_worker_keeps_to_a_list_that_came_after_the_job(
    db: Database, lists: EgressLists, api_call: ApiCall
) -> None:
    async with listening(always(answer(200, b"{}"))) as target:
        payload = json.dumps({"type": "API_CALL", "config": {"url": target.url}})
        mine = await runner(db, api_call)
        first, second = [await waiting(db, task_payload=payload, namespace=name) for name in ("red", "blue")]
        await lists.put("red", ["api.example.com"], ["10.0.0.0/8"], ROOT)
        await TargetHosts(db).trip("127.0.0.1", ROOT)  # a call that is refused anyway waits for nobody
        await attempt(mine, first)
        assert await state(db, first) == ("FAILED", "error", 1, 1)
        assert await outcomes(db, first) == [(1, "error")]
        (error,) = await one(db, "SELECT error FROM job_executions WHERE id = %s", first.execution_id)
        assert error["type"] == "egress_denied"
        assert "egress list of the namespace 'red'" in error["message"]
        assert not target.connections
        await TargetHosts(db).reset("127.0.0.1", ROOT)
        await attempt(await runner(db, api_call), second)
        assert (await state(db, second))[0] == "SUCCESS"
        await lists.put("red", [], ["127.0.0.0/8"], ROOT)
        third = await waiting(db, task_payload=payload, namespace="red")
        await attempt(await runner(db, api_call), third)
        assert (await state(db, third))[0] == "SUCCESS"
