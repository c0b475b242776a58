"""Tokens for client credentials: fetched through the guard, kept, forgotten, and never shown."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import parse_qs

import pytest

from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from tests.executors.secrets import attempt_with
from tests.executors.targets import FixedResolver, Request, Respond, accepting, always, answer, attempt, listening

LOOPBACK = ExecutorSettings(egress_allow=("127.0.0.1/32",))


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(LOOPBACK)
    yield executor
    await executor.close()


def token(name: str = "tok-1234", **more: Any) -> bytes:
    return answer(200, json.dumps({"access_token": name, "token_type": "bearer", "expires_in": 3600, **more}).encode())


def one_by_one(replies: Sequence[bytes]) -> Respond:
    """Answer the first request with the first reply, and so on; the last one repeats."""
    left = list(replies)

    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return respond


def config(url: str, token_url: str, **auth: Any) -> dict[str, Any]:
    credentials = {"type": "oauth2", "tokenUrl": token_url, "clientId": "me & you", "clientSecret": "{{secret:client}}"}
    return {"url": url, "auth": credentials | auth}


async def test_a_token_is_fetched_once_and_used_often(api_call: ApiCall) -> None:
    async with listening(always(token())) as server, listening(always(answer())) as target:
        parsed = api_call.parse(config(target.url, server.url, scope=["a", "b"], audience="them"))
        for number in (1, 2, 3):
            context, given = attempt_with(number, client="s3cr&t/1")
            assert (await api_call.run(parsed, context)).error is None
            assert "tok-1234" in given.hidden
    (asked,) = server.requests
    assert {each.headers["authorization"] for each in target.requests} == {"Bearer tok-1234"}
    assert asked.method == "POST"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["a b"],
        "audience": ["them"],
    }
    login = base64.b64encode(b"me%20%26%20you:s3cr%26t%2F1").decode()
    assert asked.headers["authorization"] == f"Basic {login}"


async def test_the_login_that_is_sent_for_a_token_is_masked_too(api_call: ApiCall) -> None:
    async with listening(always(token())) as server, listening(always(answer())) as target:
        context, given = attempt_with(client="s3cret-one")
        await api_call.run(api_call.parse(config(target.url, server.url)), context)
    assert server.requests[0].headers["authorization"].removeprefix("Basic ") in given.hidden


async def test_credentials_in_the_body(api_call: ApiCall) -> None:
    async with listening(always(token())) as server, listening(always(answer())) as target:
        context, _ = attempt_with(client="s3cr&t/1")
        parsed = api_call.parse(config(target.url, server.url, clientAuthentication="body"))
        assert (await api_call.run(parsed, context)).error is None
    (asked,) = server.requests
    assert "authorization" not in asked.headers
    assert parse_qs(asked.body.decode())["client_secret"] == ["s3cr&t/1"]


async def test_attempts_at_the_same_time_share_one_request(api_call: ApiCall) -> None:
    async with listening(always(token())) as server, listening(always(answer())) as target:
        parsed = api_call.parse(config(target.url, server.url))
        outcomes = await asyncio.gather(*(api_call.run(parsed, attempt_with(client="s3cret")[0]) for _ in range(5)))
    assert [each.error for each in outcomes] == [None] * 5
    assert len(server.requests) == 1


async def test_another_secret_is_another_token(api_call: ApiCall) -> None:
    async with (
        listening(one_by_one([token("tok-old1"), token("tok-new2")])) as server,
        listening(always(answer())) as target,
    ):
        parsed = api_call.parse(config(target.url, server.url))
        for secret in ("secret-1", "secret-2"):
            await api_call.run(parsed, attempt_with(client=secret)[0])
    assert [each.headers["authorization"] for each in target.requests] == ["Bearer tok-old1", "Bearer tok-new2"]


@pytest.mark.parametrize("said", [{"expires_in": 5}, {"expires_in": "20"}])
async def test_a_token_that_ends_soon_is_not_kept(api_call: ApiCall, said: dict[str, Any]) -> None:
    async with listening(always(token(**said))) as server, listening(always(answer())) as target:
        parsed = api_call.parse(config(target.url, server.url))
        for _ in range(2):
            await api_call.run(parsed, attempt_with(client="secret-1")[0])
    assert len(server.requests) == 2


async def test_a_kept_token_that_is_refused_is_replaced_by_the_next_attempt(api_call: ApiCall) -> None:
    async with (
        listening(one_by_one([token("tok-old1"), token("tok-new2")])) as server,
        listening(one_by_one([answer(), answer(401), answer()])) as target,
    ):
        parsed = api_call.parse(config(target.url, server.url))
        outcomes = [await api_call.run(parsed, attempt_with(number, client="secret-1")[0]) for number in (1, 1, 2)]
    first, refused, third = outcomes
    assert first.error is None
    assert refused.error is not None
    assert (refused.error.type, refused.retryable) == ("http_status", True)
    assert third.error is None
    assert target.requests[-1].headers["authorization"] == "Bearer tok-new2"


async def test_a_fresh_token_that_is_refused_is_not_tried_again(api_call: ApiCall) -> None:
    async with listening(always(token())) as server, listening(always(answer(401))) as target:
        outcome = await api_call.run(api_call.parse(config(target.url, server.url)), attempt_with(client="secret-1")[0])
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("http_status", False)


@pytest.mark.parametrize(
    ("reply", "words", "retryable"),
    [
        (answer(400, b'{"error": "invalid_client"}'), "HTTP 400, invalid_client", False),
        (answer(401, b'{"error": "<b>secret-1</b>"}'), "HTTP 401", False),
        (answer(503), "HTTP 503", True),
        (answer(429), "HTTP 429", True),
        (answer(200, b"no json"), "no access_token", False),
        (answer(200, b'{"access_token": "a b"}'), "no access_token", False),
        (answer(200, b'{"access_token": 5}'), "no access_token", False),
        (answer(200, b'{"access_token": "abcd", "token_type": "mac"}'), "no Bearer token", False),
        (answer(302, Location="http://169.254.169.254/"), "HTTP 302", False),
        (b"nonsense\r\n\r\n", "did not answer in valid HTTP", True),
    ],
)
async def test_no_token_no_call(api_call: ApiCall, reply: bytes, words: str, retryable: bool) -> None:
    async with listening(always(reply, close=True)) as server, listening(always(answer())) as target:
        outcome = await api_call.run(
            api_call.parse(config(target.url, server.url)), attempt_with(1, 1, client="secret-1")[0]
        )
    assert target.connections == 0
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("auth_failed", retryable)
    assert words in outcome.error.message
    assert "secret-1" not in outcome.error.message


async def test_a_token_server_may_not_be_a_name_for_a_forbidden_address() -> None:
    resolver = FixedResolver({"tokens.example": ["127.0.0.2"]})
    executor = ApiCall(LOOPBACK, resolver=resolver)
    async with accepting("127.0.0.2") as forbidden, listening(always(answer())) as target:
        parsed = executor.parse(config(target.url, f"http://tokens.example:{forbidden.port}/"))
        outcome = await executor.run(parsed, attempt_with(client="secret-1")[0])
    await executor.close()
    assert resolver.asked == ["tokens.example"]
    assert forbidden.connections == target.connections == 0
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("egress_denied", False)


async def test_the_guard_holds_for_token_servers(api_call: ApiCall) -> None:
    permissive = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",)))
    async with accepting("127.0.0.2") as forbidden, listening(always(answer())) as target:
        parsed = permissive.parse(config(target.url, f"http://127.0.0.2:{forbidden.port}/"))
        # This worker's operator permits less than the API's.
        outcome = await api_call.run(parsed, attempt_with(client="secret-1")[0])
    await permissive.close()
    assert forbidden.connections == target.connections == 0
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("egress_denied", False)


async def test_a_token_server_that_says_nothing_is_a_timeout_before_anything_was_sent(api_call: ApiCall) -> None:
    async def silent(_: Request, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(silent) as server, listening(always(answer())) as target:
        context, _ = attempt_with(1, 1, timeout_seconds=0.2, client="secret-1")
        outcome = await api_call.run(api_call.parse(config(target.url, server.url)), context)
    assert outcome.error is not None
    assert (outcome.error.type, target.connections) == ("timeout", 0)


async def test_no_token_is_needed_without_auth(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        await api_call.run(api_call.parse({"url": target.url}), attempt())
    assert "authorization" not in target.requests[0].headers
