"""Redirects: off by default, bounded, guarded, and to strangers without anything of ours."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from tests.executors.secrets import attempt_with
from tests.executors.targets import Request, Respond, Target, accepting, always, answer, attempt, listening, reset

LOOPBACK = ExecutorSettings(egress_allow=("127.0.0.1/32",))


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(LOOPBACK)
    yield executor
    await executor.close()


def leading(status: int, *steps: str, last: bytes = b"") -> Respond:
    """/0 leads to the first of `steps`, /1 to the second, and so on; anything else is answered with 200."""

    async def respond(request: Request, writer: asyncio.StreamWriter) -> None:
        name = request.target.partition("?")[0].rpartition("/")[2]
        number = int(name) if name.isdecimal() else len(steps)
        writer.write(answer(status, Location=steps[number]) if number < len(steps) else answer(200, last))

    return respond


async def test_they_are_not_followed_unless_asked_for(api_call: ApiCall) -> None:
    async with listening(leading(302, "/end")) as target:
        outcome = await api_call.run(api_call.parse({"url": f"{target.url}0"}), attempt())
    assert outcome.error is not None
    assert (outcome.error.type, outcome.http_status, len(target.requests)) == ("http_status", 302, 1)


async def test_as_many_as_asked_for_and_no_more(api_call: ApiCall) -> None:
    async with listening(leading(302, "/1", "2", "end", last=b"there")) as target:
        config = {"url": f"{target.url}0", "followRedirects": 3}
        outcome = await api_call.run(api_call.parse(config), attempt())
        assert outcome.error is None
        assert (outcome.excerpt, [each.target for each in target.requests]) == ("there", ["/0", "/1", "/2", "/end"])
        target.requests.clear()
        outcome = await api_call.run(api_call.parse(config | {"followRedirects": 2}), attempt())
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable, len(target.requests)) == ("http_status", False, 3)
    assert "2 of them were followed" in outcome.error.message


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (303, "PUT", "GET", b""),
        (307, "POST", "POST", b'"x"'),
        (308, "PUT", "PUT", b'"x"'),
        (302, "PUT", "PUT", b'"x"'),
    ],
)
async def test_methods_and_bodies(api_call: ApiCall, status: int, method: str, then: str, body: bytes) -> None:
    async with listening(leading(status, "/end")) as target:
        config = {"url": f"{target.url}0", "method": method, "data": "x", "followRedirects": 1}
        assert (await api_call.run(api_call.parse(config), attempt())).error is None
    _, second = target.requests
    assert (second.method, second.body) == (then, body)
    assert ("content-type" in second.headers) == bool(body)
    assert second.headers["idempotency-key"] == target.requests[0].headers["idempotency-key"]


def secretive(target: Target, **more: Any) -> dict[str, Any]:
    return {
        "url": f"{target.url}0",
        "headers": {
            "X-Mine": "mine",
            "Accept": "text/{{secret:token}}",
            "Accept-Language": "{{secret:token}}",
            "Content-Type": "application/json; for={{secret:token}}",
            "User-Agent": "{{secret:token}}",
            "Cookie": "a=b",
        },
        "auth": {"type": "bearer", "token": "{{secret:token}}"},
        "followRedirects": 5,
        **more,
    }


async def test_another_origin_gets_nothing_of_ours(api_call: ApiCall) -> None:
    async with listening(leading(302, "/end")) as stranger, listening(leading(302, f"{stranger.url}0")) as home:
        context, _ = attempt_with(token="hunter22")
        assert (await api_call.run(api_call.parse(secretive(home)), context)).error is None
    assert home.requests[0].headers["user-agent"] == "hunter22"
    assert home.requests[0].headers["authorization"] == "Bearer hunter22"
    assert [each.target for each in stranger.requests] == ["/0", "/end"]
    for request in stranger.requests:
        assert not {"authorization", "cookie", "x-mine", "accept-language", "content-type"} & set(request.headers)
        assert "hunter22" not in str(request.headers)
        assert request.headers["user-agent"].startswith("cronsvc/")


async def test_home_again_is_not_home_any_more(api_call: ApiCall) -> None:
    addresses: dict[str, str] = {}

    async def respond(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(302, Location=addresses["stranger"]) if request.target == "/0" else answer())

    async with listening(respond) as home, listening(leading(302, f"{home.url}end")) as stranger:
        addresses["stranger"] = f"{stranger.url}0"
        context, _ = attempt_with(token="hunter22")
        assert (await api_call.run(api_call.parse(secretive(home)), context)).error is None
    first, last = home.requests
    assert "authorization" in first.headers
    assert last.target == "/end"
    assert "authorization" not in last.headers


async def test_the_same_origin_keeps_what_it_was_given(api_call: ApiCall) -> None:
    async with listening(leading(307, "/end")) as target:
        context, _ = attempt_with(token="hunter22", hook="whsec_" + "A" * 32)
        config = secretive(target, data={"a": 1}, signing={"secret": "{{secret:hook}}"})
        assert (await api_call.run(api_call.parse(config), context)).error is None
    _, second = target.requests
    assert second.headers["authorization"] == "Bearer hunter22"
    assert second.headers["x-mine"] == "mine"
    assert "webhook-signature" in second.headers


async def test_a_body_goes_to_no_other_origin(api_call: ApiCall) -> None:
    async with listening(always(answer())) as stranger, listening(leading(307, stranger.url)) as target:
        config = {"url": f"{target.url}0", "data": {"a": 1}, "followRedirects": 1}
        outcome = await api_call.run(api_call.parse(config), attempt())
    assert stranger.requests == []
    assert outcome.error is not None
    assert "body to another origin" in outcome.error.message


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "no usable Location"),
        ("ftp://127.0.0.1/", "must start with"),
        ("http://user:pass@127.0.0.1/", "user or password"),
        ("http://[::1", "not a URL"),
        ("javascript:alert(1)", "must start with"),
        ("http://127.1/", "four decimal"),
        ("http://127.0.0.1:99999/", "not a URL"),
    ],
)
async def test_locations_that_lead_nowhere(api_call: ApiCall, location: str, words: str) -> None:
    async with listening(leading(302, location)) as target:
        config = {"url": f"{target.url}0", "followRedirects": 5}
        outcome = await api_call.run(api_call.parse(config), attempt())
    assert outcome.error is not None
    assert (outcome.error.type, outcome.http_status, len(target.requests)) == ("http_status", 302, 1)
    assert words in outcome.error.message


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data", "http://127.0.0.2:{port}/", "http://[::1]:{port}/"]
)
async def test_the_guard_holds_for_every_hop(api_call: ApiCall, location: str) -> None:
    async with (
        accepting("127.0.0.2", "::1") as forbidden,
        listening(leading(302, location.format(port=forbidden.port))) as target,
    ):
        config = {"url": f"{target.url}0", "followRedirects": 5}
        outcome = await api_call.run(api_call.parse(config), attempt())
    assert forbidden.connections == 0
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("egress_denied", False)


async def test_a_hop_that_breaks_off_leaves_the_effect_unknown(api_call: ApiCall) -> None:
    async with accepting("127.0.0.1") as closed:
        port = closed.port
    async with listening(leading(302, f"http://127.0.0.1:{port}/")) as target:
        config = api_call.parse({"url": f"{target.url}0", "followRedirects": 1})
        once = await api_call.run(config, attempt(1, 1))
        often = await api_call.run(config, attempt(1, 3))
    assert once.error is not None
    assert often.error is not None
    assert (once.error.type, once.retryable) == ("lost", False)
    assert (often.error.type, often.retryable) == ("protocol", True)


async def test_a_wanted_redirect_is_the_answer(api_call: ApiCall) -> None:
    async with listening(leading(302, "/end")) as target:
        config = {"url": f"{target.url}0", "followRedirects": 5, "expect": {"status": 302}}
        outcome = await api_call.run(api_call.parse(config), attempt())
    assert outcome.error is None
    assert len(target.requests) == 1


async def test_a_target_that_is_silent_for_too_long(api_call: ApiCall) -> None:
    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await asyncio.Event().wait()

    async with listening(respond) as target:
        config = api_call.parse({"url": target.url, "timeouts": {"idleSeconds": 0.05}})
        outcome = await api_call.run(config, attempt())
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("timeout", True)
    assert "silent for longer than 0.05 s" in outcome.error.message


async def test_a_reset_is_still_a_reset(api_call: ApiCall) -> None:
    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with listening(respond) as target:
        outcome = await api_call.run(api_call.parse({"url": target.url, "followRedirects": 5}), attempt(1, 1))
    assert outcome.error is not None
    assert outcome.error.type == "lost"
    assert target.connections == 1
