"""Groups: what there is of each, and acts on a whole group by the selectors of acts on many jobs."""

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import fetch
from tests.web.conftest import Client, reasons

V1 = "/api/v1"


async def test_what_there_is_of_a_group(operator: Client, db: Database) -> None:
    jobs = [await operator.make_job(name=f"job {each}", group="reports") for each in range(3)]
    await operator.make_job(name="off", group="reports", isActive=False)
    await operator.make_job(name="other", group="reports", namespace="other")
    await operator.make_job(name="alone")
    await operator.post(f"{V1}/jobs/{jobs[0]['id']}/pause")
    for job, status in ((jobs[1], "FAILED"), (jobs[2], "SUCCESS")):
        await fetch(
            db,
            "INSERT INTO job_executions (job_id, scheduled_time, status, end_time) VALUES"
            f" ({job['id']}, date_trunc('hour', now()) - interval '{job['id']} s', '{status}', now()) RETURNING 1",
        )
        await fetch(
            db,
            "UPDATE jobs SET last_fire_time = date_trunc('hour', now()) - id * interval '1 s'"
            f" WHERE id = {job['id']} RETURNING 1",
        )
    items = (await operator.get(f"{V1}/groups")).json()["items"]
    assert [(each["name"], each["namespace"], each["jobs"]) for each in items] == [
        ("reports", "default", 4),
        ("reports", "other", 1),
    ]
    found = items[0]
    counts = {name: found[name] for name in ("active", "paused", "inactive", "quarantined", "failing")}
    assert counts == {"active": 2, "paused": 1, "inactive": 1, "quarantined": 0, "failing": 1}
    assert found["lastStatus"] == "FAILED"  # of the later of the two
    assert found["nextFireTime"] == jobs[1]["nextFireTime"]


async def test_a_group_is_a_filter_and_a_selector(operator: Client) -> None:
    mine = [(await operator.make_job(name=f"job {each}", group="reports"))["id"] for each in range(2)]
    other = (await operator.make_job(name="other", group="sync"))["id"]
    listed = (await operator.get(f"{V1}/jobs", params={"group": "reports", "sort": "id"})).json()["items"]
    assert [each["id"] for each in listed] == mine
    held = (await operator.post(f"{V1}/jobs/pause", json={"group": "reports"})).json()
    assert (held["matched"], held["changed"]) == (2, 2)
    assert (await operator.get(f"{V1}/jobs/{other}")).json()["pause"] is None
    assert (await operator.post(f"{V1}/jobs/resume", json={"group": "reports"})).json()["changed"] == 2
    ran = (await operator.post(f"{V1}/jobs/bulk", json={"action": "trigger", "selector": {"group": "reports"}})).json()
    assert [each["jobId"] for each in ran["items"]] == mine and ran["failed"] == 0
    patch = {"action": "update", "selector": {"group": "sync"}, "patch": {"group": None}}
    assert (await operator.post(f"{V1}/jobs/bulk", json=patch)).json()["succeeded"] == 1
    assert [each["name"] for each in (await operator.get(f"{V1}/groups")).json()["items"]] == ["reports"]


async def test_a_group_has_a_plain_name_and_belongs_to_the_definition(operator: Client, db: Database) -> None:
    job = await operator.make_job(group="a")
    refused = await operator.send("PATCH", f"{V1}/jobs/{job['id']}", json={"group": "a b"})
    assert set(reasons(refused)) == {"group"}
    changed = (await operator.send("PATCH", f"{V1}/jobs/{job['id']}", json={"group": "b"})).json()
    assert (changed["group"], changed["revision"]) == ("b", 2)
    found = (await operator.get(f"{V1}/jobs/{job['id']}/revisions")).json()["items"]
    assert [each["definition"]["group"] for each in found] == ["b", "a"]
    # By SQL it is a change like any other.
    await fetch(db, "UPDATE jobs SET job_group = 'c' RETURNING 1")
    assert (await operator.get(f"{V1}/jobs/{job['id']}")).json()["revision"] == 3


async def test_groups_page_both_ways_within_reach(operator: Client, services: Services) -> None:
    for name in ("b", "a", "c"):
        await operator.make_job(name=name, group=name, namespace="red")
        await operator.make_job(name=name, group=name, namespace="blue")
    for sort, expected in (("name", "aabbcc"), ("-name", "ccbbaa")):
        cursor: dict[str, str] = {}
        found = []
        for _ in range(6):
            page = (await operator.get(f"{V1}/groups", params={"sort": sort, "limit": "1", **cursor})).json()
            found += page["items"]
            cursor = {"cursor": page["nextCursor"] or ""}
        assert page["nextCursor"] is None
        assert "".join(each["name"] for each in found) == expected
        assert len({(each["name"], each["namespace"]) for each in found}) == 6
    key = await services.access.create_key(name="red", role=Role.VIEWER, namespaces=["red"], created_by="tests")
    reds = (await Client(operator.http, key).get(f"{V1}/groups")).json()["items"]
    assert {each["namespace"] for each in reds} == {"red"} and len(reds) == 3
    assert (await Client(operator.http, key).get(f"{V1}/groups", params={"namespace": "blue"})).json()["items"] == []
