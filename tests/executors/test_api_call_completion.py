"""API_CALL that its target ends later: what is accepted, what the target is told, and which answers take it over."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from cronsvc.domain.execution import Awaiting, Outcome
from cronsvc.errors import InvalidInput, Unavailable
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings, NotInstalled, RunContext
from tests.executors.attempts import faults
from tests.executors.targets import Respond, always, answer, attempt, listening

SETTINGS = ExecutorSettings(egress_allow=("127.0.0.0/8",), public_url="https://cron.example.com/base")
URL = {"url": "https://api.example.com/"}
CALLBACK = {"mode": "callback", "heartbeatSeconds": 30, "timeoutSeconds": 7200}


class Signing:
    """Tokens that remember for how long they were asked; or none, while Postgres is away."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.asked: list[float] = []

    async def token(self, seconds: float) -> str:
        if self.is_away:
            raise Unavailable("postgres.internal refused")
        self.asked.append(seconds)
        return "cbt_token"


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(SETTINGS)
    yield executor
    await executor.close()


def context(signing: Signing | None = None) -> RunContext:
    return replace(attempt(1), callback_tokens=signing or Signing())


async def outcome_of(api_call: ApiCall, respond: Respond, **config: Any) -> Outcome:
    async with listening(respond) as target:
        return await api_call.run(api_call.parse({"url": target.url, "completion": CALLBACK, **config}), context())


def test_what_a_person_may_write(api_call: ApiCall) -> None:
    def wanted(completion: Any) -> Awaiting | None:
        return api_call.parse({**URL, "completion": completion}).completion

    assert wanted(CALLBACK) == Awaiting(30, 7200)
    assert wanted({}) == Awaiting(60, 10_800)
    assert wanted({"timeoutSeconds": 20}) == Awaiting(20, 20)
    assert wanted({"mode": "callback", "heartbeatSeconds": None}) == Awaiting(60, 10_800)
    assert wanted(None) is None and wanted({"mode": "sync"}) is None
    assert api_call.parse(URL).completion is None


def test_every_fault_is_named_at_once(api_call: ApiCall) -> None:
    found = faults(api_call, {"method": "SEND", "completion": {"mode": "later", "heartbeatSeconds": 0, "heartBeat": 1}})
    assert set(found) == {
        "url",
        "method",
        "completion.mode",
        "completion.heartbeatSeconds",
        "completion.heartBeat",
    }
    assert "heartbeatSeconds" in found["completion.heartBeat"]
    not_objects: list[Any] = ["callback", [], True, 5]
    for bad in not_objects:
        assert "must be an object" in faults(api_call, {**URL, "completion": bad})["completion"]
    longer = {"heartbeatSeconds": 61, "timeoutSeconds": 60}
    assert "longer" in faults(api_call, {**URL, "completion": longer})["completion"]
    own = {**URL, "completion": {}, "headers": {"callback-url": "https://evil.example.com"}}
    assert "headers.callback-url" in faults(api_call, own)
    assert api_call.parse({**URL, "headers": {"Callback-Url": "https://mine.example.com"}})  # nobody else's business
    for number in ("60", 60.5, True, 604_801):
        assert "completion.timeoutSeconds" in faults(api_call, {**URL, "completion": {"timeoutSeconds": number}})


def test_without_a_public_url_such_a_job_is_refused_and_handed_back() -> None:
    executor = ApiCall(ExecutorSettings())
    with pytest.raises(NotInstalled, match="CRONSVC_PUBLIC_URL") as refused:
        executor.parse({**URL, "completion": CALLBACK})
    assert not refused.value.elsewhere
    with pytest.raises(InvalidInput) as both:
        executor.parse({"completion": CALLBACK})
    assert not isinstance(both.value, NotInstalled)  # another process could not run it either
    assert executor.parse({**URL, "completion": {"mode": "sync"}})


async def test_the_target_learns_where_to_call(api_call: ApiCall) -> None:
    signing = Signing()
    async with listening(always(answer(202))) as target:
        config = api_call.parse({"url": target.url, "completion": CALLBACK})
        outcome = await api_call.run(config, context(signing))
    assert outcome == Outcome(awaiting=Awaiting(30, 7200), http_status=202)
    headers = target.requests[0].headers
    url = "https://cron.example.com/base/api/v1/callbacks/cbt_token"
    assert (headers["x-cronsvc-callback-url"], headers["callback-url"]) == (url, url)
    assert headers["x-cronsvc-callback-heartbeat-seconds"] == "30"
    assert headers["x-cronsvc-callback-timeout-seconds"] == "7200"
    assert signing.asked == [20.0 + 7200]  # an attempt may take 20 s, and the work begins after it


async def test_who_asks_for_no_callback_is_offered_none(api_call: ApiCall) -> None:
    async with listening(always(answer(202, b"queued"))) as target:
        outcome = await api_call.run(api_call.parse({"url": target.url}), context())
    assert outcome.awaiting is None and outcome.error is None
    assert not [name for name in target.requests[0].headers if "callback" in name]


async def test_any_other_answer_is_the_end(api_call: ApiCall) -> None:
    for status, error in ((200, None), (201, None), (204, None), (404, "http_status"), (503, "http_status")):
        outcome = await outcome_of(api_call, always(answer(status, b"" if status == 204 else b"done")))
        assert outcome.awaiting is None
        assert (outcome.error.type if outcome.error else None) == error


async def test_a_202_counts_even_if_the_rest_breaks_off(api_call: ApiCall) -> None:
    broken = always(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf", close=True)
    outcome = await outcome_of(api_call, broken)
    assert (outcome.error, outcome.awaiting) == (None, Awaiting(30, 7200))


async def test_without_a_token_nothing_is_sent(api_call: ApiCall) -> None:
    async with listening(always(answer(202))) as target:
        config = api_call.parse({"url": target.url, "completion": CALLBACK})
        away = await api_call.run(config, context(Signing(is_away=True)))
        nobody = await api_call.run(config, attempt(1))
    assert target.requests == []
    for outcome in (away, nobody):
        assert outcome.error is not None and outcome.error.type == "callback_unavailable" and outcome.retryable
        assert "nothing was sent" in outcome.error.message and "internal" not in outcome.error.message
