"""Templates over HTTP: define, make jobs, change, and bring the jobs up to date, each under the rules for jobs."""

from dataclasses import replace
from typing import Any

import pytest

from cronsvc.errors import Conflict
from cronsvc.services.access import Caller, Role
from cronsvc.store.pool import Database
from cronsvc.web import template_handlers
from cronsvc.web.app import Services
from tests.support.rows import fetch, one
from tests.web.conftest import Client, reasons
from tests.web.test_rate_limits import NO_REDIS, limited

SYNC: dict[str, Any] = {
    "name": "sync",
    "description": "Every customer is synced alike.",
    "parameters": [
        {"name": "customer"},
        {"name": "hour", "type": "integer", "default": 6},
        {"name": "tries", "type": "integer", "default": 3, "choices": [1, 3, 5]},
    ],
    "definition": {
        "name": "sync-${customer}",
        "cronExpression": "30 ${hour} * * *",
        "maxAttempts": "${tries}",
        "group": "sync",
        "taskPayload": {"type": "API_CALL", "config": {"url": "https://api.example.com/${customer}"}},
    },
}
V1 = "/api/v1"


async def template(client: Client, **changes: Any) -> dict[str, Any]:
    response = await client.post(f"{V1}/templates", json={**SYNC, **changes})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{V1}/templates/{made['id']}" and response.headers["etag"] == '"1"'
    return made


async def job_of(client: Client, made: dict[str, Any], **body: Any) -> dict[str, Any]:
    response = await client.post(f"{V1}/templates/{made['id']}/jobs", json=body)
    assert response.status_code == 201, response.text
    job: dict[str, Any] = response.json()
    return job


