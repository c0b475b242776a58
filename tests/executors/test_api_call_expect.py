"""What an answer must be, and what of it is kept."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.errors import InvalidInput
from cronsvc.executors import matching
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.api_call_answer import EXCERPT_BYTES
from cronsvc.executors.base import ExecutorSettings
from tests.executors.targets import always, answer, attempt, listening

LOOPBACK = ExecutorSettings(egress_allow=("127.0.0.0/8",))
JSON = b'{"state": "done", "n": 1, "flag": true, "items": [{"id": 7}]}'
SLOW_TO_READ = "(?i)" + "[\x01-\uffff]" * 190  # takes Python more than a second


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(LOOPBACK)
    yield executor
    await executor.close()


async def called(api_call: ApiCall, reply: bytes, *, of: int = 3, close: bool = False, **config: Any) -> Outcome:
    async with listening(always(reply, close=close)) as target:
        return await api_call.run(api_call.parse({"url": target.url, **config}), attempt(1, of))


@pytest.mark.parametrize(
    ("wanted", "status", "is_success"),
    [
        (404, 404, True),
        (404, 200, False),
        ([200, "404"], 404, True),
        ("4xx", 410, True),
        ("2xx", 204, True),
        ("200-203", 203, True),
        ("200-203", 204, False),
        (["3xx", 500], 302, True),
        (["3xx", 500], 500, True),
        ("2XX", 299, True),
    ],
)
async def test_wanted_statuses(api_call: ApiCall, wanted: Any, status: int, is_success: bool) -> None:
    outcome = await called(api_call, answer(status), expect={"status": wanted})
    if is_success:
        assert outcome.error is None
        assert outcome.http_status == status
    else:
        assert outcome.error is not None
        assert (outcome.error.type, outcome.retryable) == ("http_status", False)


async def test_a_status_that_is_not_wanted_is_tried_again_only_if_it_passes(api_call: ApiCall) -> None:
    assert (await called(api_call, answer(503), expect={"status": 204})).retryable
    assert not (await called(api_call, answer(200), expect={"status": 204})).retryable


@pytest.mark.parametrize(
    ("body", "is_met"),
    [
        ({"contains": "done"}, True),
        ({"contains": ["done", "flag"]}, True),
        ({"contains": ["done", "failed"]}, False),
        ({"notContains": "failed"}, True),
        ({"notContains": ["failed", "done"]}, False),
        ({"json": {"state": "done", "items[0].id": 7, "n": 1.0}}, True),
        ({"json": {"$": {"state": "done", "n": 1, "flag": True, "items": [{"id": 7}]}}}, True),
        ({"json": {"flag": 1}}, False),
        ({"json": {"n": True}}, False),
        ({"json": {"missing": None}}, False),
        ({"matches": r'"state":\s*"(done|skipped)"'}, True),
        ({"matches": "^done$"}, False),
        ({"contains": "done", "matches": "nothing"}, False),
    ],
)
async def test_wanted_bodies(api_call: ApiCall, body: dict[str, Any], is_met: bool) -> None:
    outcome = await called(api_call, answer(200, JSON), expect={"body": body})
    if is_met:
        assert outcome.error is None
    else:
        assert outcome.error is not None
        assert (outcome.error.type, outcome.retryable) == ("unexpected_body", True)
        assert "done" not in outcome.error.message  # neither the answer nor the expectation is repeated
        assert outcome.http_status == 200
        assert outcome.excerpt == JSON.decode()


async def test_a_body_that_is_not_wanted_is_no_second_try_at_most_once(api_call: ApiCall) -> None:
    outcome = await called(api_call, answer(200, b"no"), of=1, expect={"body": {"contains": "yes"}})
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("unexpected_body", False)


async def test_json_is_judged_on_a_whole_answer_only(api_call: ApiCall) -> None:
    long = b'{"state": "done", "pad": "' + b"x" * EXCERPT_BYTES + b'"}'
    outcome = await called(api_call, answer(200, long), expect={"body": {"json": {"state": "done"}}})
    assert outcome.error is not None
    assert "longer than what is kept" in outcome.error.message
    outcome = await called(api_call, answer(200, b"[" * 50_000), expect={"body": {"json": {"state": "done"}}})
    assert outcome.error is not None
    assert "not JSON" in outcome.error.message


async def test_a_wanted_status_whose_answer_breaks_off_is_no_success(api_call: ApiCall) -> None:
    broken = answer(404, b"0123456789")[:-5]
    outcome = await called(api_call, broken, close=True, expect={"status": 404})
    assert outcome.error is not None
    assert outcome.error.type == "protocol"


async def test_an_unlucky_expression_ends_in_time_and_blocks_nobody(
    api_call: ApiCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "SECONDS", 0.3)
    outcome = await called(api_call, answer(200, b"a" * 60), expect={"body": {"matches": "^(a+)+$b"}})
    assert outcome.error is not None
    assert "took longer" in outcome.error.message


async def test_a_pattern_is_read_by_a_process_of_its_own_alone(
    api_call: ApiCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    compiling = re.compile

    def watched(pattern: Any, flags: int = 0) -> Any:
        read.append(pattern)
        return compiling(pattern, flags)

    monkeypatch.setattr(re, "compile", watched)
    monkeypatch.setattr(matching, "SECONDS", 0.3)
    config = {"url": "https://h.example/", "expect": {"body": {"matches": SLOW_TO_READ}}}
    api_call.parse(config)
    with pytest.raises(InvalidInput, match="takes longer"):
        await api_call.examine(config)
    assert SLOW_TO_READ not in read


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "unterminated"), ("a{2,1}", "min repeat"), ("\ud800(", "unterminated"), ("(" * 999, "")],
)
async def test_what_is_no_pattern(api_call: ApiCall, pattern: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await api_call.examine({"url": "https://h.example/", "expect": {"body": {"matches": pattern}}})
    (fault,) = refused.value.errors
    assert fault.field == "taskPayload.config.expect.body.matches"
    assert "is not a regular expression as Python reads it" in fault.reason and words in fault.reason


@pytest.mark.parametrize("expect", [None, 1, {}, {"body": 1}, {"body": {"matches": 1}}, {"body": {"matches": "a+"}}])
async def test_there_is_nothing_wrong_with_it(api_call: ApiCall, expect: object) -> None:
    await api_call.examine({"url": "https://h.example/", "expect": expect})


async def test_an_attempt_whose_pattern_is_none_has_failed_for_good(api_call: ApiCall) -> None:
    outcome = await called(api_call, answer(200, b"x"), expect={"body": {"matches": "("}})
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("invalid_config", False)
    assert "expect.body.matches" in outcome.error.message


@pytest.mark.parametrize(
    ("capture", "result"),
    [
        ({"body": False}, {"status": 200, "headers": {"content-length": str(len(JSON))}}),
        (
            {"json": "items[0].id"},
            {"status": 200, "headers": {"content-length": str(len(JSON))}, "body": 7},
        ),
        (
            {"json": {"id": "items.0.id", "none": "a.b"}, "headers": ["x-job", "X-None"]},
            {"status": 200, "headers": {"x-job": "17"}, "body": {"id": 7, "none": None}},
        ),
        (
            {"headers": []},
            {"status": 200, "headers": {}, "body": {"state": "done", "n": 1, "flag": True, "items": [{"id": 7}]}},
        ),
        ({"maxBytes": 8, "headers": []}, {"status": 200, "headers": {}, "body": '{"state"', "truncated": True}),
        ({"json": "items", "maxBytes": 3, "headers": []}, {"status": 200, "headers": {}, "body": {"truncated": True}}),
    ],
)
async def test_captures(api_call: ApiCall, capture: dict[str, Any], result: dict[str, Any]) -> None:
    outcome = await called(api_call, answer(200, JSON, X_Job="17"), capture=capture)
    assert outcome.error is None
    assert outcome.result == result


async def test_a_capture_of_json_from_something_else_is_null(api_call: ApiCall) -> None:
    outcome = await called(api_call, answer(200, b"words"), capture={"json": "a"})
    assert outcome.error is None
    assert outcome.result["body"] is None
