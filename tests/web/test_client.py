"""The Python client against the real application, over a socket: what it reads, sends, repeats and keeps to itself."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette

from cronsvc.client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    Misconfigured,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Retries,
    Timeouts,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    requests,
)
from cronsvc.processes.serving import address_of, listen, serve
from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from tests.executors.certificates import Authority
from tests.support.flaky_proxy import CUT, DROP_AFTER, DROP_BEFORE, STALL, Act, Answered, FlakyProxy, flaky_proxy
from tests.support.rows import fetch
from tests.support.servers import free_port

T = TypeVar("T")

PAYLOAD = {"type": "API_CALL", "config": {"url": "https://api.example.com/report", "method": "POST"}}
CALENDAR = b"""BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
DTSTART;VALUE=DATE:20300101
END:VEVENT
END:VCALENDAR
"""
ROOT = Path(__file__).parents[2]
SOON = Retries(tries=3, first_wait=0.01, longest_wait=5)


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    """Where the application listens."""
    listener, stop, ready = listen("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    going = asyncio.create_task(serve(app, listener, stop, trusted_proxies=(), ready=ready.set))
    await ready.wait()
    yield address_of(listener)
    stop.set()
    await going
    listener.close()


@pytest.fixture
async def client(url: str, keys: dict[Role, str]) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url, keys[Role.OPERATOR], retries=SOON) as made:
        yield made


@pytest.fixture
async def flaky(url: str) -> AsyncIterator[FlakyProxy]:
    async with flaky_proxy(url) as proxy:
        yield proxy


async def test_the_example_in_the_readme_runs(
    url: str, keys: dict[Role, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Python client\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"(?ms)^```python\n(.*?)^```$", section)
    monkeypatch.setenv("CRONSVC_URL", url)
    monkeypatch.setenv("CRONSVC_API_KEY", keys[Role.OPERATOR])
    for _ in range(2):  # the second time the job is there
        await asyncio.to_thread(exec, compile(example, "README.md", "exec"), {})
        status, listed, refused = capsys.readouterr().out.splitlines()
        assert status == "QUEUED" and listed.startswith("daily-report 20") and "Mars/Olympus" in refused


def through(proxy: FlakyProxy, key: str, *script: Act, per_try: float = 20, tries: int = 3) -> AsyncClient:
    proxy.script = list(script)
    retries = Retries(tries=tries, first_wait=0.01, longest_wait=5)
    return AsyncClient(proxy.url, key, retries=retries, timeouts=Timeouts(per_try=per_try, total=30))


async def in_thread(url: str, key: str | None, act: Callable[[Client], T]) -> T:
    """What `act` answers with a sync client, away from the loop that serves it."""

    def run() -> T:
        with Client(url, key, retries=SOON) as client:
            return act(client)

    return await asyncio.to_thread(run)


async def test_a_job_from_making_to_deleting(client: AsyncClient) -> None:
    job = await client.jobs.create(
        name="nightly",
        cron_expression="0 3 * * *",
        task_payload=requests.TaskPayloadIn(type="API_CALL", config=PAYLOAD["config"]),
        backoff={"type": "fixed", "delaySeconds": 5},
        tags=["billing", "night"],
        start_at=datetime(2030, 1, 1, 9, tzinfo=UTC),
    )
    assert (job.name, job.cron_expression, job.tags, job.every) == ("nightly", "0 3 * * *", ("billing", "night"), None)
    assert (job.backoff.type, job.backoff.delay_seconds, job.priority) == ("fixed", 5, "normal")
    assert job.start_at == datetime(2030, 1, 1, 9, tzinfo=UTC) and job.next_fire_time is not None
    assert (await client.jobs.get(job.id)) == job

    changed = await client.jobs.patch(job.id, cron_expression=None, every=timedelta(minutes=20), if_match=job.etag)
    assert (changed.cron_expression, changed.every, changed.revision) == (None, timedelta(minutes=20), 2)
    assert changed.task_payload == job.task_payload  # what is not given is left alone
    with pytest.raises(PreconditionFailed):
        await client.jobs.patch(job.id, description="late", if_match=job.etag)
    plan = await client.jobs.patch_dry_run(job.id, is_active=False)
    assert plan.dry_run and plan.added.count == 0 and (await client.jobs.get(job.id)).is_active

    execution = await client.jobs.trigger(job.id, params={"data": {"day": "2026-01-31"}})
    assert (execution.job_id, execution.status, execution.params) == (job.id, "QUEUED", {"data": {"day": "2026-01-31"}})
    assert (await client.executions.get(execution.id)).attempts == ()
    assert (await client.executions.cancel(execution.id, note="not today")).status == "CANCELLED"

    assert [each.revision async for each in client.jobs.revisions(job.id)] == [2, 1]
    paused = await client.jobs.pause(job.id, note="holidays", until=datetime(2031, 1, 1, tzinfo=UTC))
    assert paused.pause is not None and paused.pause.note == "holidays"
    assert (await client.jobs.explain(job.id)).verdict == "before_start"
    await client.jobs.delete(job.id, if_match=paused.etag)
    with pytest.raises(NotFound):
        await client.jobs.get(job.id)


async def test_the_etag_is_the_services(client: AsyncClient, url: str, keys: dict[Role, str]) -> None:
    import httpx2

    job = await client.jobs.create(name="nightly", cron_expression="0 3 * * *", task_payload=PAYLOAD)
    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {keys[Role.VIEWER]}"}) as http:
        assert (await http.get(f"/api/v1/jobs/{job.id}")).headers["etag"] == job.etag


async def test_a_list_is_every_page(client: AsyncClient, url: str, keys: dict[Role, str]) -> None:
    for number in range(7):
        tags = ["odd"] if number % 2 else []
        await client.jobs.create(name=f"job {number}", cron_expression="0 3 * * *", task_payload=PAYLOAD, tags=tags)
    names = [job.name async for job in client.jobs.list(page_size=2, sort="id")]
    assert names == [f"job {number}" for number in range(7)]
    assert [job.name async for job in client.jobs.list(tag="odd", page_size=2, sort="id")] == [
        "job 1",
        "job 3",
        "job 5",
    ]
    pages = [len(page.items) async for page in client.jobs.list(page_size=3).pages()]
    assert pages == [3, 3, 1]
    first = await client.jobs.list(page_size=3, sort="id").first_page()
    rest = [job.name async for job in client.jobs.list(page_size=3, sort="id", cursor=first.next_cursor)]
    assert rest == names[3:]
    sparse = [each async for each in client.jobs.list_fields(fields="name", page_size=5, sort="id")]
    assert [set(each) for each in sparse] == [{"id", "name"}] * 7
    assert (
        await in_thread(url, keys[Role.VIEWER], lambda sync: [job.name for job in sync.jobs.list(sort="id")]) == names
    )


async def test_the_sync_client_does_the_same(url: str, keys: dict[Role, str]) -> None:
    def act(client: Client) -> tuple[str, int, str, Any]:
        job = client.jobs.create(name="nightly", every="PT1H", task_payload=PAYLOAD)
        execution = client.jobs.trigger(job.id)
        preview = client.schedules.preview(cron_expression="0 3 * * *", count=2)
        client.jobs.delete(job.id)
        return job.name, execution.job_id - job.id, client.service.me().role, preview

    name, difference, role, preview = await in_thread(url, keys[Role.OPERATOR], act)
    assert (name, difference, role, len(preview.fire_times)) == ("nightly", 0, "operator", 2)


async def test_what_is_no_job_is_read_too(url: str, keys: dict[Role, str]) -> None:
    async with AsyncClient(url) as nobody:
        assert (await nobody.probes.health()).status == "OK"
        assert (await nobody.probes.ready()).schema_.status == "ok"
        assert (await nobody.probes.openapi())["openapi"] == "3.1.0"
    async with AsyncClient(url, keys[Role.ADMIN]) as admin:
        made = await admin.keys.create(name="deploy", role="viewer", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        assert made.key.startswith("csk_") and made.key not in repr(made)
        assert (await admin.keys.revoke(made.key_id)).revoked_at is not None
        assert [entry.action async for entry in admin.audit.list(entity="api_key", entity_id=made.key_id)][
            -1
        ] == "create"
        assert (await admin.audit.export(entity="api_key", format_="csv")).startswith("id,")
        secret = await admin.secrets.put("token", value="hunter2222")
        assert secret.version == 1
        assert "cronsvc_" in await admin.probes.metrics()
        first, again = [await admin.calendars.import_("bank", content=CALENDAR) for _ in range(2)]
        assert first == again
        windows = await admin.maintenance.create(
            name="upgrade",
            starts_at=datetime(2030, 1, 1, tzinfo=UTC),
            ends_at=datetime(2030, 1, 2, tzinfo=UTC),
            during="hold",
        )
        assert windows.etag == '"1"'
        queue = await admin.queues.put("a.b", concurrency=3)
        assert (queue.name, queue.concurrency) == ("a.b", 3)


async def test_errors_have_classes(client: AsyncClient, url: str, keys: dict[Role, str]) -> None:
    with pytest.raises(Invalid) as invalid:
        await client.jobs.create(name="x" * 256, cron_expression="0 25 * * *", task_payload=PAYLOAD)
    fields = {error.field: error.reason for error in invalid.value.errors}
    assert fields.keys() == {"name", "cronExpression"} and "23" in fields["cronExpression"]
    assert (invalid.value.status, invalid.value.type) == (422, "/problems/invalid-input") and invalid.value.request_id
    with pytest.raises(NotFound):
        await client.jobs.get(4711)
    with pytest.raises(Forbidden):
        await client.keys.create(name="x", role="viewer")
    await client.jobs.create(name="nightly", cron_expression="0 3 * * *", task_payload=PAYLOAD)
    with pytest.raises(Conflict):
        await client.jobs.create(name="nightly", cron_expression="0 3 * * *", task_payload=PAYLOAD)
    async with AsyncClient(url) as nobody:
        with pytest.raises(Unauthenticated, match="needs an API key"):
            await nobody.jobs.list().first_page()


async def test_a_time_without_an_offset_and_a_name_that_leaves_the_path_are_refused(client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="does not say its offset"):
        await client.jobs.pause(1, until=datetime(2031, 1, 1))
    with pytest.raises(ValueError, match="cannot stand in a path"):
        await client.queues.get("..")
    with pytest.raises(NotFound):
        await client.queues.get("a/../../me?x#y")
    for wrong in ("", "a\r\nX-Other: b", "é"):
        with pytest.raises(ValueError, match="idempotency_key should be"):
            await client.jobs.trigger(1, idempotency_key=wrong)


async def jobs_named(db: Database, name: str) -> int:
    ((count,),) = await fetch(db, "SELECT count(*) FROM jobs WHERE name = %s", name)
    return int(count)


@pytest.mark.parametrize("trouble", [DROP_AFTER, CUT])
async def test_an_answer_that_is_lost_costs_nothing_and_doubles_nothing(
    flaky: FlakyProxy, keys: dict[Role, str], db: Database, trouble: Act
) -> None:
    async with through(flaky, keys[Role.OPERATOR], trouble, trouble) as client:
        job = await client.jobs.create(name="once", cron_expression="0 3 * * *", task_payload=PAYLOAD)
    assert len(flaky.requests) == 3 and len(set(flaky.headers_named("Idempotency-Key"))) == 1
    assert await jobs_named(db, "once") == 1

    async with through(flaky, keys[Role.OPERATOR], trouble) as client:
        execution = await client.jobs.trigger(job.id)
    assert await fetch(db, "SELECT id FROM job_executions") == [(execution.id,)]
    async with through(flaky, keys[Role.OPERATOR], trouble) as client:
        await client.jobs.delete(job.id)
    assert await fetch(db, "SELECT deleted_at IS NOT NULL FROM jobs") == [(True,)]


async def test_a_service_that_does_not_answer_in_time_is_asked_again(
    flaky: FlakyProxy, keys: dict[Role, str], db: Database
) -> None:
    async with through(flaky, keys[Role.OPERATOR], STALL, per_try=1.0) as client:
        await client.jobs.create(name="once", cron_expression="0 3 * * *", task_payload=PAYLOAD)
    assert len(flaky.requests) == 2 and await jobs_named(db, "once") == 1


async def test_a_revocation_whose_answer_was_lost_is_done(flaky: FlakyProxy, keys: dict[Role, str]) -> None:
    async with through(flaky, keys[Role.ADMIN]) as admin:
        made = await admin.keys.create(name="deploy", role="viewer")
        flaky.script = [DROP_AFTER]
        assert (await admin.keys.revoke(made.key_id)).revoked_at is not None
    assert len(flaky.requests) == 3


@pytest.fixture
def full() -> Iterator[str]:
    """A URL where nobody takes connections: the queue of those that wait is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_where_no_connection_is_made_nothing_has_happened_for_both_clients(full: str) -> None:
    """A PATCH is sent once, unless it surely did not arrive."""
    retries, timeouts = Retries(tries=2, first_wait=0.01), Timeouts(per_try=0.4, total=20)

    def sync() -> None:
        with Client(full, "csk_x", retries=retries, timeouts=timeouts) as client:
            client.jobs.patch(1, name="x")

    async def later() -> None:
        async with AsyncClient(full, "csk_x", retries=retries, timeouts=timeouts) as client:
            await client.jobs.patch(1, name="x")

    for act in (asyncio.to_thread(sync), later()):
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no connection was made") as nobody:
            await act
        assert not nobody.value.unclear and full in str(nobody.value)
        assert time.monotonic() - began > 0.7  # two tries


