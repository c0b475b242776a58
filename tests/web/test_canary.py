"""Canaries: secrets that every part of the service has in its hands, and that must be seen nowhere but at the targets.

Jobs of three types are run through success, failure, a time-out, redirects and missing secrets against a target that
echoes all it is sent, and says it again where it is to call back. Then everything that is kept or shown is searched:
every row of every table, every key and value in Redis, what the log has said, the answers of the API and the pages.
Only the ciphertext column is left out.
"""

import asyncio
import base64
import html
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

import pytest
from psycopg import sql
from redis.asyncio import Redis

from cronsvc.config_values import Command as Allowed
from cronsvc.domain.execution import Ticket
from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.registry import load_executors
from cronsvc.services.access import Role
from cronsvc.services.running import Runner
from cronsvc.services.sealing import Keyring
from cronsvc.services.secret_reading import SecretReader
from cronsvc.store.pool import Database
from tests.executors.targets import Request, answer, listening
from tests.support.rows import define, fetch
from tests.support.running import worker
from tests.web.conftest import SECRET_KEY, Client
from tests.web.test_page import Browser

CANARIES = {
    "query": "canary-query/1+&='(;:@?x",
    "header": "canary-header-22",
    "body": 'canary "body" ä 333',
    "password": "canary:password:4",
    "token": "canary-token-55555",
    "client": "canary/client 6",
    "hook": "whsec_" + base64.b64encode(b"canary signing key 7 canary").decode(),
    "variable": "canary-variable-8",
    "parameter": "canary-parameter-9",
    "number": "7461829305",
    "word": "canary_word_11",
}
FETCHED = "canary-fetched-token-10"
PUBLIC_URL = "http://cronsvc.test"
CALLED = ("success", "failure", "by-hand", "unmaskable")


def spellings() -> list[str]:
    """What nobody may see: the secrets, as they are and as they travel."""
    found = []
    for secret in (*CANARIES.values(), FETCHED):
        found += [secret, quote(secret, safe=""), html.escape(secret), json.dumps(secret)[1:-1]]
        found.append(base64.b64encode(secret.encode()).decode())
    found.append(base64.b64encode(f"user:{CANARIES['password']}".encode()).decode())
    found.append(base64.b64encode(f"me:{quote(CANARIES['client'], safe='')}".encode()).decode())
    return found


async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
    """Say everything back, as text and as JSON, with the status that the path asks for."""
    path = request.target.partition("?")[0]
    if path == "/token":
        writer.write(answer(200, json.dumps({"access_token": FETCHED, "expires_in": 3600}).encode()))
        return
    if path == "/slow":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + json.dumps(request.headers).encode())
        await writer.drain()
        await asyncio.Event().wait()
    said: dict[str, Any] = {
        "target": request.target,
        "headers": request.headers,
        "body": request.body.decode(errors="replace"),
    }
    if request.headers.get("x-number", "").isdecimal():
        said["number"] = int(request.headers["x-number"])
    status = int(path.strip("/")) if path.strip("/").isdecimal() else 200
    more = {"Location": "/200?from=" + quote(request.headers.get("x-header", ""))} if status == 307 else {}
    more["X_Request_Id"] = request.headers.get("x-header", "none")
    writer.write(answer(status, json.dumps(said).encode(), **more))


def configs(url: str) -> dict[str, dict[str, Any]]:
    everywhere = {
        "url": f"{url}200?key={{{{secret:query}}}}",
        "headers": {"X-Header": "{{secret:header}}", "X-Number": "{{secret:number}}", "X-Word": "{{secret:word}}"},
        "data": {"deep": ["{{secret:body}}"]},
        "auth": {"type": "basic", "username": "user", "password": "{{secret:password}}"},
        "signing": {"secret": "{{secret:hook}}"},
    }
    oauth = {"type": "oauth2", "tokenUrl": f"{url}token", "clientId": "me", "clientSecret": "{{secret:client}}"}
    return {
        "success": everywhere,
        "failure": everywhere | {"url": f"{url}500?key={{{{secret:query}}}}"},
        "for-good": everywhere | {"url": f"{url}404"},
        "redirected": everywhere | {"url": f"{url}307", "followRedirects": 3},
        "not-followed": everywhere | {"url": f"{url}307"},
        "time-out": everywhere | {"url": f"{url}slow"},
        "unwanted": everywhere | {"expect": {"body": {"contains": "something else"}}},
        "captured": everywhere | {"capture": {"json": {"all": "headers"}, "headers": ["X-Request-Id"]}},
        "cut": everywhere | {"capture": {"maxBytes": 700}},
        "oauth": {"url": f"{url}200", "auth": oauth},
        "oauth-refused": {"url": f"{url}401", "auth": oauth},
        "bearer": {"url": f"{url}503", "auth": {"type": "bearer", "token": "{{secret:token}}"}},
        "broken-key": {"url": f"{url}200", "tls": {"certificate": "{{secret:token}}", "key": "{{secret:header}}"}},
        **{f"called-{how}": everywhere | {"url": f"{url}202", "completion": {}} for how in CALLED},
        "bad-hook": {"url": f"{url}200", "signing": {"secret": "{{secret:token}}"}},
    }


