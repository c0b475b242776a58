"""The guard: nothing that is not public is ever connected to, however it is spelled, unless the operator lists it."""

import socket
from ipaddress import ip_address

import pytest
from yarl import URL

from cronsvc.errors import ConfigError, InvalidInput
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.api_call_config import PreparedCall
from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.egress import Egress, EgressDenied, TargetRefused, is_public
from tests.executors.targets import FixedResolver, accepting, attempt

DENIED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456:789a::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "2606:4700:4700::1111%eth0",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.128.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.1",
    "::ffff:8.8.8.8",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001:80f::200e",
]
SPELLINGS = [  # of loopback and metadata, as a URL's host
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "0",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "localhost",
    "LOCALHOST.",
    "foo.localhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "[::127.0.0.1]",
    "[fe80::1%25lo]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "[fd00:ec2::254]",
]


def info(address: str) -> tuple[object, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80))


@pytest.mark.parametrize("address", DENIED)
def test_no_socket_is_made_for(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(EgressDenied):
        Egress(()).open_socket(info(address))
    with pytest.raises(InvalidInput):
        ApiCall(ExecutorSettings()).parse({"url": f"http://{f'[{address}]' if ':' in address else address}/"})


@pytest.mark.parametrize("address", PUBLIC)
def test_a_socket_is_made_for(address: str) -> None:
    assert is_public(ip_address(address))
    opened = Egress(()).open_socket(info(address))
    assert opened.getblocking() is False
    opened.close()


def test_only_internet_sockets_are_made() -> None:
    with pytest.raises(EgressDenied):
        Egress(("0.0.0.0/0",)).open_socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/run/docker.sock"))


async def test_no_spelling_and_no_name_reaches_loopback() -> None:
    """Past `parse`, straight to the wire, with names that resolve to every denied address."""
    async with accepting("127.0.0.1", "::1") as listener:
        names = {f"name{number}.example": [address] for number, address in enumerate(DENIED)}
        names["mixed.example"] = ["10.0.0.1", "127.0.0.1", "::1"]
        hosts = SPELLINGS + [f"[{a}]" if ":" in a else a for a in DENIED if "%" not in a]
        by_system = ApiCall(ExecutorSettings())
        by_table = ApiCall(ExecutorSettings(), resolver=FixedResolver(names))
        types = set()
        for executor, host in [*((by_system, host) for host in hosts), *((by_table, name) for name in names)]:
            url = URL(f"http://{host}:{listener.port}/")
            outcome = await executor.run(PreparedCall(url, "GET", (), None, listed_host=False), attempt())
            assert outcome.error is not None, host
            if executor is by_table or host in ("127.0.0.1", "0x7f000001", "[::1]", "localhost"):
                assert (outcome.error.type, outcome.retryable) == ("egress_denied", False), host
            types.add(outcome.error.type)
        assert types <= {"egress_denied", "connect", "invalid_config"}
        assert listener.connections == 0

        permitted = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",)))
        await permitted.run(permitted.parse({"url": f"http://127.0.0.1:{listener.port}/"}), attempt())
        assert listener.connections == 1, "the listener counts"
        for executor in (by_system, by_table, permitted):
            await executor.close()


async def test_an_answer_that_changes_is_checked_at_each_connection() -> None:
    """Rebinding: the name is permitted on the first call and points inside on the second."""
    async with accepting("127.0.0.1", "127.0.0.2") as listener:
        resolver = FixedResolver({"flips.example": ["127.0.0.2"]})
        executor = ApiCall(ExecutorSettings(egress_allow=("127.0.0.2",)), resolver=resolver)
        config = executor.parse({"url": f"http://flips.example:{listener.port}/"})
        first = await executor.run(config, attempt(1, of=1))
        assert first.error is not None
        assert first.error.type == "lost"
        assert listener.connections == 1
        await executor.close()  # forgets the names it has looked up
        resolver.table["flips.example"] = ["127.0.0.1"]
        second = await executor.run(config, attempt(1, of=1))
        assert second.error is not None
        assert second.error.type == "egress_denied"
        assert listener.connections == 1
        await executor.close()


async def test_a_mixed_answer_connects_to_what_is_permitted_only() -> None:
    async with accepting("127.0.0.1", "127.0.0.2") as listener:
        resolver = FixedResolver({"mixed.example": ["10.0.0.1", "127.0.0.2", "127.0.0.1"]})
        executor = ApiCall(ExecutorSettings(egress_allow=("127.0.0.2/32",)), resolver=resolver)
        outcome = await executor.run(executor.parse({"url": f"http://mixed.example:{listener.port}/"}), attempt())
        assert outcome.error is not None
        assert outcome.error.type == "protocol", "the permitted listener closes without an answer"
        assert listener.connections == 1
        await executor.close()


async def test_the_denial_says_nothing_of_the_address() -> None:
    executor = ApiCall(ExecutorSettings(), resolver=FixedResolver({"inside.example": ["10.11.12.13"]}))
    outcome = await executor.run(executor.parse({"url": "http://inside.example/"}), attempt())
    assert outcome.error is not None
    assert "10.11.12.13" not in outcome.error.message
    assert "CRONSVC_EGRESS_ALLOW" in outcome.error.message
    await executor.close()


@pytest.mark.parametrize("host", SPELLINGS)
def test_spellings_of_private_addresses_are_refused_when_a_job_is_written(host: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ApiCall(ExecutorSettings()).parse({"url": f"http://{host}/"})
    assert [error.field for error in caught.value.errors] == ["taskPayload.config.url"]


def test_a_target_that_only_is_not_permitted_is_told_apart() -> None:
    with pytest.raises(TargetRefused, match="CRONSVC_EGRESS_ALLOW"):
        ApiCall(ExecutorSettings()).parse({"url": "http://169.254.169.254/latest/meta-data"})
    with pytest.raises(InvalidInput) as caught:
        ApiCall(ExecutorSettings()).parse({"url": "http://169.254.169.254/", "method": "BREW"})
    assert not isinstance(caught.value, TargetRefused)


@pytest.mark.parametrize(
    ("allow", "address", "permitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", True),  # public anyway
        ("10.0.0.0/8", "192.168.0.1", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("169.254.169.254", "169.254.169.254", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fc00::1", False),
        ("::1", "::1", True),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", True),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", False),
        ("0.0.0.0/0", "127.0.0.1", True),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_a_listed_network_permits_its_addresses(allow: str, address: str, permitted: bool) -> None:
    assert Egress((allow,)).permits(ip_address(address)) is permitted


@pytest.mark.parametrize(
    "entry", ["localhost", "LocalHost.", "api.internal", "bücher.internal", "my_host", "xn--bcher-kva.x"]
)
def test_a_listed_name_is_compared_in_one_spelling(entry: str) -> None:
    egress = Egress((entry,))
    host = URL.build(scheme="http", host=entry).raw_host
    assert host is not None
    assert egress.lists_host(host)
    assert egress.lists_host(host.upper())
    assert egress.refusal(host) is None
    assert not egress.lists_host(f"x.{host}")


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.0/33",
        "10.0.0.1/8",
        "",
        " ",
        "http://api.internal",
        "api.internal:80",
        "*.internal",
        "10.0.0",
        "a b",
        "a/b",
    ],
)
def test_an_entry_that_is_neither_is_a_config_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="CRONSVC_EGRESS_ALLOW"):
        Egress((entry,))


async def test_a_listed_name_may_be_private_and_no_other_name_gains_by_it() -> None:
    async with accepting("127.0.0.1") as listener:
        table = {"api.internal": ["127.0.0.1"], "other.internal": ["127.0.0.1"], "localhost": ["127.0.0.1"]}
        executor = ApiCall(ExecutorSettings(egress_allow=("api.internal",)), resolver=FixedResolver(table))
        for number, url in enumerate(
            ["http://api.internal:{}/", "http://API.internal.:{}/", "http://api.internal:{}/again"], start=1
        ):
            table["api.internal."] = ["127.0.0.1"]
            await executor.run(executor.parse({"url": url.format(listener.port)}), attempt(1, of=1))
            assert listener.connections == number
        config = executor.parse({"url": f"http://other.internal:{listener.port}/"})
        outcome = await executor.run(config, attempt())
        assert outcome.error is not None
        assert outcome.error.type == "egress_denied"
        with pytest.raises(TargetRefused):
            executor.parse({"url": f"http://127.0.0.1:{listener.port}/"})
        assert listener.connections == 3
        await executor.close()


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("10.0.0.1", True),
        ("fd12::1", True),
        ("::ffff:192.168.0.1", True),
        ("8.8.8.8", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("168.63.129.16", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
    ],
)
def test_a_listed_name_never_leads_to_metadata(address: str, permitted: bool) -> None:
    egress = Egress(("api.internal",))
    assert egress.permits_for_listed_host(ip_address(address)) is permitted
    if not permitted:
        with pytest.raises(EgressDenied):
            egress.open_socket_to_listed_host(info(address))