async def test_the_sync_client_repeats_as_well(flaky: FlakyProxy, keys: dict[Role, str], db: Database) -> None:
    flaky.script = [DROP_AFTER, Answered(503), DROP_BEFORE]
    retries, timeouts = Retries(tries=4, first_wait=0.01), Timeouts(per_try=1.0, total=30)

    def act() -> str:
        with Client(flaky.url, keys[Role.OPERATOR], retries=retries, timeouts=timeouts) as client:
            name = client.jobs.create(name="once", cron_expression="0 3 * * *", task_payload=PAYLOAD).name
            flaky.script = [STALL]
            return f"{name} {client.service.me().role}"

    assert await asyncio.to_thread(act) == "once operator"
    assert await jobs_named(db, "once") == 1 and len(flaky.requests) == 6


async def test_a_full_minute_is_waited_for(flaky: FlakyProxy, keys: dict[Role, str]) -> None:
    async with through(flaky, keys[Role.OPERATOR], Answered(429, ("Retry-After: 0",)), Answered(502)) as client:
        assert (await client.service.me()).role == "operator"
    async with through(flaky, keys[Role.OPERATOR], Answered(429, ("Retry-After: 3600",))) as client:
        with pytest.raises(RateLimited) as limited:
            await client.service.me()
    assert limited.value.retry_after == 3600


