"""POST /jobs/bulk: each job has its own result, and none of them anybody else's rights."""

from typing import Any

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import fetch, one
from tests.web.conftest import PLAIN_JOB, Client, reasons

BULK = "/api/v1/jobs/bulk"


async def bulk(client: Client, action: str, **body: Any) -> dict[str, Any]:
    response = await client.post(BULK, json={"action": action, **body})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found["matched"] == len(found["items"]) == found["succeeded"] + found["failed"]
    assert [item["index"] for item in found["items"]] == list(range(found["matched"]))
    return found


def statuses(found: dict[str, Any]) -> list[int]:
    return [item["status"] for item in found["items"]]


async def test_one_bad_job_keeps_no_other_from_being_made(operator: Client, db: Database) -> None:
    made = [PLAIN_JOB, {**PLAIN_JOB, "cronExpression": "never"}, PLAIN_JOB, {"nonsense": 1}, {**PLAIN_JOB, "name": "b"}]
    found = await bulk(operator, "create", jobs=made)
    assert statuses(found) == [201, 422, 409, 422, 201]
    assert (found["succeeded"], found["failed"]) == (2, 3)
    assert [error["field"] for error in found["items"][1]["problem"]["errors"]] == ["cronExpression"]
    assert found["items"][2]["problem"]["type"] == "/problems/conflict"
    ids = [item["jobId"] for item in found["items"]]
    assert ids[1:4] == [None, None, None]
    assert await fetch(db, "SELECT id::int FROM jobs ORDER BY id") == [(ids[0],), (ids[4],)]
    assert await one(db, "SELECT count(*), min(actor) FROM audit_log WHERE entity = 'job'") == (2, "key:test-operator")


async def test_every_act_by_ids_or_selector(operator: Client, db: Database) -> None:
    tagged = {"tags": ["a", "b"]}
    ids = [(await operator.make_job(name=f"night {n}", **(tagged if n else {"tags": ["a"]})))["id"] for n in range(3)]
    other = (await operator.make_job(name="day"))["id"]
    found = await bulk(operator, "pause", selector={"tags": ["b", "a"]}, note="later")
    assert [item["jobId"] for item in found["items"]] == ids[1:]
    assert await one(db, "SELECT count(*) FROM jobs WHERE pause_note = 'later'") == (2,)
    assert statuses(await bulk(operator, "resume", selector={"namePrefix": "night"})) == [200] * 3
    found = await bulk(
        operator, "update", selector={"namespace": "default", "namePrefix": "ni"}, patch={"priority": "high"}
    )
    assert statuses(found) == [200] * 3
    assert await one(db, "SELECT count(DISTINCT revision), count(*) FROM jobs WHERE revision = 2") == (1, 3)
    found = await bulk(operator, "trigger", jobIds=[ids[0], other, 2**40, ids[0]], params={"data": {"x": 1}})
    assert statuses(found) == [202, 202, 404]
    begun = [item["executionId"] for item in found["items"][:2]]
    assert await fetch(db, "SELECT id::int FROM job_executions ORDER BY id") == [(each,) for each in begun]
    assert statuses(await bulk(operator, "delete", jobIds=ids)) == [204] * 3
    assert await one(db, "SELECT count(*) FROM jobs WHERE deleted_at IS NULL") == (1,)


