"""/api/v1/secrets: values go in, names come out."""

import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import one
from tests.web.conftest import Client, reasons

VALUE = "hunter2-hunter2"


async def test_a_secret_from_its_first_value_to_its_end(admin: Client, operator: Client) -> None:
    made = await admin.send("PUT", "/api/v1/secrets/token", json={"value": VALUE})
    assert made.status_code == 200
    assert (made.json()["version"], made.json()["namespace"], made.json()["lastUsedAt"]) == (1, "default", None)
    assert (await admin.send("PUT", "/api/v1/secrets/token", json={"value": VALUE})).json()["version"] == 2
    listed = await operator.get("/api/v1/secrets")
    assert [each["name"] for each in listed.json()["items"]] == ["token"]
    assert VALUE not in made.text + listed.text
    assert (await admin.send("DELETE", "/api/v1/secrets/token")).status_code == 204
    assert (await admin.send("DELETE", "/api/v1/secrets/token")).status_code == 404


async def test_who_may(viewer: Client, operator: Client, admin: Client, nobody: Client) -> None:
    body = {"value": VALUE}
    assert (await viewer.get("/api/v1/secrets")).status_code == 403
    for client, status in ((nobody, 401), (viewer, 403), (operator, 403), (admin, 200)):
        assert (await client.send("PUT", "/api/v1/secrets/token", json=body)).status_code == status
    for client, status in ((nobody, 401), (viewer, 403), (operator, 403), (admin, 204)):
        assert (await client.send("DELETE", "/api/v1/secrets/token")).status_code == status


async def test_an_admin_of_one_namespace(services: Services, admin: Client) -> None:
    key = await services.access.create_key(name="red", role=Role.ADMIN, namespaces=["red"], created_by="tests")
    red = Client(admin.http, key)
    assert (await red.send("PUT", "/api/v1/secrets/token", json={"value": VALUE})).json()["namespace"] == "red"
    elsewhere = await red.send("PUT", "/api/v1/secrets/token?namespace=default", json={"value": VALUE})
    assert elsewhere.status_code == 403
    assert (await red.get("/api/v1/secrets?namespace=default")).json()["items"] == []
    assert (await red.send("DELETE", "/api/v1/secrets/token?namespace=default")).status_code == 404
    assert (await admin.send("DELETE", "/api/v1/secrets/token?namespace=red")).status_code == 204


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("token", {"value": "abc"}, "value"),
        ("token", {"value": 5}, "value"),
        ("token", {}, "value"),
        ("token", {"value": VALUE, "other": 1}, "other"),
        ("a%20b", {"value": VALUE}, "name"),
        ("token?namespace=a%20b", {"value": VALUE}, "namespace"),
        ("token?namespaec=red", {"value": VALUE}, "namespaec"),
    ],
)
async def test_what_is_refused_is_named_and_never_repeated(
    admin: Client, path: str, body: dict[str, object], field: str
) -> None:
    response = await admin.send("PUT", f"/api/v1/secrets/{path}", json=body)
    assert response.status_code == 422
    assert list(reasons(response)) == [field]
    assert VALUE not in response.text


async def test_pages_of_secrets(admin: Client) -> None:
    for name in ("a", "b", "c"):
        await admin.send("PUT", f"/api/v1/secrets/{name}", json={"value": VALUE})
    first = (await admin.get("/api/v1/secrets?limit=2")).json()
    second = (await admin.get(f"/api/v1/secrets?limit=2&cursor={first['nextCursor']}")).json()
    assert [each["name"] for each in (*first["items"], *second["items"])] == ["a", "b", "c"]
    assert second["nextCursor"] is None


async def test_a_job_that_names_an_unknown_secret_is_refused(admin: Client, db: Database) -> None:
    payload = {"type": "API_CALL", "config": {"url": "https://h.example/", "headers": {"X": "{{secret:token}}"}}}
    body = {"name": "needy", "cronExpression": "0 9 * * *", "taskPayload": payload}
    refused = await admin.post("/api/v1/jobs", json=body)
    assert refused.status_code == 422
    assert reasons(refused) == {"taskPayload.config.headers.X": "there is no secret 'token' in the namespace 'default'"}
    await admin.send("PUT", "/api/v1/secrets/token", json={"value": VALUE})
    made = await admin.post("/api/v1/jobs", json=body)
    assert made.status_code == 201
    assert made.json()["taskPayload"] == payload  # the reference, and so it can be put back
    (stored,) = await one(db, "SELECT task_payload FROM jobs")
    assert stored == payload