async def test_what_could_happen_twice_is_not_repeated(flaky: FlakyProxy, keys: dict[Role, str], db: Database) -> None:
    async with through(flaky, keys[Role.ADMIN], DROP_AFTER) as client:
        with pytest.raises(Unreachable) as lost:
            await client.keys.create(name="deploy", role="viewer")
    assert lost.value.unclear and len(flaky.requests) == 1
    assert await fetch(db, "SELECT count(*) FROM api_keys WHERE name = 'deploy'") == [(1,)]


async def test_a_service_that_stays_away_is_an_error_in_the_end(flaky: FlakyProxy, keys: dict[Role, str]) -> None:
    async with through(flaky, keys[Role.OPERATOR], *[Answered(503)] * 3) as client:
        with pytest.raises(Unavailable):
            await client.service.me()
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", "csk_x", retries=SOON) as client:
        with pytest.raises(Unreachable) as nobody:
            await client.service.me()
    assert not nobody.value.unclear


@pytest.mark.parametrize("to", ["/elsewhere", "https://thief.example/"])
async def test_a_redirect_is_not_followed(flaky: FlakyProxy, keys: dict[Role, str], to: str) -> None:
    async with through(flaky, keys[Role.OPERATOR], Answered(307, (f"Location: {to}",))) as client:
        with pytest.raises(UnexpectedAnswer, match="redirect"):
            await client.service.me()
    assert len(flaky.requests) == 1