async def changed(client: Client, made: dict[str, Any], **definition: Any) -> dict[str, Any]:
    body = {**SYNC, "definition": {**SYNC["definition"], **definition}}
    response = await client.send("PUT", f"{V1}/templates/{made['id']}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def apply(client: Client, made: dict[str, Any], **body: Any) -> dict[str, Any]:
    response = await client.post(f"{V1}/templates/{made['id']}/apply", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_job_from_a_template(admin: Client, db: Database) -> None:
    made = await template(admin)
    job = await job_of(admin, made, values={"customer": "acme", "tries": 5}, overrides={"tags": ["vip"]})
    assert (job["name"], job["cronExpression"], job["maxAttempts"]) == ("sync-acme", "30 6 * * *", 5)
    assert job["taskPayload"]["config"]["url"] == "https://api.example.com/acme"
    assert (job["group"], job["tags"]) == ("sync", ["vip"])
    assert (job["templateId"], job["templateRevision"], job["revision"]) == (made["id"], 1, 1)
    await admin.make_job(name="by hand")
    listed = (await admin.get(f"{V1}/jobs", params={"templateId": made["id"]})).json()
    assert [each["id"] for each in listed["items"]] == [job["id"]]
    assert (await admin.get(f"{V1}/templates/{made['id']}")).json()["jobs"] == 1
    audit = "SELECT action, entity, actor FROM audit_log WHERE entity IN ('template', 'job') ORDER BY id LIMIT 3"
    assert await fetch(db, audit) == [
        ("create", "template", "key:test-admin"),
        ("create", "job", "key:test-admin"),
        ("apply", "template", "key:test-admin"),
    ]


async def test_what_the_template_makes_meets_every_check_of_a_job(admin: Client, db: Database) -> None:
    made = await template(admin)
    path = f"{V1}/templates/{made['id']}/jobs"
    for body, field in (
        ({"values": {}}, "values.customer"),
        ({"values": {"customer": "a", "hour": "6"}}, "values.hour"),
        ({"values": {"customer": "a", "hour": 61}}, "cronExpression"),
        ({"values": {"customer": "a", "tries": 4}}, "values.tries"),
        ({"values": {"customer": "a"}, "overrides": {"id": 7}}, "id"),
        ({"values": {"customer": "a"}, "overrides": {"maxAttempts": 1000}}, "maxAttempts"),
        ({"values": {"customer": "{{secret:none}}"}}, "taskPayload.config.url"),
    ):
        response = await admin.post(path, json=body)
        assert (response.status_code, set(reasons(response))) == (422, {field}), (body, response.text)
    assert await one(db, "SELECT count(*) FROM jobs") == (0,)
    await job_of(admin, made, values={"customer": "a"})
    assert (await admin.post(path, json={"values": {"customer": "a"}})).status_code == 409


async def test_a_template_that_can_make_nothing_is_refused(operator: Client) -> None:
    for changes, field in (
        ({"definition": {"cron": "x"}}, "definition.cron"),
        ({"definition": {**SYNC["definition"], "queue": "${queue}"}}, "definition.queue"),
        ({"parameters": [], "definition": {"cronExpression": "* * * * *"}}, "definition.taskPayload"),
        ({"definition": {**SYNC["definition"], "revision": 3}}, "definition.revision"),
        ({"name": "a b"}, "name"),
        ({"parameters": [*SYNC["parameters"], {"name": "idle"}]}, "parameters.3"),
    ):
        response = await operator.post(f"{V1}/templates", json={**SYNC, **changes})
        assert (response.status_code, set(reasons(response))) == (422, {field}), response.text


async def test_a_change_reaches_jobs_only_when_applied_and_leaves_what_people_did(operator: Client) -> None:
    made = await template(operator)
    first, second = [await job_of(operator, made, values={"customer": each}) for each in ("a", "b")]
    await operator.send("PATCH", f"{V1}/jobs/{second['id']}", json={"description": "ours", "timeoutSeconds": 5})
    after = await changed(operator, made, timeoutSeconds=90, cronExpression="45 ${hour} * * *")
    assert (after["revision"], after["jobs"], after["behind"]) == (2, 2, 2)
    assert (await operator.get(f"{V1}/jobs/{first['id']}")).json() == first

    tried = await apply(operator, made, dryRun=True)
    assert (tried["matched"], tried["succeeded"], tried["failed"], tried["dryRun"]) == (2, 1, 1, True)
    assert tried["items"][0]["changed"] == ["cronExpression", "timeoutSeconds"]
    refused = tried["items"][1]
    assert (refused["status"], "timeoutSeconds" in refused["problem"]["detail"]) == (409, True)
    assert (await operator.get(f"{V1}/jobs/{first['id']}")).json() == first

    done = await apply(operator, made)
    assert [each["status"] for each in done["items"]] == [200, 409]
    job = (await operator.get(f"{V1}/jobs/{first['id']}")).json()
    assert (job["cronExpression"], job["timeoutSeconds"], job["templateRevision"]) == ("45 6 * * *", 90, 2)
    assert job["revision"] == first["revision"] + 1 and job["nextFireTime"].split("T")[1].startswith("06:45")

    done = await apply(operator, made, jobIds=[second["id"]], overwrite=True)
    assert done["items"][0]["changed"] == ["cronExpression", "timeoutSeconds"]
    job = (await operator.get(f"{V1}/jobs/{second['id']}")).json()
    assert (job["description"], job["timeoutSeconds"], job["templateRevision"]) == ("ours", 90, 2)
    assert (await apply(operator, made))["matched"] == 0


async def test_an_override_stays_and_a_new_parameter_must_be_given(operator: Client) -> None:
    made = await template(operator)
    job = await job_of(operator, made, name="mine", values={"customer": "a"}, overrides={"timeoutSeconds": 7})
    assert job["name"] == "mine"
    definition = {**SYNC["definition"], "timeoutSeconds": 90, "description": "for ${who}"}
    parameters = [*SYNC["parameters"], {"name": "who"}]
    body = {**SYNC, "parameters": parameters, "definition": definition}
    await operator.send("PUT", f"{V1}/templates/{made['id']}", json=body)
    missing = (await apply(operator, made))["items"][0]
    assert [each["field"] for each in missing["problem"]["errors"]] == ["values.who"]
    done = await apply(operator, made, values={"who": "us"})
    assert done["items"][0]["changed"] == ["description"]
    found = (await operator.get(f"{V1}/jobs/{job['id']}")).json()
    assert (found["name"], found["timeoutSeconds"], found["description"]) == ("mine", 7, "for us")


async def test_an_earlier_revision_is_never_applied_over_a_later_one(
    operator: Client, services: Services, db: Database
) -> None:
    made = await template(operator)
    job = await job_of(operator, made, values={"customer": "a"})
    caller = Caller("key:test", Role.OPERATOR)
    stale = await services.templates.get(made["id"], caller)
    before = await services.templates.applied(stale, job["id"], caller, values={})
    await changed(operator, made, timeoutSeconds=90)
    await apply(operator, made)
    with pytest.raises(Conflict, match="revision 2"):
        await services.templates.applied(stale, job["id"], caller, values={})
    # Whoever had looked before that finds out when the job is locked, and nothing is written.
    with pytest.raises(Conflict, match="later revision"):
        await services.jobs.edit(job["id"], lambda each: replace(each, description="x"), caller, use=before.use)
    found = (await operator.get(f"{V1}/jobs/{job['id']}")).json()
    assert (found["templateRevision"], found["description"], found["timeoutSeconds"]) == (2, "", 90)


async def test_what_a_template_runs_is_in_no_view(operator: Client, db: Database) -> None:
    payload = {"type": "API_CALL", "config": {"url": "https://api.example.com/", "headers": {"X-Key": "tell-nobody"}}}
    made = await template(operator, parameters=[], definition={"cronExpression": "@daily", "taskPayload": payload})
    await job_of(operator, made, name="a", overrides={"taskPayload": {"config": {"data": "tell-nobody"}}})
    assert await one(db, "SELECT count(*) FROM audit_log WHERE strpos(after::text, 'tell-nobody') > 0") == (2,)
    for view in ("audit", "templates", "jobs", "revisions"):
        found = await fetch(db, f"SELECT v::text FROM cronsvc_v1.{view} AS v")
        assert found and "tell-nobody" not in str(found), view


async def test_revisions_etags_and_deletion(operator: Client) -> None:
    made = await template(operator)
    job = await job_of(operator, made, values={"customer": "a"})
    path = f"{V1}/templates/{made['id']}"
    assert (await operator.send("PUT", path, json=SYNC)).json()["revision"] == 1  # the same: no revision
    stale = await operator.send("PUT", path, json={**SYNC, "description": "x"}, headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    good = await operator.send("PUT", path, json={**SYNC, "description": "x"}, headers={"If-Match": '"1"'})
    assert (good.status_code, good.headers["etag"]) == (200, '"2"')
    revisions = (await operator.get(f"{path}/revisions")).json()["items"]
    assert [(each["revision"], each["actor"]) for each in revisions] == [
        (2, "key:test-operator"),
        (1, "key:test-operator"),
    ]
    assert (await operator.post(f"{V1}/templates", json=SYNC)).status_code == 409
    assert (await operator.send("DELETE", path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await operator.send("DELETE", path)).status_code == 204
    assert (await operator.get(path)).status_code == 404
    assert (await operator.get(f"{V1}/jobs/{job['id']}")).json() == job
    await template(operator)  # the name is free again


async def test_the_link_is_read_only(operator: Client) -> None:
    job = await job_of(operator, await template(operator), values={"customer": "a"})
    path = f"{V1}/jobs/{job['id']}"
    assert (await operator.send("PUT", path, json={**job, "description": "x"})).status_code == 200
    for member in ("templateId", "templateRevision"):
        refused = await operator.send("PATCH", path, json={member: 99})
        assert set(reasons(refused)) == {member}


async def test_namespaces(services: Services, admin: Client, http: Any) -> None:
    async def key(name: str, **grant: Any) -> Client:
        return Client(http, await services.access.create_key(name=name, created_by="tests", **grant))

    red = await key("red", role=Role.OPERATOR, namespaces=["red"])
    blue = await key("blue", role=Role.OPERATOR, namespaces=["blue"])
    both = await key("both", role=Role.OPERATOR, namespaces=["red", "blue"])
    everybodys, reds = await template(admin), await template(red)
    assert (everybodys["namespace"], reds["namespace"]) == (None, "red")
    assert [each["id"] for each in (await blue.get(f"{V1}/templates")).json()["items"]] == [everybodys["id"]]
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", SYNC),
        ("DELETE", "", None),
        ("POST", "/jobs", {"values": {"customer": "a"}}),
        ("POST", "/apply", {}),
    ):
        response = await blue.send(method, f"{V1}/templates/{reds['id']}{path}", json=body)
        assert response.status_code == 404, (method, path)
    assert (await blue.send("PUT", f"{V1}/templates/{everybodys['id']}", json=SYNC)).status_code == 403
    assert (await both.post(f"{V1}/templates", json=SYNC)).status_code == 403
    mine = await job_of(blue, everybodys, values={"customer": "a"})
    theirs = await job_of(red, everybodys, values={"customer": "a"})
    assert (mine["namespace"], theirs["namespace"]) == ("blue", "red")
    elsewhere = await both.post(
        f"{V1}/templates/{reds['id']}/jobs", json={"namespace": "blue", "values": {"customer": "b"}}
    )
    assert set(reasons(elsewhere)) == {"namespace"}
    await changed(admin, everybodys, timeoutSeconds=90)
    done = await apply(blue, everybodys)
    assert [each["jobId"] for each in done["items"]] == [mine["id"]]
    other = await apply(blue, everybodys, jobIds=[theirs["id"]])
    assert other["items"][0]["status"] == 404


async def test_applying_never_moves_a_job(admin: Client) -> None:
    made = await template(admin)
    job = await job_of(admin, made, name="mine", values={"customer": "acme"})
    await changed(admin, made, namespace="blue", timeoutSeconds=90)
    for body in ({"dryRun": True}, {}, {"overwrite": True, "jobIds": [job["id"]]}):
        assert [each["status"] for each in (await apply(admin, made, **body))["items"]] == [200]
        assert (await admin.get(f"{V1}/jobs/{job['id']}")).json()["namespace"] == job["namespace"] != "blue"
    assert (await admin.get(f"{V1}/jobs/{job['id']}")).json()["timeoutSeconds"] == 90

    # Nor does what a namespace's own operators write reach a job that was moved away from them.
    reds = await template(admin, namespace="red")
    moved = await job_of(admin, reds, values={"customer": "b"})
    assert (await admin.send("PATCH", f"{V1}/jobs/{moved['id']}", json={"namespace": "blue"})).status_code == 200
    await changed(admin, reds, timeoutSeconds=90)
    refused = (await apply(admin, reds, overwrite=True))["items"][0]
    assert (refused["status"], "is in blue" in refused["problem"]["detail"]) == (409, True)
    assert (await admin.get(f"{V1}/jobs/{moved['id']}")).json()["timeoutSeconds"] == moved["timeoutSeconds"]


async def test_a_template_of_a_namespace_names_no_other(admin: Client) -> None:
    made = await template(admin, namespace="red")
    for namespace in ("blue", "${customer}"):
        body = {**SYNC, "namespace": "red", "definition": {**SYNC["definition"], "namespace": namespace}}
        for response in (
            await admin.send("PUT", f"{V1}/templates/{made['id']}", json=body),
            await admin.post(f"{V1}/templates", json={**body, "name": "another"}),
        ):
            assert (response.status_code, set(reasons(response))) == (422, {"definition.namespace"}), response.text
    await changed(admin, made, namespace="red")


async def test_a_template_takes_the_role_of_its_type(admin: Client, operator: Client) -> None:
    made = await template(operator)
    sql = {"type": "SQL", "config": {"statement": "SELECT '${customer}'"}}
    kind, whole = {"name": "kind", "default": "API_CALL"}, {"name": "kind", "type": "object", "default": sql}
    for payload, more in ((sql, []), ({**sql, "type": "${kind}"}, [kind]), ("${kind}", [whole])):
        definition = {**SYNC["definition"], "taskPayload": payload}
        body = {**SYNC, "parameters": [*SYNC["parameters"], *more], "definition": definition}
        for method, path in (("PUT", f"{V1}/templates/{made['id']}"), ("POST", f"{V1}/templates")):
            refused = await operator.send(method, path, json={**body, "name": method.lower()})
            assert (refused.status_code, "takes the role admin" in refused.json()["detail"]) == (403, True), payload
        assert (await admin.send("PUT", f"{V1}/templates/{made['id']}", json=body)).status_code == 200
        # What an admin has written is not an operator's to change, as such a job would not be.
        assert (await operator.send("PUT", f"{V1}/templates/{made['id']}", json=SYNC)).status_code == 403
        assert (await admin.send("PUT", f"{V1}/templates/{made['id']}", json=SYNC)).status_code == 200


async def test_jobs_that_are_refused_do_not_hold_up_the_others(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_handlers, "MOST_ITEMS", 2)
    made = await template(operator)
    jobs = [(await job_of(operator, made, values={"customer": each}))["id"] for each in "abc"]
    for job_id in jobs[:2]:
        await operator.send("PATCH", f"{V1}/jobs/{job_id}", json={"timeoutSeconds": 5})
    await changed(operator, made, timeoutSeconds=90)
    first = await apply(operator, made)
    assert ([each["status"] for each in first["items"]], first["more"]) == ([409, 409], True)
    assert first["nextAfterJobId"] == jobs[1]
    rest = await apply(operator, made, afterJobId=first["nextAfterJobId"])
    assert [(each["jobId"], each["status"]) for each in rest["items"]] == [(jobs[2], 200)]
    assert (rest["more"], rest["nextAfterJobId"]) == (False, None)
    both = await operator.post(f"{V1}/templates/{made['id']}/apply", json={"jobIds": jobs, "afterJobId": jobs[0]})
    assert set(reasons(both)) == {"afterJobId"}


async def test_where_the_minute_was_full_is_where_it_goes_on(services: Services, operator: Client) -> None:
    made = await template(operator)
    jobs = [(await job_of(operator, made, values={"customer": each}))["id"] for each in "abc"]
    await changed(operator, made, timeoutSeconds=90)
    async with limited(services, NO_REDIS, operator.key, writes=2) as client:
        first = await apply(client, made)
    assert [each["status"] for each in first["items"]] == [200, 200, 429]
    assert (first["more"], first["nextAfterJobId"]) == (True, jobs[1])
    rest = await apply(operator, made, afterJobId=first["nextAfterJobId"])
    assert [each["jobId"] for each in rest["items"]] == jobs[2:] and not rest["more"]


@pytest.mark.parametrize("sort", ["id", "-id", "name", "-name"])
async def test_orders(operator: Client, sort: str) -> None:
    names = ["b", "a", "c"]
    for name in names:
        await template(operator, name=name)
    found = (await operator.get(f"{V1}/templates", params={"sort": sort})).json()["items"]
    expected = sorted(names) if sort.endswith("name") else names
    assert [each["name"] for each in found] == (expected[::-1] if sort.startswith("-") else expected)
