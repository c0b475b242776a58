"""The real application over real services, Postgres and Valkey, entered through ASGI."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.registry import load_executors
from cronsvc.queue.broker import Broker
from cronsvc.services.access import Access, Role
from cronsvc.services.auditing import Auditing
from cronsvc.services.backfills import Backfills
from cronsvc.services.bulk import Bulk
from cronsvc.services.bulk_pausing import BulkPausing
from cronsvc.services.calendars import Calendars
from cronsvc.services.callbacks import Callbacks
from cronsvc.services.dead_letters import DeadLetters
from cronsvc.services.dependencies import Dependencies
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.egress_lists import EgressLists
from cronsvc.services.ending import Endings
from cronsvc.services.executions import Executions
from cronsvc.services.explaining import Explaining
from cronsvc.services.groups import Groups
from cronsvc.services.history import History
from cronsvc.services.jobs import Jobs
from cronsvc.services.monitoring import Monitoring
from cronsvc.services.queues import Queues
from cronsvc.services.recoveries import Recoveries
from cronsvc.services.rehearsing import Rehearsals
from cronsvc.services.replaying import Replays
from cronsvc.services.restore import Restore
from cronsvc.services.sealing import Keyring, new_key
from cronsvc.services.secrets import Secrets
from cronsvc.services.self_check import SelfCheck
from cronsvc.services.status import StatusReader
from cronsvc.services.target_hosts import TargetHosts
from cronsvc.services.templates import Templates
from cronsvc.services.windows import Windows
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, WebSettings, create_app

# The key of every process in these tests.
SECRET_KEY = new_key()

PLAIN_JOB: Mapping[str, Any] = {
    "name": "Daily Report",
    "cronExpression": "0 9 * * *",
    "taskPayload": {
        "type": "API_CALL",
        "config": {
            "url": "https://api.example.com/generate-report",
            "method": "POST",
            "headers": {"Authorization": "Bearer your-token"},
            "data": {"reportType": "daily"},
        },
    },
}


@dataclass(frozen=True, slots=True)
class Client:
    """A caller with a key, or (key None) without."""

    http: httpx2.AsyncClient
    key: str | None

    async def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.send("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        return await self.send("POST", path, **options)

    async def make_job(self, **changes: Any) -> dict[str, Any]:
        """Create the plain job with these changes; returns its document."""
        response = await self.post("/api/v1/jobs", json={**PLAIN_JOB, **changes})
        assert response.status_code == 201, response.text
        document: dict[str, Any] = response.json()
        return document


def http_client(app: Starlette) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=("198.51.100.7", 40000))
    return httpx2.AsyncClient(transport=transport, base_url="http://cronsvc.test")


@asynccontextmanager
async def serving(db: Database, redis_url: str) -> AsyncIterator[Services]:
    """The services of one process over this database."""
    broker = Broker.open(redis_url)
    executors = load_executors(ExecutorSettings(egress_allow=("127.0.0.1",), public_url="http://cronsvc.test"))
    dispatcher = Dispatcher(db, broker, redispatch=timedelta(seconds=5))
    try:
        jobs = Jobs(db, executors, dispatcher)
        yield Services(
            jobs=jobs,
            rehearsals=Rehearsals(jobs),
            executions=Executions(db),
            explaining=Explaining(db),
            history=History(db),
            access=Access(db),
            status=StatusReader(db, broker),
            endings=Endings(db, executors, dispatcher),
            dead_letters=DeadLetters(db, executors, dispatcher),
            queues=Queues(db),
            bulk_pausing=BulkPausing(db, dispatcher),
            bulk=Bulk(db),
            monitoring=Monitoring(db),
            backfills=Backfills(db, executors),
            recoveries=Recoveries(db, Backfills(db, executors)),
            restore=Restore(db, Backfills(db, executors)),
            self_check=SelfCheck(db),
            calendars=Calendars(db),
            windows=Windows(db),
            dependencies=Dependencies(db),
            callbacks=Callbacks(db, executors, Keyring([SECRET_KEY])),
            secrets=Secrets(db, Keyring([SECRET_KEY])),
            auditing=Auditing(db),
            replays=Replays(db),
            target_hosts=TargetHosts(db),
            egress_lists=EgressLists(db),
            templates=Templates(db, executors),
            groups=Groups(db),
        )
    finally:
        for executor in executors.values():
            await executor.close()
        await broker.close()


@pytest.fixture
async def services(db: Database, redis_url: str) -> AsyncIterator[Services]:
    async with serving(db, redis_url) as made:
        yield made


@pytest.fixture
def app(services: Services) -> Starlette:
    return create_app(services, settings=WebSettings(max_body_bytes=20_000, body_deadline_seconds=0.3))


@pytest.fixture
async def http(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with http_client(app) as client:
        yield client


@pytest.fixture
async def keys(services: Services) -> dict[Role, str]:
    """One key of each role, for every namespace."""
    return {
        role: await services.access.create_key(name=f"test-{role.value}", role=role, created_by="tests")
        for role in Role
    }


@pytest.fixture
def nobody(http: httpx2.AsyncClient) -> Client:
    return Client(http, None)


@pytest.fixture
def viewer(http: httpx2.AsyncClient, keys: dict[Role, str]) -> Client:
    return Client(http, keys[Role.VIEWER])


@pytest.fixture
def operator(http: httpx2.AsyncClient, keys: dict[Role, str]) -> Client:
    return Client(http, keys[Role.OPERATOR])


@pytest.fixture
def admin(http: httpx2.AsyncClient, keys: dict[Role, str]) -> Client:
    return Client(http, keys[Role.ADMIN])


def reasons(response: httpx2.Response) -> dict[str, str]:
    """The fields a problem document names, with the reason for each."""
    return {error["field"]: error["reason"] for error in response.json().get("errors", [])}
