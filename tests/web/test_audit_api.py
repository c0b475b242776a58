"""/api/v1/audit by HTTP: pages, files, the chain, and the request that an entry came with."""

import csv
import io
import json
import re

import psycopg

from cronsvc.services.access import Role
from cronsvc.services.auditing import seal_audit
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.web.conftest import Client, reasons


async def test_an_entry_names_its_request_and_where_it_came_from(admin: Client) -> None:
    job = await admin.make_job(name="watched")
    changed = await admin.send(
        "PATCH",
        f"/api/v1/jobs/{job['id']}",
        json={"description": "new"},
        headers={"X-Request-Id": "change-0001", "Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200
    found = (await admin.get("/api/v1/audit", params={"requestId": "change-0001"})).json()
    (entry,) = found["items"]
    assert (entry["actor"], entry["source"], entry["action"]) == ("key:test-admin", "198.51.100.7", "update")
    assert (entry["entity"], entry["entityId"], entry["namespace"]) == ("job", str(job["id"]), "default")
    assert (entry["before"]["description"], entry["after"]["description"]) == ("", "new")
    assert entry["place"] is None and found["nextCursor"] is None


async def test_filters_and_pages(admin: Client) -> None:
    jobs = [await admin.make_job(name=f"job-{n}") for n in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"entity": "job", "action": "create", "limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await admin.get("/api/v1/audit", params=params)).json()
        seen += [entry["entityId"] for entry in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == [str(job["id"]) for job in reversed(jobs)]
    third = (await admin.get("/api/v1/audit", params={"entityId": str(jobs[2]["id"]), "entity": "job"})).json()
    at = third["items"][0]["at"]
    since = (await admin.get("/api/v1/audit", params={"from": at, "entity": "job"})).json()["items"]
    until = (await admin.get("/api/v1/audit", params={"to": at, "entity": "job"})).json()["items"]
    assert [each["entityId"] for each in since] == [str(job["id"]) for job in reversed(jobs[2:])]
    assert [each["entityId"] for each in until] == [str(job["id"]) for job in reversed(jobs[:2])]
    nothing: list[dict[str, str]] = [{"actor": "key:nobody"}, {"namespace": "empty"}, {"action": "delete"}]
    for params in nothing:
        assert (await admin.get("/api/v1/audit", params=params)).json() == {"items": [], "nextCursor": None}


async def test_bad_questions_are_named(admin: Client) -> None:
    for path, params, field in (
        ("", {"from": "yesterday"}, "from"),
        ("", {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"),
        ("", {"cursor": "x"}, "cursor"),
        ("", {"limit": "201"}, "limit"),
        ("/export", {"limit": "100001"}, "limit"),
        ("/export", {"format": "xml"}, "format"),
        ("/export", {"afterId": "424242"}, "afterId"),
        ("/verify", {"cursor": "x"}, "cursor"),
        ("/verify", {"anchor": "x"}, "anchor"),
    ):
        response = await admin.get(f"/api/v1/audit{path}", params=params)
        assert response.status_code == 422, (path, params, response.text)
        assert field in reasons(response)


async def test_a_namespace_is_a_wall(services: Services, admin: Client, db: Database) -> None:
    await admin.make_job(name="a", namespace="red")
    await admin.make_job(name="b", namespace="blue")
    key = await services.access.create_key(name="red", roles={"red": Role.ADMIN}, created_by="tests")
    red = Client(admin.http, key)
    assert {each["namespace"] for each in (await red.get("/api/v1/audit")).json()["items"]} == {"red"}
    await seal_audit(db)
    lines = (await red.get("/api/v1/audit/export")).text.splitlines()
    assert lines
    assert {json.loads(line)["namespace"] for line in lines} == {"red"}
    assert (await red.get("/api/v1/audit/verify")).status_code == 403


async def test_the_same_entries_as_lines_and_as_a_table(admin: Client, db: Database) -> None:
    for name in ("plain", "=HYPERLINK(1)", 'with "quotes", and ä'):
        await admin.make_job(name=name)
    await seal_audit(db)
    await admin.make_job(name="not sealed yet")
    response = await admin.get("/api/v1/audit/export", params={"entity": "job"})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["content-disposition"] == 'attachment; filename="audit.ndjson"'
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["after"]["name"] for line in lines] == ["plain", "=HYPERLINK(1)", 'with "quotes", and ä']
    table = await admin.get("/api/v1/audit/export", params={"entity": "job", "format": "csv"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [int(row["id"]) for row in rows] == [line["id"] for line in lines]
    assert [json.loads(row["after"]) for row in rows] == [line["after"] for line in lines]
    rest = await admin.get("/api/v1/audit/export", params={"entity": "job", "afterId": str(lines[1]["id"])})
    assert [json.loads(line)["id"] for line in rest.text.splitlines()] == [lines[2]["id"]]


async def test_sealing_that_stands_still_shows_in_the_metrics(admin: Client, db: Database) -> None:
    await admin.make_job()

    async def measured(name: str) -> float:
        found = re.search(rf"^cronsvc_{name} (\S+)$", (await admin.get("/metrics")).text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    assert await measured("audit_waiting") > 0
    assert await measured("audit_waiting_seconds") > 0
    await seal_audit(db)
    assert await measured("audit_waiting") == await measured("audit_waiting_seconds") == 0


async def test_verify_tells_the_head_and_the_first_broken_entry(admin: Client, db: Database, database_url: str) -> None:
    job = await admin.make_job()
    before = (await admin.get("/api/v1/audit/verify")).json()
    assert before["intact"] and before["head"]["waiting"] > 0 and before["head"]["anchor"] is None
    await seal_audit(db)
    good = (await admin.get("/api/v1/audit/verify")).json()
    assert good["unusedIds"] == 0
    assert good["intact"] and good["broken"] is None and good["nextCursor"] is None and good["head"]["waiting"] == 0
    anchor = good["head"]["anchor"]
    assert anchor == f"{good['head']['place']}:{good['head']['hash']}"
    (entry,) = (await admin.get("/api/v1/audit", params={"entity": "job"})).json()["items"]
    assert entry["place"] is not None and len(entry["hash"]) == 64
    async with await psycopg.AsyncConnection.connect(database_url) as conn:
        await conn.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        await conn.execute("UPDATE audit_log SET after = '{}' WHERE id = %s", (entry["id"],))
    broken = (await admin.get("/api/v1/audit/verify", params={"anchor": anchor})).json()
    assert not broken["intact"]
    assert broken["broken"] == {"place": entry["place"], "entryId": entry["id"], "reason": "changed"}
    assert job["id"]
