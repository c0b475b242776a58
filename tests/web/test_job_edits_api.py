"""PUT, PATCH and DELETE: whole documents, merge patches, read-only members and If-Match."""

import asyncio
import itertools
from typing import Any

from tests.web.conftest import PLAIN_JOB, Client, reasons


async def test_a_whole_document_can_be_read_changed_and_put_back(operator: Client) -> None:
    job = await operator.make_job(tags=["a"], backoff={"type": "linear", "delaySeconds": 1})
    path = f"/api/v1/jobs/{job['id']}"
    same = await operator.send("PUT", path, json=job)
    assert same.status_code == 200, same.text
    assert same.json() == job  # the same definition makes no revision

    job["description"] = "changed"
    job["nextFireTime"] = "2020-01-01T00:00:00Z"  # moved by firing since: not ours to judge
    changed = (await operator.send("PUT", path, json=job)).json()
    assert (changed["description"], changed["revision"], changed["tags"]) == ("changed", 2, ["a"])

    shorter = {**PLAIN_JOB, "cronExpression": "0 10 * * *"}
    replaced = (await operator.send("PUT", path, json=shorter)).json()
    assert (replaced["description"], replaced["tags"], replaced["revision"]) == ("", [], 3)
    assert replaced["nextFireTime"].endswith("T10:00:00Z")


async def test_a_document_made_from_an_older_revision_is_refused(operator: Client) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}"
    assert (await operator.send("PATCH", path, json={"description": "newer"})).status_code == 200
    stale = await operator.send("PUT", path, json={**job, "description": "older"})
    assert stale.status_code == 412
    assert stale.json()["type"] == "/problems/precondition-failed"
    assert (await operator.get(path)).json()["description"] == "newer"


IF_MATCH = [
    ('"1"', 200),
    ("*", 200),
    ('"7", "1"', 200),
    ('"2"', 412),
    ('W/"1"', 412),
    ('"x"', 412),
    ("1", 422),
    ('"1', 422),
]


async def test_if_match_guards_every_change(operator: Client) -> None:
    for number, (method, (if_match, status)) in enumerate(itertools.product(("PUT", "PATCH", "DELETE"), IF_MATCH)):
        job = await operator.make_job(name=f"job {number}")
        body = {"json": {**PLAIN_JOB, "name": f"job {number}", "description": "x"}} if method != "DELETE" else {}
        response = await operator.send(method, f"/api/v1/jobs/{job['id']}", headers={"If-Match": if_match}, **body)
        wanted = 204 if (method, status) == ("DELETE", 200) else status
        assert response.status_code == wanted, (method, if_match, response.text)
        present = await operator.get(f"/api/v1/jobs/{job['id']}")
        changed = present.status_code == 404 or present.json()["description"] == "x"
        assert changed is (status == 200), (method, if_match)


async def test_read_only_members_may_stay_but_not_change(operator: Client) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}"
    others: dict[str, tuple[Any, str]] = {
        "id": (job["id"] + 1, "given by cronsvc"),
        "createdAt": ("2001-01-01T00:00:00Z", "set by cronsvc"),
        "pause": ({"by": "me"}, "POST"),
    }
    for method, (member, (other, words)) in itertools.product(("PUT", "PATCH"), others.items()):
        base = job if method == "PUT" else {}
        same = await operator.send(method, path, json={**base, member: job[member]})
        assert same.status_code == 200, same.text
        response = await operator.send(method, path, json={**base, member: other})
        assert response.status_code == 422
        assert words in reasons(response)[member]
    assert (await operator.get(path)).json()["revision"] == 1


async def test_a_patch_cannot_set_what_firing_moves(operator: Client) -> None:
    job = await operator.make_job()
    response = await operator.send("PATCH", f"/api/v1/jobs/{job['id']}", json={"nextFireTime": "2030-01-01T00:00:00Z"})
    assert "follows from the schedule" in reasons(response)["nextFireTime"]


async def test_a_merge_patch_merges_deeply_and_null_means_default(operator: Client) -> None:
    job = await operator.make_job(description="old", backoff={"factor": 3.0})
    path = f"/api/v1/jobs/{job['id']}"
    patch = {
        "description": None,
        "backoff": {"delaySeconds": 7},
        "taskPayload": {"config": {"headers": None, "data": {"extra": [1]}}},
    }
    headers = {"Content-Type": "application/merge-patch+json"}
    patched = (await operator.send("PATCH", path, json=patch, headers=headers)).json()
    assert patched["description"] == ""
    assert (patched["backoff"]["factor"], patched["backoff"]["delaySeconds"]) == (3.0, 7.0)
    config = patched["taskPayload"]["config"]
    assert config["data"] == {"reportType": "daily", "extra": [1]}
    assert "headers" not in config
    assert config["url"] == PLAIN_JOB["taskPayload"]["config"]["url"]


async def test_a_patch_that_adds_a_second_schedule_says_what_to_do(operator: Client) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}"
    refused = await operator.send("PATCH", path, json={"every": "PT5M"})
    assert reasons(refused)["every"] == "the job has cronExpression; set that to null in the same patch"
    done = await operator.send("PATCH", path, json={"every": "PT5M", "cronExpression": None})
    assert (done.json()["every"], done.json()["cronExpression"]) == ("PT5M", None)


async def test_concurrent_patches_of_different_members_all_hold(operator: Client) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}"
    patches: list[dict[str, Any]] = [
        {"description": "d"},
        {"tags": ["t"]},
        {"maxAttempts": 9},
        {"timeoutSeconds": 9},
        {"taskPayload": {"config": {"data": {"a": 1}}}},
    ]
    answers = await asyncio.gather(*(operator.send("PATCH", path, json=patch) for patch in patches))
    assert {answer.status_code for answer in answers} == {200}
    after = (await operator.get(path)).json()
    assert (after["description"], after["tags"], after["maxAttempts"], after["timeoutSeconds"]) == ("d", ["t"], 9, 9)
    assert after["taskPayload"]["config"]["data"] == {"reportType": "daily", "a": 1}
    assert after["revision"] == 6