async def call_back(admin: Client, requests: list[Request]) -> list[str]:
    """Say in callbacks, too, all that was sent; returns the tokens with which it was done."""
    sent = [each for each in requests if "callback-url" in each.headers]
    assert len(sent) == len(CALLED)
    for request, how in zip(sorted(sent, key=lambda each: int(each.headers["x-cronsvc-job-id"])), CALLED, strict=True):
        if how == "unmaskable":
            changed = await admin.send("PUT", "/api/v1/secrets/number", json={"value": "its next value"})
            assert changed.status_code == 200
        text = json.dumps([request.target, request.headers, request.body.decode()])
        said = {"headers": request.headers, "text": text, CANARIES["header"]: int(CANARIES["number"])}
        # In a header: the client of these tests logs its URLs.
        caller = admin if how == "by-hand" else Client(admin.http, request.headers["callback-url"].rpartition("/")[2])
        execution = f"/api/v1/executions/{request.headers['x-cronsvc-execution-id']}"
        lines = [text, {"message": text, "level": "error", "fields": said}]
        ending: dict[str, Any] = {"status": "success", "result": said}
        if how == "failure":
            ending = {"status": "failure", "error": {"type": CANARIES["word"], "message": text}, "retry": False}
        for part, body in (("progress", {"progress": 5, "note": text, "log": lines}), ("complete", ending)):
            told = await caller.post(f"{execution}/{part}", json=body)
            assert told.status_code == 200, told.text
            if part == "complete":
                assert told.json()["status"] == ("FAILED" if how == "failure" else "SUCCESS")
    return [each.headers["callback-url"].rpartition("/")[2] for each in sent]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, down to the libraries' own debugging."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield heard
    root.removeHandler(handler)
    root.setLevel(level)


async def run_everything(db: Database, executors: Any, seconds: float = 30.0) -> None:
    """Let a worker make one attempt for everything that waits."""
    runner = Runner(db, executors, worker_id=await worker(db), secrets=SecretReader(db, Keyring([SECRET_KEY])))
    waiting = await fetch(
        db, "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions WHERE status = 'QUEUED'"
    )
    async with asyncio.timeout(seconds):
        await asyncio.gather(*(runner.handle(Ticket(*row)) for row in waiting))
    assert await runner.flush(20)


async def tables(db: Database) -> str:
    """Every row of every table and view of ours as text, without the ciphertexts."""
    names = await fetch(
        db,
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('public', 'cronsvc_v1') AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition",
    )
    assert ("public", "job_attempts") in names
    said = []
    async with db.transaction() as conn:
        for schema, table in names:
            query = sql.SQL("SELECT (to_jsonb(t) - 'ciphertext')::text, t::text FROM {} AS t").format(
                sql.Identifier(schema, table)
            )
            for as_json, as_row in await (await conn.execute(query)).fetchall():
                said.append(as_json if table == "secrets" else f"{as_json}\n{as_row}")
                said.append(json.dumps(json.loads(as_json), ensure_ascii=False))
    return "\n".join(said)


async def redis(url: str) -> str:
    """Every key and value in Redis, whatever its type."""
    said: list[bytes] = []
    async with Redis.from_url(url) as made:
        client: Any = made  # its stubs cannot say which of its methods are awaited
        async for key in client.scan_iter(count=1000):
            said.append(key)
            said.append(await client.dump(key) or b"")
            kind = await client.type(key)
            if kind == b"string":
                said.append(await client.get(key) or b"")
            elif kind == b"list":
                said += await client.lrange(key, 0, -1)
            elif kind == b"hash":
                said += [part for pair in (await client.hgetall(key)).items() for part in pair]
            elif kind in (b"zset", b"set"):
                said += await (client.zrange(key, 0, -1) if kind == b"zset" else client.smembers(key))
    assert said, "Redis holds nothing: the tickets were never pushed"
    return b"\n".join(said).decode("latin-1") + "\n" + b"\n".join(said).decode(errors="replace")


async def shown(admin: Client, browser: Browser, db: Database) -> str:
    """What the API and the pages show of all of it."""
    (jobs, runs) = [
        [id_ for (id_,) in await fetch(db, f"SELECT id FROM {table} ORDER BY id")]
        for table in ("jobs", "job_executions")
    ]
    api = ["jobs?limit=200", "executions?limit=200", "dead-letters?limit=200", "secrets", "jobs/status", "jobs/metrics"]
    api += ["jobs/history", "status", "queues"]
    pages = ["/", "/dead-letters", "/queues", "/backfills"]
    for id_ in jobs:
        api += [f"jobs/{id_}", f"jobs/{id_}/revisions", f"jobs/{id_}/executions", f"jobs/{id_}/statistics"]
        pages += [f"/jobs/{id_}"]
    for id_ in runs:
        api += [f"executions/{id_}", f"executions/{id_}/progress"]
        pages += [f"/executions/{id_}"]
    said = []
    for path in api:
        response = await admin.get(f"/api/v1/{path}")
        assert response.status_code == 200, f"{path}: {response.text}"
        said += [response.text, str(response.headers)]
    for path in pages:
        response = await browser.get(path)
        assert response.status_code == 200, f"{path}: {response.text[:500]}"
        said += [response.text, html.unescape(response.text)]
    return "\n".join(said)


