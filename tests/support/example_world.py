"""What the curl examples speak of: for each thing a way to make a fresh one through the API, or by the tables.

A new thing is one function below, registered by its name; the variable JOB_ID stands for the thing `job` unless the
example says otherwise (`#: resumeJob 200 JOB_ID=paused_job`).
"""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from cronsvc.domain.callback_token import write
from cronsvc.queue.broker import Broker
from cronsvc.services.access import Role
from cronsvc.services.fence import Fence
from cronsvc.store.pool import Database
from cronsvc.web.curl_examples import Example
from cronsvc.web.services import Services
from tests.support.callbacks import grant_of, taken_over
from tests.support.ending import failed
from tests.support.rows import fetch, one

Thing = Callable[["World"], Awaitable[str]]
THINGS: dict[str, Thing] = {}


def thing(make: Thing) -> Thing:
    """Register a thing under the name of the function that makes one and returns what the variable holds."""
    THINGS[make.__name__.rstrip("_")] = make
    return make


@dataclass(slots=True)
class World:
    """A running service with an administrator's key, and the stores behind it."""

    url: str
    key: str
    services: Services
    db: Database
    redis_url: str
    http: httpx2.AsyncClient
    serial: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def variables(self, example: Example) -> dict[str, str]:
        """Make what the example speaks of; returns the variables it uses."""
        things = dict(example.things)
        if "with" in things:
            await THINGS[things["with"]](self)
        return {name: await THINGS[things.get(name, _thing_of(name))](self) for name in example.variables}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API as the administrator; fails the test unless it succeeds."""
        response = await self.http.request(
            method, f"/api/v1{path}", headers={"Authorization": f"Bearer {self.key}"}, json=body
        )
        assert response.is_success, (method, path, response.text)
        return response.json() if response.content else None

    async def made(self, path: str, body: Any = None) -> str:
        """POST, and return the id of what came of it."""
        return str((await self.call("POST", path, body))["id"])


def _thing_of(variable: str) -> str:
    return variable.removeprefix("CRONSVC_").removesuffix("_ID").lower()


@thing
async def url(world: World) -> str:
    return world.url


@thing
async def api_key(world: World) -> str:
    return world.key


def instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@thing
async def from_(world: World) -> str:
    return instant(datetime.now(UTC) - timedelta(days=2))


@thing
async def to(world: World) -> str:
    return instant(datetime.now(UTC) - timedelta(minutes=1))


@thing
async def until(world: World) -> str:
    return instant(datetime.now(UTC) + timedelta(days=1))


@thing
async def old_key(world: World) -> str:
    body = {"name": f"old key {next(world.serial)}", "role": "viewer"}
    return str((await world.call("POST", "/keys", body))["keyId"])


@thing
async def session_cookie(world: World) -> str:
    name = f"examples-{next(world.serial)}"
    bearer = await world.services.access.create_key(name=name, role=Role.ADMIN, created_by="tests")
    token, _ = await world.services.access.open_session(bearer, None)
    return token


async def job_named(world: World, name: str, **changes: Any) -> str:
    config = {"url": "https://api.example.com/generate-report", "method": "POST"}
    payload = {"type": "API_CALL", "config": config}
    return await world.made("/jobs", {"name": name, "cronExpression": "0 9 * * *", "taskPayload": payload} | changes)


@thing
async def job(world: World) -> str:
    return await job_named(world, f"Report {next(world.serial)}", tags=["reports"])


@thing
async def named_job(world: World) -> str:
    found = (await world.call("GET", "/jobs?name=Month%20end"))["items"]
    return str(found[0]["id"]) if found else await job_named(world, "Month end")


@thing
async def paused_job(world: World) -> str:
    job_id = await job(world)
    await world.call("POST", f"/jobs/{job_id}/pause", {})
    return job_id


@thing
async def execution(world: World) -> str:
    return await world.made(f"/jobs/{await job(world)}/trigger", {})


@thing
async def failed_execution(world: World) -> str:
    return str((await failed(world.db)).execution_id)


@thing
async def awaiting_execution(world: World) -> str:
    """One that its target has taken over with 202, and has yet to end."""
    ticket, _ = await taken_over(world.db)
    return str(ticket.execution_id)


@thing
async def callback_token(world: World) -> str:
    """The credential that the target of such an execution has in its callback URL."""
    ticket, _ = await taken_over(world.db)
    (secret,) = await one(world.db, "SELECT secret FROM callback_keys")
    return write(grant_of(ticket), secret)


@thing
async def queue(world: World) -> str:
    await world.call("PUT", "/queues/reports", {"concurrency": 10})
    return "reports"


@thing
async def calendar(world: World) -> str:
    return await world.made("/calendars", {"name": f"days-{next(world.serial)}"})


@thing
async def works_holidays(world: World) -> str:
    return await world.made("/calendars", {"name": "works-holidays"})


@thing
async def window(world: World) -> str:
    body = {"name": "Patches", "cronExpression": "0 3 * * 0", "durationSeconds": 600, "during": "skip"}
    return await world.made("/maintenance-windows", body)


@thing
async def backfill(world: World) -> str:
    body = {"from": await from_(world), "to": await to(world), "note": "the database was away"}
    return await world.made(f"/jobs/{await job(world)}/backfill", body)


@thing
async def paused_backfill(world: World) -> str:
    backfill_id = await backfill(world)
    await world.call("POST", f"/backfills/{backfill_id}/pause")
    return backfill_id


@thing
async def recovery(world: World) -> str:
    """One that is not finished: of a job that was there two days ago and has left no row since."""
    job_id = await job(world)
    async with world.db.transaction() as conn:
        await conn.execute("ALTER TABLE job_revisions DISABLE TRIGGER job_revisions_append_only")
        await conn.execute(
            "UPDATE job_revisions SET created_at = now() - interval '9 days' WHERE job_id = %s", (job_id,)
        )
        await conn.execute("ALTER TABLE job_revisions ENABLE TRIGGER job_revisions_append_only")
    selector = {"jobIds": [int(job_id)]}
    return await world.made("/recoveries", {"from": await from_(world), "to": await to(world), "selector": selector})


@thing
async def old_secret(world: World) -> str:
    await world.call("PUT", "/secrets/old-token", {"value": "of last year"})
    return "old-token"


@thing
async def restored_database(world: World) -> str:
    """The database finds itself to be another one, so that nothing is sent until somebody confirms."""
    broker = Broker.open(world.redis_url)
    assert await Fence(world.db, broker).look()
    await broker.close()
    await fetch(world.db, "UPDATE service_identity SET database_oid = 1, database_name = 'before' RETURNING 1")
    return ""


@thing
async def host(world: World) -> str:
    await world.call("PUT", "/hosts/api.example.com", {"callsPerSecond": 10})
    return "api.example.com"


@thing
async def egress_list(world: World) -> str:
    await world.call("PUT", "/egress/payments", {"hosts": ["api.example.com"]})
    return "payments"


@thing
async def template(world: World) -> str:
    payload = {"type": "API_CALL", "config": {"url": "https://api.example.com/report", "params": {"team": "${team}"}}}
    definition = {"name": "report ${team}", "cronExpression": "0 3 * * *", "taskPayload": payload}
    name = f"report-{next(world.serial)}"
    return await world.made("/templates", {"name": name, "parameters": [{"name": "team"}], "definition": definition})


@thing
async def changed_template(world: World) -> str:
    """One with a job that follows its first revision."""
    template_id = await template(world)
    team = f"team {next(world.serial)}"
    await world.call("POST", f"/templates/{template_id}/jobs", {"values": {"team": team}})
    found = await world.call("GET", f"/templates/{template_id}")
    body = {name: found[name] for name in ("name", "definition")} | {"parameters": [{"name": "team"}]}
    body["definition"] = {**found["definition"], "timeoutSeconds": 120}
    await world.call("PUT", f"/templates/{template_id}", body)
    return template_id
