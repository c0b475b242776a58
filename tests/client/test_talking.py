"""What is sent again and what is not: the conversation by itself, with a clock that the test holds."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cronsvc.client import (
    ApiError,
    Conflict,
    Invalid,
    NotFound,
    RateLimited,
    Retries,
    ServiceFailed,
    Timeouts,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    answers,
)
from cronsvc.client.calls import Call
from cronsvc.client.generated import calendars, callbacks, executions, jobs, keys, probes
from cronsvc.client.talking import Failure, Reply, Send, Told, Wait, conversation

ME = json.dumps({"actor": "key:x", "role": "viewer", "namespaces": None}).encode()
LOST = Failure("the connection broke", sent=True)
NOT_SENT = Failure("connection refused", sent=False)
GONE = Reply(204, {}, b"")


def problem(status: int, **headers: str) -> Reply:
    kind = "not-found" if status == 404 else "x"
    document = {"type": f"/problems/{kind}", "title": "T", "status": status, "detail": "D", "requestId": "r1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/problem+json", **named}, json.dumps(document).encode())


def talk(
    call: Call[Any], told: Sequence[Told], *, retries: Retries | None = None, timeouts: Timeouts | None = None
) -> tuple[object, list[float], int]:
    """What came of it (an answer, or the error), the waits, and how many tries there were."""
    now, waits, tries = 0.0, list[float](), 0
    going = conversation(call, retries or Retries(), timeouts or Timeouts(), clock=lambda: now)
    rest, heard = list(told), None
    try:
        while True:
            step = going.send(heard)
            if isinstance(step, Wait):
                waits.append(step.seconds)
                now, heard = now + step.seconds, None
            else:
                assert isinstance(step, Send)
                heard, tries = rest.pop(0), tries + 1
    except StopIteration as done:
        return done.value, waits, tries
    except Exception as error:
        return error, waits, tries


def delete() -> Call[None]:
    return jobs.delete_job(7)


def keyed() -> Call[Any]:
    return executions.cancel_execution(7)


def unkeyed() -> Call[Any]:
    return keys.create_key(name="x")


def patch() -> Call[Any]:
    return jobs.patch_job(7, is_active=False)


def put_if_match() -> Call[Any]:
    return calendars.replace_calendar(7, name="x", if_match='"1"')


@pytest.mark.parametrize("made", [probes.get_health, delete, keyed])
@pytest.mark.parametrize("told", [LOST, NOT_SENT, problem(502), problem(503), problem(504), problem(429)])
def test_what_does_no_harm_twice_is_sent_again(made: Callable[[], Call[Any]], told: Told) -> None:
    _, waits, tries = talk(made(), [told, told, told, told])
    assert (tries, len(waits)) == (4, 3)


@pytest.mark.parametrize("made", [unkeyed, patch, put_if_match])
@pytest.mark.parametrize(
    ("told", "tries"),
    [(LOST, 1), (problem(502), 1), (problem(503), 1), (problem(504), 1), (NOT_SENT, 4), (problem(429), 4)],
)
def test_what_might_is_sent_again_only_when_it_was_not_carried_out(
    made: Callable[[], Call[Any]], told: Told, tries: int
) -> None:
    assert talk(made(), [told] * 4)[2] == tries


@pytest.mark.parametrize(
    ("status", "kind"), [(422, Invalid), (404, NotFound), (409, Conflict), (500, ServiceFailed), (418, ApiError)]
)
def test_a_refusal_is_final(status: int, kind: type[Exception]) -> None:
    error, _, tries = talk(keyed(), [problem(status)])
    assert isinstance(error, kind) and tries == 1


def test_an_error_says_what_the_problem_document_said() -> None:
    document = {"type": "/problems/invalid-input", "title": "T", "status": 422, "detail": "name: too long"}
    document |= {"requestId": "r1", "errors": [{"field": "name", "reason": "too long"}]}
    reply = Reply(422, {"content-type": "application/problem+json"}, json.dumps(document).encode())
    error = talk(keyed(), [reply])[0]
    assert isinstance(error, Invalid) and str(error) == "name: too long"
    assert (error.status, error.type, error.request_id) == (422, "/problems/invalid-input", "r1")
    assert [(each.field, each.reason) for each in error.errors] == [("name", "too long")]


def test_the_waits_are_drawn_between_nothing_and_a_bound_that_doubles() -> None:
    retries = Retries(tries=9, first_wait=1, longest_wait=8)
    many = [talk(delete(), [LOST] * 9, retries=retries, timeouts=Timeouts(total=1000))[1] for _ in range(200)]
    longest = [max(waits[number] for waits in many) for number in range(8)]
    assert all(0.7 * bound < found <= bound for found, bound in zip(longest, [1, 2, 4, 8, 8, 8, 8, 8], strict=True)), (
        longest
    )
    assert min(min(waits) for waits in many) < 0.1


def test_retry_after_is_kept_to_and_bounded() -> None:
    said, waits, _ = talk(keyed(), [problem(429, retry_after="7"), problem(422)])
    assert isinstance(said, Invalid) and 7 <= waits[0] <= 7.25
    error, waits, _ = talk(keyed(), [problem(429, retry_after="31")])
    assert isinstance(error, RateLimited) and error.retry_after == 31 and not waits
    dated = problem(503, date="Sun, 06 Nov 1994 08:49:37 GMT", retry_after="Sun, 06 Nov 1994 08:49:40 GMT")
    assert 3 <= talk(keyed(), [dated, problem(422)])[1][0] <= 3.25
    for odd in ("soon", "-1", "nan", "1e400", ""):
        assert talk(keyed(), [problem(429, retry_after=odd), problem(422)])[1][0] <= 0.25


def test_no_wait_goes_beyond_the_total() -> None:
    error, waits, tries = talk(
        keyed(), [problem(503, retry_after="4")] * 9, retries=Retries(tries=9), timeouts=Timeouts(total=10)
    )
    assert isinstance(error, Unavailable) and tries == 3 and sum(waits) < 10


def test_a_try_gets_no_more_than_what_is_left() -> None:
    now = 0.0
    going = conversation(delete(), Retries(first_wait=0.001), Timeouts(per_try=8, total=10), clock=lambda: now)
    first = next(going)
    now = 7.0
    assert isinstance(going.send(LOST), Wait)
    second = going.send(None)
    assert isinstance(first, Send) and isinstance(second, Send) and (first.seconds, second.seconds) == (8, 3)


def test_a_request_that_is_still_under_way_is_asked_for_again() -> None:
    under_way = problem(409, retry_after="2")
    assert isinstance(talk(keyed(), [LOST, under_way, problem(404)])[0], NotFound)
    assert talk(unkeyed(), [under_way])[2] == 1


def test_a_deletion_that_nobody_heard_of_has_happened() -> None:
    assert talk(delete(), [LOST, problem(404)])[::2] == (None, 2)
    assert isinstance(talk(delete(), [NOT_SENT, problem(404)])[0], NotFound)
    assert isinstance(talk(delete(), [problem(404)])[0], NotFound)
    assert talk(delete(), [GONE])[0] is None


def test_an_error_says_whether_it_may_have_happened() -> None:
    unclear = talk(keyed(), [LOST, NOT_SENT, NOT_SENT, NOT_SENT])[0]
    surely_not = talk(keyed(), [NOT_SENT] * 4)[0]
    assert isinstance(unclear, Unreachable) and unclear.unclear
    assert isinstance(surely_not, Unreachable) and not surely_not.unclear


def test_a_deletion_is_not_done_because_a_proxy_knows_no_such_place() -> None:
    """Between two releases: 503, then the default page of whatever stands before the service."""
    bare = Reply(404, {"content-type": "text/plain"}, b"default backend - 404")
    error, _, tries = talk(delete(), [problem(503), bare])
    assert isinstance(error, UnexpectedAnswer) and tries == 2 and "is this the URL of a cronsvc?" in str(error)
    other = Reply(404, {"content-type": "application/problem+json"}, b'{"type": "https://other.example/gone"}')
    assert isinstance(talk(delete(), [LOST, other])[0], NotFound)


def test_the_end_of_an_attempt_is_said_again_only_by_its_own_token() -> None:
    """With a token it is heard once; with an API key a second call would end the attempt that has begun since."""
    ending = callbacks.complete_execution_by_id(7, status="failure", retry=True)
    error, _, tries = talk(ending, [LOST])
    assert isinstance(error, Unreachable) and error.unclear and tries == 1
    assert talk(callbacks.complete_execution("token", status="failure", retry=True), [LOST] * 4)[2] == 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_by_somebody_else_is_told_as_such(status: int) -> None:
    error = talk(probes.get_health(), [Reply(status, {"content-type": "text/html"}, b"<h1>Sign in</h1>")])[0]
    assert isinstance(error, UnexpectedAnswer) and str(status) in str(error)


def test_an_error_without_words_says_its_status() -> None:
    content = b'{"title": "Service Unavailable"}'
    titled = Reply(500, {"content-type": "application/problem+json"}, content)
    assert str(talk(keyed(), [titled])[0]) == "Service Unavailable"
    assert str(talk(keyed(), [Reply(500, {"content-type": "application/problem+json"}, b"{}")])[0]).endswith("500")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {}, b"<html>welcome to the hotel</html>"),
        Reply(200, {}, b"{}"),
        Reply(302, {"location": "https://elsewhere.example"}, b""),
        Reply(201, {}, ME),
        Reply(200, {}, b"\xff"),
    ],
)
def test_what_is_not_an_answer_of_cronsvc_is_said(reply: Reply) -> None:
    error, _, tries = talk(probes.get_health(), [reply])
    assert isinstance(error, UnexpectedAnswer) and tries == 1 and "elsewhere" not in str(error)
    assert isinstance(talk(probes.get_metrics(), [Reply(200, {}, b"\xff")])[0], UnexpectedAnswer)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"detail": 5, "errors": [1, {}]}', b"[" * 100_000])
def test_a_problem_document_of_any_shape_is_an_error_like_others(body: bytes) -> None:
    error, _, _ = talk(keyed(), [Reply(404, {"content-type": "application/problem+json"}, body)])
    assert isinstance(error, NotFound)


def test_a_readiness_of_503_is_an_answer() -> None:
    part = {"status": "ok", "responseTime": 1.0}
    document = dict.fromkeys(("postgres", "redis", "schema", "selfCheck"), part) | {
        "status": "not ready",
        "problems": [],
    }
    found = talk(probes.get_ready(), [Reply(503, {}, json.dumps(document).encode())])[0]
    assert isinstance(found, answers.Ready) and found.schema_.status == "ok"