async def test_no_canary_is_seen_anywhere(
    db: Database,
    admin: Client,
    keys: dict[Role, str],
    redis_url: str,
    database_url: str,
    log: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    answers = []
    for name, value in CANARIES.items():
        response = await admin.send("PUT", f"/api/v1/secrets/{name}", json={"value": value})
        assert response.status_code == 200, response.text
        answers.append(response.text)
    for broken in ({"value": CANARIES["header"], "valu": 1}, {"value": [CANARIES["header"]]}, {CANARIES["header"]: 1}):
        response = await admin.send("PUT", "/api/v1/secrets/header", json=broken)
        assert response.status_code == 422
        if CANARIES["header"] not in broken:
            answers.append(response.text)
    settings = ExecutorSettings(
        egress_allow=("127.0.0.1",),
        public_url=PUBLIC_URL,
        sql_dsns={"db": database_url},
        commands={"env": Allowed(argv=("/usr/bin/env",), environment=("SHOWN",))},
    )
    executors = load_executors(settings)
    async with listening(echo) as target:
        for name, config in configs(target.url).items():
            job = await admin.make_job(
                name=name,
                taskPayload={"type": "API_CALL", "config": config},
                timeoutSeconds=1,
                maxAttempts=1 if name == "time-out" else 3,
            )
            assert (await admin.post(f"/api/v1/jobs/{job['id']}/trigger")).status_code == 202
        gone = await admin.make_job(
            name="gone", taskPayload={"type": "API_CALL", "config": {"url": target.url, "text": "{{secret:token}}"}}
        )
        params = {"params": {"text": "{{secret:body}} {{secret:token}}"}}
        assert (await admin.post(f"/api/v1/jobs/{gone['id']}/trigger", json=params)).status_code == 202
        payloads = [
            {"type": "COMMAND", "config": {"command": "env", "environment": {"SHOWN": "{{secret:variable}}"}}},
            _sql("SELECT %s::text AS back", "{{secret:parameter}}"),
            _sql("SELECT %s::integer AS refused", "{{secret:parameter}}"),
        ]
        now = datetime.now(UTC)
        for number, payload in enumerate(payloads):
            job_id = await define(db, task_payload=json.dumps(payload), cron_expression="* * * * *")
            at = now - timedelta(seconds=60 + number)
            await fetch(
                db,
                "INSERT INTO job_executions (job_id, scheduled_time, max_attempts) VALUES (%s, %s, 1) RETURNING id",
                job_id,
                at,
            )
        await run_everything(db, executors)
        tokens = await call_back(admin, target.requests)
        received = json.dumps([[each.target, each.headers, each.body.decode()] for each in target.requests])
    for executor in executors.values():
        await executor.close()

    # The secrets have been where they should be, or this test proves nothing.
    for name in ("header", "token", "number"):
        assert CANARIES[name] in received
    asked = [each.target.partition("key=")[2] for each in target.requests if "key=" in each.target]
    assert {unquote(each) for each in asked} == {CANARIES["query"]}
    assert FETCHED in received
    statuses = dict(await fetch(db, "SELECT j.name, e.status FROM job_executions e JOIN jobs j ON j.id = e.job_id"))
    assert statuses["success"] == statuses["redirected"] == statuses["oauth"] == "SUCCESS"
    assert statuses["time-out"] == statuses["for-good"] == statuses["bad-hook"] == "FAILED"
    kept = dict(
        await fetch(
            db,
            "SELECT j.name, concat(e.result, e.error, e.log_details)"
            " FROM job_executions e JOIN jobs j ON j.id = e.job_id WHERE j.name LIKE 'called-%%'",
        )
    )
    assert len(kept) == len(CALLED)
    for name, text in kept.items():
        assert ("[unreadable secret]" if name == "called-unmaskable" else "[secret]") in text
        assert ("x-cronsvc-attempt" in text) == (name != "called-unmaskable")
    masked = await fetch(db, "SELECT count(*) FROM job_attempts WHERE response_excerpt LIKE '%%[secret]%%'")
    assert masked[0][0] >= 8

    browser = Browser(admin.http)
    await browser.sign_in(keys[Role.VIEWER])
    captured = capfd.readouterr()
    places = {
        "answers": "\n".join(answers),
        "tables": await tables(db),
        "Redis": await redis(redis_url),
        "API and pages": await shown(admin, browser, db),
        "log": log.getvalue(),
        "output": captured.out + captured.err,
    }
    wanted = {*spellings(), *asked, *tokens}
    hits = [(place, spelt) for place, text in places.items() for spelt in sorted(wanted) if spelt in text]
    assert hits == []


def _sql(statement: str, *parameters: str) -> dict[str, Any]:
    return {"type": "SQL", "config": {"dsn": "db", "statement": statement, "parameters": list(parameters)}}
