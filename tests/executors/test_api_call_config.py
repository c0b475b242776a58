"""What may be written for API_CALL, what it becomes, and what each fault is answered with."""

from typing import Any

import pytest

from cronsvc.errors import InvalidInput
from cronsvc.executors.api_call_config import HEADER_COUNT_LIMIT, METHODS, QUERY_URL_LIMIT, PreparedCall, prepare
from cronsvc.executors.egress import Egress

URL_FIELD = "taskPayload.config.url"


def prepared(**config: Any) -> PreparedCall:
    return prepare({"url": "https://api.example.com/x", **config}, Egress(()))


def faults(config: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        prepare(config, Egress(()))
    fields = [error.field for error in caught.value.errors]
    assert len(fields) == len(set(fields)), "each field is named once"
    return {error.field: error.reason for error in caught.value.errors}


def test_the_seeds_example() -> None:
    call = prepare(
        {
            "url": "https://api.example.com/endpoint",
            "method": "POST",
            "headers": {"Content-Type": "application/json", "Authorization": "Bearer token"},
            "data": {"key": "value"},
            "params": {"query": "param"},
        },
        Egress(()),
    )
    assert str(call.url) == "https://api.example.com/endpoint?query=param"
    assert call.method == "POST"
    assert call.headers == (("Content-Type", "application/json"), ("Authorization", "Bearer token"))
    assert call.body == b'{"key":"value"}'


def test_the_method_follows_the_data_when_it_is_not_said() -> None:
    assert prepared().method == "GET"
    assert prepared(data=None).method == "GET"
    assert prepared(data={}).method == "POST"
    assert prepared(data=0).method == "POST"
    assert prepared(method="delete").method == "DELETE"
    assert prepared(method="GET", data={"a": 1}).body == b'{"a":1}'


@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str) -> None:
    assert prepared(method=method).method == method


@pytest.mark.parametrize(
    ("data", "content_type", "body", "added"),
    [
        ({"a": [1, None, "ä"]}, None, '{"a":[1,null,"ä"]}'.encode(), "application/json"),
        ([], None, b"[]", "application/json"),
        ("text", None, b'"text"', "application/json"),
        (False, None, b"false", "application/json"),
        (1.5, "application/problem+json; charset=utf-8", b"1.5", None),
        ("<a/>", "application/xml", b"<a/>", None),
        ("a=1&b=ä", "application/x-www-form-urlencoded", "a=1&b=ä".encode(), None),
        ('{"ready": "made"}', "application/json", b'{"ready": "made"}', None),
        (None, None, None, None),
    ],
)
def test_bodies(data: Any, content_type: str | None, body: bytes | None, added: str | None) -> None:
    call = prepared(data=data, headers={"content-type": content_type} if content_type else {})
    assert call.body == body
    assert call.headers == (
        (("content-type", content_type),) if content_type else (("Content-Type", added),) if added else ()
    )


def test_params_are_appended_and_the_fragment_is_dropped() -> None:
    call = prepare(
        {"url": "http://h.example/p?a=1#top", "params": {"b": True, "c": [1, "zwei", 2.5], "a": "x y&z"}}, Egress(())
    )
    assert list(call.url.query.items()) == [
        ("a", "1"),
        ("b", "true"),
        ("c", "1"),
        ("c", "zwei"),
        ("c", "2.5"),
        ("a", "x y&z"),
    ]
    assert call.url.fragment == ""
    assert call.url.raw_query_string.endswith("a=x+y%26z")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "1 to 2048"),
        ("https://h.example/" + "a" * 2048, "1 to 2048"),
        ("ftp://h.example/", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("h.example/path", "http:// or https://"),
        ("//h.example/", "http:// or https://"),
        ("http:h.example", "http:// or https://"),
        ("javascript:alert(1)", "http:// or https://"),
        ("http:///path", "must name a host"),
        ("http://", "must name a host"),
        ("http://user@h.example/", "user or password"),
        ("http://user:pass@h.example/", "user or password"),
        ("http://@h.example/", "user or password"),
        ("http://h.example\\@127.0.0.1/", "backslashes"),
        ("http://h.example/a b", "spaces"),
        (" http://h.example/", "spaces"),
        ("http://h.example/\r\nX-Evil: 1", "control characters"),
        ("http://h.example/\t", "control characters"),
        ("http://h.example/\x00", "control characters"),
        ("http://h.example:0/", "port"),
        ("http://h.example:99999/", "not a URL"),
        ("http://h.example:80:80/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://h%2eexample/", "must name a host"),
        ("http://127.0.0.1%00.example/", "must name a host"),
        ("http://" + "a." * 130 + "example/", "must name a host"),
        ("http://127.1/", "four decimal numbers"),
        ("http://0x7f.1/", "four decimal numbers"),
        ("http://10.0.0.1/", "CRONSVC_EGRESS_ALLOW"),
        ("http://localhost/", "CRONSVC_EGRESS_ALLOW"),
    ],
)
def test_bad_urls(url: str, words: str) -> None:
    found = faults({"url": url})
    assert list(found) == [URL_FIELD]
    assert words in found[URL_FIELD]


