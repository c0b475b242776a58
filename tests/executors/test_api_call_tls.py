"""TLS options: own authorities, client certificates, names, versions, and the check that stays on."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from tests.executors.certificates import Authority, Issued
from tests.executors.secrets import attempt_with
from tests.executors.targets import always, answer, attempt, listening

LOOPBACK = ExecutorSettings(egress_allow=("127.0.0.0/8",))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("127.0.0.1", "internal.example")


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    executor = ApiCall(LOOPBACK)
    yield executor
    await executor.close()


def error_type(outcome: Outcome) -> str | None:
    return None if outcome.error is None else outcome.error.type


async def test_an_authority_of_ones_own_as_text_or_from_a_secret(
    api_call: ApiCall, authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    async with listening(always(answer()), tls=issued.server_context(tmp_path)) as target:
        url = f"https://127.0.0.1:{target.port}/"
        unknown = await api_call.run(api_call.parse({"url": url}), attempt())
        as_text = await api_call.run(api_call.parse({"url": url, "tls": {"ca": authority.pem}}), attempt())
        context, _ = attempt_with(ca=authority.pem)
        secret = await api_call.run(api_call.parse({"url": url, "tls": {"ca": "{{secret:ca}}"}}), context)
        other = await api_call.run(api_call.parse({"url": url, "tls": {"ca": Authority.new().pem}}), attempt())
    assert [error_type(each) for each in (unknown, as_text, secret, other)] == ["tls", None, None, "tls"]


async def test_a_client_certificate_and_its_key(
    api_call: ApiCall, authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    clients = Authority.new()
    mine = clients.issue("client.example")
    tls = {"ca": authority.pem, "certificate": "{{secret:cert}}", "key": "{{secret:key}}"}
    async with listening(always(answer()), tls=issued.server_context(tmp_path, clients_of=clients)) as target:
        url = f"https://127.0.0.1:{target.port}/"
        without = await api_call.run(api_call.parse({"url": url, "tls": {"ca": authority.pem}}), attempt())
        context, _ = attempt_with(cert=mine.certificate, key=mine.key)
        with_it = await api_call.run(api_call.parse({"url": url, "tls": tls}), context)
        context, _ = attempt_with(cert=mine.certificate, key=issued.key)
        mixed = await api_call.run(api_call.parse({"url": url, "tls": tls}), context)
    assert error_type(without) in ("tls", "protocol")  # TLS 1.3 tells a client only after the handshake
    assert error_type(with_it) is None
    assert error_type(mixed) == "invalid_config"
    assert mixed.error is not None
    assert "PRIVATE" not in mixed.error.message


async def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(api_call: ApiCall, authority: Authority) -> None:
    encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    tls = {"certificate": authority.pem, "key": "{{secret:key}}"}
    context, _ = attempt_with(key=encrypted)
    outcome = await api_call.run(api_call.parse({"url": "https://127.0.0.1:9/", "tls": tls}), context)
    assert error_type(outcome) == "invalid_config"


async def test_the_name_in_the_certificate(api_call: ApiCall, authority: Authority, tmp_path: Path) -> None:
    named = authority.issue("internal.example")
    async with listening(always(answer()), tls=named.server_context(tmp_path)) as target:
        url = f"https://127.0.0.1:{target.port}/"
        tls = {"ca": authority.pem}
        wrong = await api_call.run(api_call.parse({"url": url, "tls": tls}), attempt())
        right = await api_call.run(
            api_call.parse({"url": url, "tls": tls | {"serverName": "internal.example"}}), attempt()
        )
    assert [error_type(wrong), error_type(right)] == ["tls", None]


async def test_the_least_version(api_call: ApiCall, authority: Authority, issued: Issued, tmp_path: Path) -> None:
    context = issued.server_context(tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(always(answer()), tls=context) as target:
        url = f"https://127.0.0.1:{target.port}/"
        outcomes = [
            await api_call.run(
                api_call.parse({"url": url, "tls": {"ca": authority.pem, "minimumVersion": version}}), attempt()
            )
            for version in ("1.2", "1.3")
        ]
    assert error_type(outcomes[0]) is None
    assert error_type(outcomes[1]) in ("tls", "connect")  # as the server ends the handshake


async def test_the_check_is_left_out_only_where_the_operator_permits(issued: Issued, tmp_path: Path) -> None:
    lax = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",), allow_insecure_tls=True))
    async with listening(always(answer()), tls=issued.server_context(tmp_path)) as target:
        url = f"https://127.0.0.1:{target.port}/"
        checked = await lax.run(lax.parse({"url": url}), attempt())
        unchecked = await lax.run(lax.parse({"url": url, "tls": {"verify": False}}), attempt())
    await lax.close()
    assert [error_type(checked), error_type(unchecked)] == ["tls", None]


async def test_another_origin_is_checked_and_does_not_learn_who_we_are(
    authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    lax = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",), allow_insecure_tls=True))
    async with listening(always(answer()), tls=issued.server_context(tmp_path)) as stranger:
        leading = always(answer(302, Location=f"https://127.0.0.1:{stranger.port}/"))
        async with listening(leading, tls=issued.server_context(tmp_path)) as home:
            config = {"url": f"https://127.0.0.1:{home.port}/", "followRedirects": 1}
            unchecked = await lax.run(lax.parse(config | {"tls": {"verify": False}}), attempt())
            trusted = await lax.run(lax.parse(config | {"tls": {"verify": False, "ca": authority.pem}}), attempt())
    await lax.close()
    assert error_type(unchecked) == "protocol"  # the first hop had been answered
    assert len(home.requests) == 2
    assert error_type(trusted) is None
    assert len(stranger.requests) == 1


async def test_a_kept_connection_serves_no_call_with_options_of_its_own(
    api_call: ApiCall, authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    async with listening(always(answer()), tls=issued.server_context(tmp_path)) as target:
        parsed = api_call.parse({"url": f"https://127.0.0.1:{target.port}/", "tls": {"ca": authority.pem}})
        for _ in range(2):
            await api_call.run(parsed, attempt())
    assert target.connections == 2
