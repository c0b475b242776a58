"""The corpus of ways inside (`data/inside.txt`): by a job's URL, a token's, a redirect, a name that changes its mind.

None of them reaches a socket that listens, whatever an egress list or a proxy variable says.
"""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from yarl import URL

from cronsvc.domain.egress_list import EgressList, NamespaceEgress, network_of
from cronsvc.domain.execution import Outcome
from cronsvc.errors import InvalidInput
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.api_call_auth import Auth, TokenRequest
from cronsvc.executors.api_call_config import PreparedCall
from cronsvc.executors.base import ExecutorSettings, RunContext
from tests.executors.targets import FixedResolver, accepting, answer, attempt, listening
from tests.executors.targets import Request as Asked

CORPUS = Path(__file__).parent / "data" / "inside.txt"
LINES = [
    tuple(line.split(" -> "))
    for line in CORPUS.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
NAMES: Mapping[str, list[str]] = {
    "loopback.example": ["127.0.0.1"],
    "loopback-v6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "any.example": ["0.0.0.0"],
    "many.example": ["10.0.0.1", "127.0.0.1", "::1", "169.254.169.254"],
    "inside.example": ["10.11.12.13"],
    "metadata.google.internal": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1", "127.0.0.1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "home.example": ["127.0.0.3"],
}
# It permits everything there is: a list only ever takes away.
GENEROUS = NamespaceEgress(
    "red",
    (
        EgressList(
            ("localhost", "*.example", "*.localhost", "metadata.google.internal", "kubernetes.default.svc"),
            tuple(each for each in map(network_of, ("0.0.0.0/0", "::/0")) if not isinstance(each, str)),
        ),
    ),
)


class Rebinding(FixedResolver):
    """Answers `rebinds.example` with a public address at first and with loopback ever after."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        name = host.rstrip(".").lower()
        if name == "rebinds.example":
            self.table[host] = ["127.0.0.1"] if self.asked.count(host) else ["192.0.2.1"]
        else:
            self.table[host] = self.table.get(name, [])[:]
            if not self.table[host]:
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return await super().resolve(host, port, family)


def corpus(port: int) -> Iterator[tuple[str, str]]:
    for url, verdict in LINES:
        yield url.replace("{port}", str(port)), verdict


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proxy variable points at a port that the tests would notice."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_a_definition_with_any_of_them_is_refused_unless_only_the_name_can_tell() -> None:
    executor = ApiCall(ExecutorSettings())
    for url, verdict in corpus(8080):
        accepted = True
        try:
            executor.parse({"url": url})
        except InvalidInput as refused:
            accepted = False
            assert [error.field for error in refused.errors] == ["taskPayload.config.url"], url
        assert accepted is (verdict == "dns"), url
        token = {"type": "oauth2", "tokenUrl": url, "clientId": "a", "clientSecret": "{{secret:x}}"}
        config = {"url": "https://api.example.com/", "auth": token}
        if accepted:
            executor.parse(config)
        else:
            with pytest.raises(InvalidInput) as caught:
                executor.parse(config)
            assert [error.field for error in caught.value.errors] == ["taskPayload.config.auth.tokenUrl"], url


async def test_none_of_them_reaches_a_socket_that_listens() -> None:
    """Past the check of definitions: as a job's URL, as the URL of its token, and as where a target redirects to."""
    async with accepting("127.0.0.1", "::1") as inside:
        by_system = ApiCall(ExecutorSettings())
        by_table = ApiCall(ExecutorSettings(egress_allow=("home.example",)), resolver=Rebinding(dict(NAMES)))
        tried = 0
        for text, verdict in corpus(inside.port):
            for executor in (by_table, by_system) if verdict == "refused" else (by_table, by_table):
                for context in (attempt(), replace(attempt(), egress=GENEROUS)):
                    for outcome in [
                        await _called(executor, text, context),
                        await _with_token(executor, text, context),
                        await _redirected(by_table, text, context),
                    ]:
                        assert outcome is None or outcome.error is not None or outcome.http_status == 302, text
                        tried += outcome is not None
        assert tried > 6 * len(LINES)
        assert inside.connections == 0

        # And it would have been seen.
        permitted = ApiCall(ExecutorSettings(egress_allow=("127.0.0.1", "::1")), resolver=FixedResolver(dict(NAMES)))
        for url in ("http://127.0.0.1:{}/", "http://[::1]:{}/", "http://loopback.example:{}/"):
            await permitted.run(permitted.parse({"url": url.format(inside.port)}), attempt())
        assert inside.connections == 3
        for executor in (by_system, by_table, permitted):
            await executor.close()


def _prepared(text: str, **more: Any) -> PreparedCall | None:
    try:
        url = URL(text)
        assert url.raw_host
        assert url.scheme in ("http", "https")
    except (ValueError, AssertionError):
        return None  # no request can be made of it at all
    return PreparedCall(url, "GET", (), None, listed_host=False, **more)


async def _called(executor: ApiCall, text: str, context: RunContext) -> Outcome | None:
    call = _prepared(text)
    return None if call is None else await executor.run(call, context)


async def _with_token(executor: ApiCall, text: str, context: RunContext) -> Outcome | None:
    if _prepared(text) is None:
        return None
    wanted = TokenRequest(text, "a", "b", scope=None, audience=None, in_body=False)
    call = _prepared("http://nowhere.example/", auth=Auth(token=wanted))
    assert call is not None
    return await executor.run(call, context)


async def _redirected(executor: ApiCall, text: str, context: RunContext) -> Outcome:
    async with _leading_to(text) as target:
        config = executor.parse({"url": f"http://home.example:{target.port}/", "followRedirects": 3})
        outcome = await executor.run(config, context)
        assert target.requests, "it was at home and got its redirect"
    return outcome


def _leading_to(text: str) -> Any:
    async def respond(_: Asked, writer: Any) -> None:
        writer.write(answer(302, Location=text.encode().decode("latin-1")))
        await writer.drain()

    return listening(respond, host="127.0.0.3")


@pytest.mark.parametrize(
    ("entries", "permitted"),
    [
        (EgressList(("home.example",)), True),
        (EgressList(("*.example",)), True),
        (EgressList(networks=(network_of("127.0.0.0/8"),)), True),  # type: ignore[arg-type]
        (EgressList(("other.example", "*.home.example"), (network_of("10.0.0.0/8"),)), False),  # type: ignore[arg-type]
        (EgressList(("other.example",)), False),
    ],
)
async def test_a_list_takes_away_what_it_does_not_name(entries: EgressList, permitted: bool) -> None:
    executor = ApiCall(ExecutorSettings(egress_allow=("home.example",)), resolver=FixedResolver(dict(NAMES)))
    async with _answering() as target:
        call = executor.parse({"url": f"http://home.example:{target.port}/"})
        free = await executor.run(call, attempt())  # leaves a connection behind that the next one must not use
        assert free.error is None
        bound = await executor.run(call, replace(attempt(), egress=NamespaceEgress("red", (entries,))))
        assert len(target.requests) == (2 if permitted else 1)
        # One that is judged by its address makes a connection of its own, which is then judged.
        assert target.connections == (2 if permitted and entries.networks else 1)
    if not permitted:
        assert bound.error is not None
        assert (bound.error.type, bound.retryable) == ("egress_denied", False)
        assert "egress list of the namespace 'red'" in bound.error.message
        assert "127.0.0.3" not in bound.error.message
    await executor.close()


async def test_a_redirect_and_a_token_keep_to_the_list_as_well() -> None:
    executor = ApiCall(
        ExecutorSettings(egress_allow=("home.example", "loopback.example")), resolver=FixedResolver(dict(NAMES))
    )
    bound = replace(attempt(), egress=NamespaceEgress("red", (EgressList(("home.example",)),)))
    async with accepting("127.0.0.1") as elsewhere:
        there = f"http://loopback.example:{elsewhere.port}/"
        redirected = await _redirected(executor, there, bound)
        assert redirected.error is not None
        assert redirected.error.type == "egress_denied"
        assert redirected.elsewhere
        async with _answering() as target:
            call = executor.parse({"url": f"http://home.example:{target.port}/"})
            wanted = TokenRequest(there, "a", "b", scope=None, audience=None, in_body=False)
            refused = await executor.run(replace(call, auth=Auth(token=wanted)), bound)
            assert not target.connections
        assert refused.error is not None
        assert refused.error.type == "egress_denied"
        assert elsewhere.connections == 0
    await executor.close()


def _answering() -> Any:
    async def respond(_: Asked, writer: Any) -> None:
        writer.write(answer(200, b"{}"))
        await writer.drain()

    return listening(respond, host="127.0.0.3")


def test_the_hosts_of_a_config() -> None:
    executor = ApiCall(ExecutorSettings())
    token = {"type": "oauth2", "tokenUrl": "https://login.example/t", "clientId": "a", "clientSecret": "{{secret:x}}"}
    config = {"url": "https://API.Example.com./x", "auth": token}
    assert list(executor.hosts(config)) == [
        ("taskPayload.config.url", "api.example.com"),
        ("taskPayload.config.auth.tokenUrl", "login.example"),
    ]
    assert executor.hosts({"url": "http://127.0.0.1/"}) == ()
