"""Errors and lists as values: what crosses a process, what cannot be sent, what must not be asked for its truth."""

import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx2
import pytest

from cronsvc.client import ApiError, AsyncClient, Client, ClientError, FieldError, Unreachable
from cronsvc.client.calls import Call
from cronsvc.client.errors import BY_STATUS, BadCall
from cronsvc.client.generated import jobs, queues


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("kind", sorted({ApiError, *BY_STATUS.values()}, key=str))
def test_an_error_comes_out_of_another_process_as_it_was(kind: type[ApiError], again: Callable[[Any], Any]) -> None:
    error = kind("no such job", status=404, type="/problems/x", request_id="r1", errors=[FieldError("a", "b")])
    other = again(error)
    assert type(other) is kind and str(other) == "no such job"
    assert vars(other) == vars(error) and other.errors == (FieldError("a", "b"),)


def test_so_does_the_lack_of_an_answer() -> None:
    other = pickle.loads(pickle.dumps(Unreachable("it broke", unclear=True)))
    assert (type(other), str(other), other.unclear) == (Unreachable, "it broke", True)


def nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


EAST = timezone(timedelta(hours=5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: jobs.trigger_job(7, idempotency_key=""),
        lambda: jobs.trigger_job(7, idempotency_key="é"),
        lambda: jobs.trigger_job(7, params={"x": float("nan")}),
        lambda: jobs.trigger_job(7, params={"x": object()}),
        lambda: jobs.trigger_job(7, params={"x": nested(100_000)}),
        lambda: jobs.pause_job(7, until=datetime(1, 1, 1, tzinfo=EAST)),
        lambda: jobs.pause_job(7, until=datetime(2030, 1, 1)),
        lambda: jobs.list_jobs(name="\udcff"),
        lambda: queues.get_queue("\udcff"),
        lambda: queues.get_queue(".."),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_client(make: Callable[[], object]) -> None:
    with pytest.raises(BadCall) as refused:
        make()
    assert isinstance(refused.value, ClientError) and isinstance(refused.value, ValueError)
    assert ": " in str(refused.value)


def answering(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, text="never")


LONG: Call[Any] = jobs.list_jobs(name="x" * 70_000).first


def test_a_url_too_long_and_a_closed_client_are_errors_of_the_client() -> None:
    client = Client("http://127.0.0.1", transport=httpx2.MockTransport(answering))
    with pytest.raises(BadCall, match="listJobs: "):
        client.send(LONG)
    client.close()
    with pytest.raises(BadCall, match="the client is closed"):
        client.jobs.get(7)


async def test_the_same_of_the_async_client() -> None:
    client = AsyncClient("http://127.0.0.1", transport=httpx2.MockTransport(answering))
    with pytest.raises(BadCall, match="listJobs: "):
        await client.send(LONG)
    await client.close()
    with pytest.raises(BadCall, match="the client is closed"):
        await client.jobs.get(7)


async def test_a_host_that_is_no_name_is_an_error_of_the_client() -> None:
    with pytest.raises(ClientError):
        async with AsyncClient("https://a..b") as client:
            await client.service.me()
    with pytest.raises(ClientError):
        await asyncio.to_thread(lambda: Client("https://a..b").service.me())


def test_a_list_is_not_asked_for_its_truth() -> None:
    with pytest.raises(TypeError, match="first_page"):
        bool(Client("http://127.0.0.1").jobs.list())
    with pytest.raises(TypeError, match="first_page"):
        bool(AsyncClient("http://127.0.0.1").jobs.list())


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/", "/cron/api"])
def test_a_url_that_leads_too_far_is_refused(path: str) -> None:
    with pytest.raises(ClientError, match="should end before"):
        Client(f"https://cron.example.com{path}")
    assert "cron" in repr(Client("https://example.com/cron"))
