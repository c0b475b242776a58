"""API_CALL with secrets: put in at the last moment, spelt as their place needs, and never shown."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from cronsvc.errors import InvalidInput
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.api_call_signing import read_signing, signature_headers
from cronsvc.executors.base import ExecutorSettings, SecretFault
from tests.executors.attempts import faults
from tests.executors.secrets import attempt_with
from tests.executors.targets import always, answer, attempt, listening

LOOPBACK = ExecutorSettings(egress_allow=("127.0.0.0/8",))
ODD = 'a&b=c#d/ä "e"'


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(LOOPBACK)
    yield executor
    await executor.close()


async def test_values_arrive_wherever_they_may_stand(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        config = api_call.parse(
            {
                "url": f"{target.url}path?fixed=1&key={{{{secret:odd}}}}",
                "params": {"more": "{{secret:odd}}"},
                "headers": {"X-Token": "Token {{secret:plain}}"},
                "data": {"deep": ["{{secret:odd}}"]},
            }
        )
        context, given = attempt_with(odd=ODD, plain="tok-12345")
        outcome = await api_call.run(config, context)
    assert outcome.error is None
    (request,) = target.requests
    assert parse_qs(urlsplit(request.target).query) == {"fixed": ["1"], "key": [ODD], "more": [ODD]}
    assert request.headers["x-token"] == "Token tok-12345"
    assert json.loads(request.body) == {"deep": [ODD]}
    assert given.asked == [{"odd", "plain"}]


async def test_what_travels_in_a_query_is_masked_as_it_travels(api_call: ApiCall) -> None:
    odd = "a/b:c@d?e!f$g'h(i)j*k,l;m&n=o+p q"
    async with listening(always(answer())) as target:
        config = {"url": f"{target.url}?one={{{{secret:odd}}}}", "params": {"two": "{{secret:odd}}"}}
        context, given = attempt_with(odd=odd)
        await api_call.run(api_call.parse(config), context)
    sent = target.requests[0].target.partition("?")[2]
    one, _, two = sent.partition("&two=")
    assert {one.removeprefix("one="), two} <= {*given.hidden, odd}


async def test_a_form_and_a_text_hold_secrets_too(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        context, _ = attempt_with(odd=ODD)
        await api_call.run(
            api_call.parse({"url": target.url, "form": {"a": "{{secret:odd}}", "b": [1, True]}}), context
        )
        await api_call.run(api_call.parse({"url": target.url, "text": "<k>{{secret:odd}}</k>"}), context)
    form, text = target.requests
    assert form.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(form.body.decode()) == {"a": [ODD], "b": ["1", "true"]}
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.body.decode() == f"<k>{ODD}</k>"


async def test_without_references_nobody_is_asked(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        context, given = attempt_with()
        assert (await api_call.run(api_call.parse({"url": target.url}), context)).error is None
    assert given.asked == []


async def test_a_secret_that_is_missing_stops_the_attempt_before_anything_is_sent(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        config = api_call.parse({"url": target.url, "headers": {"X-Token": "{{secret:gone}}"}})
        context, _ = attempt_with()
        with pytest.raises(SecretFault) as caught:
            await api_call.run(config, context)
        with pytest.raises(SecretFault):
            await api_call.run(config, attempt())
    assert (caught.value.type, caught.value.retryable) == ("secret_unknown", False)
    assert target.connections == 0


async def test_a_value_that_would_split_a_header_is_a_fault_that_repeats_nothing(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        config = api_call.parse({"url": target.url, "headers": {"X-Token": "{{secret:bad}}"}})
        context, _ = attempt_with(bad="hunter2\r\nX-Evil: 1")
        outcome = await api_call.run(config, context)
    assert target.connections == 0
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("invalid_config", False)
    assert "hunter2" not in outcome.error.message


@pytest.mark.parametrize(
    "url",
    [
        "https://{{secret:a}}/",
        "https://{{secret:a}}.example.com/?x",
        "https://h.example/{{secret:a}}?x=1",
        "https://h.example/#?{{secret:a}}",
    ],
)
def test_hosts_and_paths_hold_no_secret(api_call: ApiCall, url: str) -> None:
    assert "query only" in faults(api_call, {"url": url})["url"]


async def test_the_prepared_call_shows_no_value(api_call: ApiCall) -> None:
    config = api_call.parse({"url": "https://h.example/", "auth": {"type": "bearer", "token": "{{secret:a}}"}})
    assert "Bearer" not in repr(config.auth)


@pytest.mark.parametrize(
    ("auth", "header", "derived"),
    [
        (
            {"type": "basic", "username": "user", "password": "{{secret:a}}"},
            ("authorization", "Basic " + base64.b64encode(b"user:hunter22").decode()),
            [base64.b64encode(b"user:hunter22").decode()],
        ),
        ({"type": "bearer", "token": "{{secret:a}}"}, ("authorization", "Bearer hunter22"), []),
        ({"type": "apiKey", "value": "{{secret:a}}"}, ("x-api-key", "hunter22"), []),
        ({"type": "apiKey", "name": "Key", "in": "header", "value": "k-{{secret:a}}"}, ("key", "k-hunter22"), []),
    ],
)
async def test_auth_helpers(
    api_call: ApiCall, auth: dict[str, str], header: tuple[str, str], derived: list[str]
) -> None:
    async with listening(always(answer())) as target:
        context, given = attempt_with(a="hunter22")
        assert (await api_call.run(api_call.parse({"url": target.url, "auth": auth}), context)).error is None
    (request,) = target.requests
    assert request.headers[header[0]] == header[1]
    assert given.hidden == derived


async def test_an_api_key_in_the_query(api_call: ApiCall) -> None:
    async with listening(always(answer())) as target:
        context, _ = attempt_with(a=ODD)
        auth = {"type": "apiKey", "name": "key", "in": "query", "value": "{{secret:a}}"}
        await api_call.run(api_call.parse({"url": f"{target.url}?x=1", "auth": auth}), context)
    assert parse_qs(urlsplit(target.requests[0].target).query) == {"x": ["1"], "key": [ODD]}


@pytest.mark.parametrize(
    ("config", "field", "words"),
    [
        ({"auth": {"type": "magic"}}, "auth.type", "basic, bearer, apiKey, oauth2"),
        ({"auth": {}}, "auth.type", "basic"),
        ({"auth": {"type": "basic", "username": "u", "password": "plain"}}, "auth.password", "secret"),
        ({"auth": {"type": "basic", "username": "a:b", "password": "{{secret:a}}"}}, "auth.username", "colon"),
        ({"auth": {"type": "bearer", "token": "plain"}}, "auth.token", "secret"),
        ({"auth": {"type": "bearer", "token": "{{secret:a}}", "tokn": 1}}, "auth.tokn", "did you mean token?"),
        ({"auth": {"type": "apiKey", "name": "Host", "value": "{{secret:a}}"}}, "auth", "no header"),
        ({"auth": {"type": "apiKey", "in": "body", "value": "{{secret:a}}"}}, "auth.in", "header"),
        (
            {"auth": {"type": "bearer", "token": "{{secret:a}}"}, "headers": {"authorization": "x"}},
            "headers.Authorization",
            "auth",
        ),
        (
            {
                "auth": {
                    "type": "oauth2",
                    "tokenUrl": "http://10.0.0.1/",
                    "clientId": "c",
                    "clientSecret": "{{secret:a}}",
                }
            },
            "auth.tokenUrl",
            "CRONSVC_EGRESS_ALLOW",
        ),
        ({"signing": {"secret": "whsec_plain"}}, "signing.secret", "secret"),
        ({"signing": {}}, "signing.secret", "required"),
        ({"signing": {"secret": []}}, "signing.secret", "1 to 5"),
        ({"tls": {"certificate": "x"}}, "tls.key", "go together"),
        ({"tls": {"certificate": "{{secret:a}}", "key": "-----BEGIN"}}, "tls.key", "secret"),
        ({"tls": {"verify": False}}, "tls.verify", "CRONSVC_ALLOW_INSECURE_TLS"),
        ({"tls": {"ca": "no pem"}}, "tls.ca", "PEM"),
        ({"tls": {"minimumVersion": "1.1"}}, "tls.minimumVersion", "1.2"),
        ({"tls": {"serverName": "a b"}}, "tls.serverName", "host name"),
        ({"timeouts": {"connectSeconds": 0}}, "timeouts.connectSeconds", "above 0"),
        ({"timeouts": {"readSeconds": 1}}, "timeouts.readSeconds", "known are"),
        ({"followRedirects": 6}, "followRedirects", "0 to 5"),
        ({"data": 1, "text": "x"}, "text", "one body"),
        ({"form": {"a": {}}}, "form.a", "must be a string"),
        ({"expect": {"status": "6xx"}}, "expect.status", "2xx"),
        ({"expect": {"status": "299-200"}}, "expect.status", "2xx"),
        ({"expect": {"body": {"matches": ""}}}, "expect.body.matches", "1 to 1000 characters"),
        ({"expect": {"body": {"matches": "a" * 1001}}}, "expect.body.matches", "1 to 1000 characters"),
        ({"expect": {"body": {"json": {"a..b": 1}}}}, "expect.body.json.a..b", "place"),
        ({"expect": {"body": {"contain": "x"}}}, "expect.body.contain", "did you mean contains?"),
        ({"capture": {"json": "a..b"}}, "capture.json", "place"),
        ({"capture": {"headers": ["Set-Cookie"]}}, "capture.headers", "credential"),
        ({"capture": {"maxBytes": 70_000}}, "capture.maxBytes", "65536"),
        ({"capture": []}, "capture", "object"),
    ],
)
def test_what_is_refused(api_call: ApiCall, config: dict[str, object], field: str, words: str) -> None:
    found = faults(api_call, {"url": "https://h.example/", **config})
    assert list(found) == [field]
    assert words in found[field]


def test_faults_of_all_parts_are_named_at_once(api_call: ApiCall) -> None:
    found = faults(
        api_call,
        {
            "url": "ftp://h.example/",
            "auth": {"type": "bearer", "token": "plain"},
            "tls": {"verify": False, "serverName": "a b"},
            "expect": {"status": 99, "body": {"matches": ""}},
            "capture": {"maxBytes": 0},
        },
    )
    assert set(found) == {
        *("url", "auth.token", "tls.verify", "tls.serverName", "expect.status", "expect.body.matches"),
        "capture.maxBytes",
    }


async def test_standard_webhooks_signatures(api_call: ApiCall) -> None:
    keys = [bytes(range(32)), bytes(range(32, 56))]
    secrets = {
        "new": "whsec_" + base64.b64encode(keys[0]).decode(),
        "old": "whsec_" + base64.b64encode(keys[1]).decode(),
    }
    async with listening(always(answer())) as target:
        config = api_call.parse(
            {
                "url": target.url,
                "data": {"ä": 1},
                "signing": {"secret": ["{{secret:new}}", "{{secret:old}}"]},
            }
        )
        for number in (1, 2):
            context, _ = attempt_with(number, new=secrets["new"], old=secrets["old"])
            assert (await api_call.run(config, context)).error is None
    first, second = target.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == first.headers["idempotency-key"]
    for request in (first, second):
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
        assert request.headers["webhook-signature"].split(" ") == [
            "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys
        ]


def test_the_published_example_of_standard_webhooks() -> None:
    """The example of the reference libraries' documentation."""
    keys = read_signing({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "signing", is_filled=True)
    headers = dict(
        signature_headers(
            keys, idempotency_key="msg_p5jXN8AQM9LWM0D4loKWxJek", at=1614265330, body=b'{"test": 2432232314}'
        )
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["whsec_" + "A" * 8, "whsec_!!!", "no prefix at all, however long it may be"])
async def test_a_secret_that_signs_nothing_is_a_fault(api_call: ApiCall, secret: str) -> None:
    async with listening(always(answer())) as target:
        context, _ = attempt_with(hook=secret)
        outcome = await api_call.run(
            api_call.parse({"url": target.url, "signing": {"secret": "{{secret:hook}}"}}), context
        )
    assert target.connections == 0
    assert outcome.error is not None
    assert outcome.error.type == "invalid_config"
    assert secret not in outcome.error.message


def test_a_config_with_secrets_is_checked_when_it_is_written(api_call: ApiCall) -> None:
    with pytest.raises(InvalidInput):
        api_call.parse({"url": "https://10.0.0.1/?{{secret:a}}"})