async def test_an_answer_has_a_largest_length(
    flaky: FlakyProxy, keys: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cronsvc.client.clients.LARGEST_ANSWER", 1000)
    async with through(flaky, keys[Role.OPERATOR], Answered(200, (), b"x" * 1001)) as client:
        with pytest.raises(UnexpectedAnswer, match="longer than 1000 bytes"):
            await client.service.me()


def refused_callback(client: Client) -> None:
    with pytest.raises(Unauthenticated):
        client.callbacks.report_progress("hunter2222")


async def test_the_key_is_told_to_nobody(
    flaky: FlakyProxy, keys: dict[Role, str], caplog: pytest.LogCaptureFixture
) -> None:
    key = keys[Role.OPERATOR]
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with through(flaky, key, DROP_BEFORE, Answered(502), CUT) as client:
            told.append(repr(client))
            with pytest.raises(Unreachable) as lost:
                await client.service.me()
            told += [repr(lost.value), str(lost.value)]
            with pytest.raises(Unauthenticated):
                await client.callbacks.complete_execution("hunter2222", status="success")
        await in_thread(flaky.url, key, refused_callback)
    ours = [each.getMessage() for each in caplog.records if not each.name.startswith("uvicorn")]
    assert sum("/callbacks/…/" in each for each in ours) == 2 and not [each for each in ours if "hunter2222" in each]
    error: BaseException | None = lost.value
    while error is not None:
        told.append(f"{error!r} {vars(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    with pytest.raises(Misconfigured) as wrong:
        Client("https://cron.example.com", f"{key}\r\nX: y")
    told += [str(wrong.value), caplog.text]
    assert caplog.text and not [text for text in told if key in text or key.split("_")[-1] in text]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cron.example.com",
        "ftp://cron.example.com",
        "https://user:hunter22@cron.example.com",
        "https://cron.example.com?x=1",
        "https://cron.example.com#x",
        "https://",
        "https://[::1",
        "https://cron.example.com:99999",
        "http://cron.example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "https://cron.exa mple.com",
    ],
)
def test_a_url_that_is_not_safe_is_refused(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(Misconfigured) as refused:
            kind(url, "csk_x")
        assert "hunter22" not in str(refused.value)


async def test_plain_http_elsewhere_can_be_allowed_and_no_proxy_sees_it(
    url: str, keys: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repr(Client("http://cron.internal:8000/", "csk_x", allow_http=True)) == "Client('http://cron.internal:8000')"
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    async with AsyncClient(url, keys[Role.VIEWER]) as client:
        assert (await client.service.me()).role == "viewer"


async def test_only_a_certificate_that_is_trusted_gets_the_key(tmp_path: Path) -> None:
    authority = Authority.new()
    seen: list[bytes] = []
    me = json.dumps({"actor": "key:x", "role": "viewer", "namespaces": None, "roles": None}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(me) + me)
            await writer.drain()
        writer.close()

    context = authority.issue("127.0.0.1").server_context(tmp_path)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AsyncClient(url, "csk_x", retries=SOON) as client:
        with pytest.raises(Unreachable, match="certificate") as refused:
            await client.service.me()
        assert not refused.value.unclear and not seen
        trusting = ssl.create_default_context(cadata=authority.pem)
        async with AsyncClient(url, "csk_x", tls=trusting) as trusted:
            assert (await trusted.service.me()).actor == "key:x"
    assert b"authorization: bearer csk_x\r\n" in seen[0].lower()