@pytest.mark.parametrize("url", [None, 5, ["http://h.example/"], {"href": "x"}, True])
def test_urls_of_another_type(url: Any) -> None:
    assert list(faults({"url": url})) == [URL_FIELD]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
        ),
        *("Proxy-Authorization", "proxy-connection", "X-Cronsvc-Fence", "x-cronsvc-anything", "Idempotency-Key"),
        *("webhook-id", "Webhook-Signature", "Accept-Encoding"),
    ],
)
def test_headers_that_are_not_the_users(name: str) -> None:
    assert (
        "cannot be chosen"
        in faults({"url": "https://h.example/", "headers": {name: "x"}})[f"taskPayload.config.headers.{name}"]
    )


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB", "A\x00", "(x)", "a" * 257])
def test_bad_header_names(name: str) -> None:
    assert list(faults({"url": "https://h.example/", "headers": {name: "x"}})) == [
        f"taskPayload.config.headers.{name[:100]}"
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "a\x00", "\x7f", "\ud800", "a\x0bb"])
def test_bad_header_values_are_refused_without_being_repeated(value: str) -> None:
    secret = f"Bearer hunter2{value}"
    reason = faults({"url": "https://h.example/", "headers": {"Authorization": secret}})[
        "taskPayload.config.headers.Authorization"
    ]
    assert "hunter2" not in reason


def test_good_header_values() -> None:
    headers = {"X-Tab": "a\tb", "X-Umlaut": "Tägliche", "X-Empty": "", "Cookie": "a=b", "User-Agent": "mine"}
    assert prepared(headers=headers).headers == tuple(headers.items())


def test_headers_are_bounded_and_differ_by_more_than_case() -> None:
    field = "taskPayload.config.headers"
    assert field in faults(
        {"url": "https://h.example/", "headers": {f"X-{n}": "" for n in range(HEADER_COUNT_LIMIT + 1)}}
    )
    assert field in faults({"url": "https://h.example/", "headers": {"X-Long": "x" * 20_000}})
    assert f"{field}.accept" in faults({"url": "https://h.example/", "headers": {"Accept": "a", "accept": "b"}})


@pytest.mark.parametrize("params", [{"a": {"b": 1}}, {"a": [[1]]}, {"a": None}, {"a": float("nan")}])
def test_bad_params(params: Any) -> None:
    assert list(faults({"url": "https://h.example/", "params": params})) == ["taskPayload.config.params.a"]


@pytest.mark.parametrize(
    "params", ["a=1", [["a", "1"]], {"a": "x" * QUERY_URL_LIMIT}, {"\ud800": "x"}, {"a": "\udfff"}]
)
def test_params_that_make_no_query(params: Any) -> None:
    assert {field.partition(".a")[0] for field in faults({"url": "https://h.example/", "params": params})} <= {
        "taskPayload.config.params",
        "taskPayload.config.params.\ud800",
    }


@pytest.mark.parametrize("data", [{"a": float("inf")}, "\ud800", {"a": object()}, [b"bytes"], "x" * 1_048_575])
def test_data_that_cannot_be_sent(data: Any) -> None:
    assert list(faults({"url": "https://h.example/", "data": data})) == ["taskPayload.config.data"]


def test_data_nested_without_end() -> None:
    data: list[Any] = []
    for _ in range(100_000):
        data = [data]
    assert list(faults({"url": "https://h.example/", "data": data})) == ["taskPayload.config.data"]


def test_data_beside_a_content_type_that_is_not_json_must_be_a_string() -> None:
    found = faults({"url": "https://h.example/", "headers": {"Content-Type": "text/xml"}, "data": {"a": 1}})
    assert "must be a string" in found["taskPayload.config.data"]


def test_every_fault_is_reported_at_once() -> None:
    found = faults(
        {
            "url": "ftp://h.example/",
            "methd": "POST",
            "method": "BREW",
            "headers": {"Host": "x", "X-Number": 1},
            "data": float("nan"),
            "params": {"a": None},
        }
    )
    assert set(found) == {
        URL_FIELD,
        "taskPayload.config.methd",
        "taskPayload.config.method",
        "taskPayload.config.headers.Host",
        "taskPayload.config.headers.X-Number",
        "taskPayload.config.data",
        "taskPayload.config.params.a",
    }
    assert "did you mean method?" in found["taskPayload.config.methd"]
    assert "form, headers, json, method, params" in found["taskPayload.config.methd"]


@pytest.mark.parametrize("config", [None, [], "http://h.example/", 5])
def test_a_config_that_is_not_an_object(config: Any) -> None:
    assert list(faults(config)) == ["taskPayload.config"]


def test_a_missing_url_is_named() -> None:
    assert faults({}) == {URL_FIELD: "is required"}