async def test_dry_run_makes_every_check_and_changes_nothing(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    paused = await operator.make_job(name="paused")
    await operator.post(f"/api/v1/jobs/{paused['id']}/pause")
    ids = [job["id"], paused["id"], 2**40]
    everything = "SELECT (SELECT jsonb_agg(j ORDER BY id) FROM jobs j), (SELECT count(*) FROM job_revisions),"
    everything += " (SELECT count(*) FROM audit_log), (SELECT count(*) FROM job_executions)"
    before = await fetch(db, everything)
    acts: dict[str, Any] = {"pause": {}, "resume": {}, "trigger": {}, "delete": {}, "update": {"patch": {"name": "x"}}}
    for action, options in acts.items():
        found = await bulk(operator, action, jobIds=ids, dryRun=True, **options)
        assert (found["dryRun"], found["succeeded"], found["failed"]) == (True, 2, 1), action
    found = await bulk(operator, "create", jobs=[PLAIN_JOB, {**PLAIN_JOB, "name": "new"}], dryRun=True)
    assert statuses(found) == [409, 201]
    taken = await bulk(operator, "update", jobIds=[job["id"]], patch={"name": "paused"}, dryRun=True)
    assert statuses(taken) == [409]
    assert await fetch(db, everything) == before


async def test_each_job_asks_for_the_rights_it_asks_for_alone(
    operator: Client, admin: Client, viewer: Client, http: httpx2.AsyncClient, services: Services, db: Database
) -> None:
    sql = {**PLAIN_JOB, "name": "sql", "taskPayload": {"type": "SQL", "config": {"statement": "SELECT 1"}}}
    found = await bulk(operator, "create", jobs=[sql, {**PLAIN_JOB, "namespace": "red"}, PLAIN_JOB])
    assert statuses(found) == [403, 201, 201]
    text = await services.access.create_key(name="red", role=Role.OPERATOR, created_by="t", namespaces=("red",))
    red = Client(http, text)
    ids = [item["jobId"] for item in found["items"][1:]]
    assert statuses(await bulk(red, "delete", jobIds=ids, dryRun=True)) == [204, 404]
    assert statuses(await bulk(red, "create", jobs=[{**PLAIN_JOB, "name": "x", "namespace": "blue"}])) == [403]
    moved = await bulk(red, "update", jobIds=ids, patch={"namespace": "blue"})
    assert statuses(moved) == [403, 404]
    assert (await bulk(red, "delete", selector={"namePrefix": PLAIN_JOB["name"]}))["matched"] == 1
    assert (await bulk(red, "pause", selector={"namespace": "default"}))["matched"] == 0
    assert await one(db, "SELECT count(*) FROM jobs WHERE deleted_at IS NULL") == (1,)
    assert (await viewer.post(BULK, json={"action": "delete", "jobIds": ids})).status_code == 403
    mixed = await services.access.create_key(
        name="mixed", roles={"default": Role.VIEWER, "red": Role.OPERATOR}, created_by="t"
    )
    assert statuses(await bulk(Client(http, mixed), "pause", jobIds=ids)) == [404, 404]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"action": "explode"}, {"action"}),
        ({"action": "delete"}, {"jobIds"}),
        ({"action": "delete", "jobIds": [1], "selector": {"tags": ["a"]}}, {"jobIds"}),
        ({"action": "delete", "selector": {}}, {"selector"}),
        ({"action": "delete", "selector": {"tags": []}}, {"tags"}),
        ({"action": "delete", "selector": {"tags": ["a"], "group": None}}, {"selector.group"}),
        ({"action": "create"}, {"jobs"}),
        ({"action": "update", "jobIds": [1]}, {"patch"}),
        ({"action": "pause", "jobIds": [1], "patch": {}}, {"patch"}),
        ({"action": "pause", "jobIds": list(range(1, 1002))}, {"jobIds"}),
        ({"action": "create", "jobs": [{}] * 1001}, {"jobs"}),
        ({"action": "create", "jobs": [{}], "jobIds": [1]}, {"jobIds"}),
    ],
)
async def test_what_cannot_be_asked(operator: Client, body: dict[str, Any], fields: set[str]) -> None:
    response = await operator.post(BULK, json=body)
    assert (response.status_code, set(reasons(response))) == (422, fields)


async def test_a_selector_of_too_many_changes_nothing(operator: Client, db: Database) -> None:
    await operator.make_job()
    await fetch(
        db,
        "INSERT INTO jobs (name, cron_expression, task_payload) SELECT 'n' || n, '0 0 * * *', task_payload"
        " FROM jobs, generate_series(1, 1000) AS n RETURNING 1",
    )
    response = await operator.post(BULK, json={"action": "delete", "selector": {"namespace": "default"}})
    assert (response.status_code, set(reasons(response))) == (422, {"selector"})
    assert await one(db, "SELECT count(*) FROM jobs WHERE deleted_at IS NULL") == (1001,)


async def test_the_same_key_again_changes_nothing_again(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    body = {"action": "trigger", "jobIds": [job["id"], job["id"] + 1]}
    answers = [await operator.post(BULK, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert await one(db, "SELECT count(*) FROM job_executions") == (1,)
