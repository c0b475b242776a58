"""Which addresses job URLs may reach.

The check that counts happens when a socket is about to be made, on the address it will connect to: after every
spelling, DNS answer and rebinding trick has been played. Only addresses that are public by our own table *and* by the
standard library pass; `CRONSVC_EGRESS_ALLOW` adds CIDRs (any address inside them) and host names (private addresses for
calls to exactly that name). The check on a URL's host when a job is written is a courtesy: the same answer, earlier.
Redirects and proxies would open a second way out; `api_call.py` uses neither.
"""

import errno
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from yarl import URL

from cronsvc.domain.egress_list import NamespaceEgress
from cronsvc.errors import ConfigError, InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA special-purpose registry plus what clouds put on public-looking addresses. Written out, because
# `ipaddress.is_global` differs between Python releases and lets multicast, NAT64 and 6to4 through.
NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and 100.100.100.200 (Alibaba metadata)
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local: every cloud's metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and Oracle's 192.0.0.192
        "192.0.2.0/24",
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Everything outside 2000::/3 is refused as a whole: ::/96, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard-only,
# unique-local (with fd00:ec2::254), link-local, site-local, multicast, segment routing.
PUBLIC_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, AMT, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the old 6bone
        "3fff::/20",
    )
)
# What a host name on the allow-list may resolve to besides public addresses. Link-local is not among them: a name that
# somebody else answers for must not become a way to the metadata service.
PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
METADATA = (IPv4Address("100.100.100.200"), IPv6Address("fd00:ec2::254"))
NAT64 = IPv6Network("64:ff9b::/96")

REFUSAL = (
    "points at an address that is not public; "
    "the operator can permit it in CRONSVC_EGRESS_ALLOW (a CIDR or a host name)"
)
HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*", re.ASCII)
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


# What else the address of a connection that is being made must pass: a namespace's list, where it names networks. It
# belongs to the task that connects, so that one connector serves every namespace.
CONNECTING: ContextVar[Callable[[Address], bool] | None] = ContextVar("connecting", default=None)


@contextmanager
def connecting(rule: Callable[[Address], bool] | None) -> Iterator[None]:
    """Have the addresses of connections that are made in the block pass `rule` as well as the guard."""
    token = CONNECTING.set(rule)
    try:
        yield
    finally:
        CONNECTING.reset(token)


class EgressDenied(OSError):
    """The connection was not attempted because its address is not permitted.

    The words are the same for every address: what a name resolves to inside the network is nobody's business.
    """

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is not permitted")


class NotListed(EgressDenied):
    """The connection was not attempted because the egress list of the job's namespace does not permit its host."""

    __match_args__ = ("words",)

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


def address_rule(egress: NamespaceEgress, host: str, who: str) -> Callable[[Address], bool] | None:
    """What the addresses of a host must pass by a namespace's lists; None: they name it. NotListed: none would do."""
    if (fault := egress.refusal(host)) is not None:
        raise NotListed(f"the {who} {fault}")
    return partial(egress.permits, host) if egress.asks_for_address(host) else None


class TargetRefused(InvalidInput):
    """A configuration whose only fault is that its target is not permitted here."""


def is_public(address: Address) -> bool:
    """True when the address is one that anybody on the internet could reach."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    return address in PUBLIC_V6 and address.is_global and not any(address in network for network in NOT_PUBLIC_V6)


class Egress:
    """The operator's rule: public addresses, and what `allow` lists. Raises ConfigError when an entry is neither."""

    def __init__(self, allow: Sequence[str]) -> None:
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in allow:
            network = _network(entry)
            if network is None:
                hosts.add(_host_name(entry))
            else:
                networks.append(network)
        self._networks = tuple(networks)
        self._hosts = frozenset(hosts)

    def permits(self, address: Address) -> bool:
        """True when any job URL may reach this address."""
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False
            if address.ipv4_mapped is not None:
                return self.permits(address.ipv4_mapped)
        if any(address in network for network in self._networks):
            # On an IPv6-only network the operator lists 64:ff9b::/96; the IPv4 address inside must still pass.
            inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
            return inner is None or self.permits(inner)
        return is_public(address)

    def permits_for_listed_host(self, address: Address) -> bool:
        """True when a call to a host name on the allow-list may reach this address."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        private = any(address in network for network in PRIVATE) and address not in METADATA
        return private or self.permits(address)

    def lists_host(self, host: str) -> bool:
        """True when the allow-list names this host."""
        return plain_host(host) in self._hosts

    def refusal(self, host: str) -> str | None:
        """What is wrong with a URL's host (as yarl's `raw_host` gives it), in words; None when it may be tried.

        Names are not looked up: an answer now would say nothing about the answer when the job runs.
        """
        plain = plain_host(host)
        if plain in self._hosts:
            return None
        address = _address(plain)
        if address is None:
            if not HOST_NAME.fullmatch(plain) or len(plain) > 253:
                return "must name a host (letters, digits, hyphens and dots) or an IP address"
            if NUMERIC_LABEL.fullmatch(plain.rpartition(".")[2]):
                return "must spell an IPv4 address as four decimal numbers"
            if plain == "localhost" or plain.endswith(".localhost"):
                loopback = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
                return None if any(self.permits(address) for address in loopback) else REFUSAL
            return None
        return None if self.permits(address) else REFUSAL

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one `getaddrinfo` entry; raises EgressDenied before anything touches the network."""
        return self._socket(info, listed_host=False)

    def open_socket_to_listed_host(self, info: tuple[Any, ...]) -> socket.socket:
        """As `open_socket`, for a connector that only ever serves hosts on the allow-list."""
        return self._socket(info, listed_host=True)

    def _socket(self, info: tuple[Any, ...], *, listed_host: bool) -> socket.socket:
        family, kind, protocol, _, target = info
        address = _address(str(target[0])) if family in (socket.AF_INET, socket.AF_INET6) else None
        permits = self.permits_for_listed_host if listed_host else self.permits
        rule = CONNECTING.get()
        if address is None or not permits(address) or (rule is not None and not rule(address)):
            raise EgressDenied
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def plain_host(host: str) -> str:
    """The one spelling that hosts are compared in: lower case, no closing dot."""
    return host.lower().rstrip(".")


def _address(text: str) -> Address | None:
    """The address a text spells canonically; None for names and everything odd."""
    try:
        return ip_address(text.replace("%25", "%", 1))
    except ValueError:
        return None


def _network(entry: str) -> Network | None:
    """The CIDR or single address an entry spells; None when it must be a host name."""
    if "/" not in entry and _address(entry) is None:
        return None
    try:
        return ip_network(entry)
    except ValueError as error:
        raise ConfigError(
            f"CRONSVC_EGRESS_ALLOW: {entry!r} is not a CIDR: {error}; write one like 10.0.0.0/8 or fd00::/8"
        ) from error


def _host_name(entry: str) -> str:
    """The host an entry names, in the spelling that URLs are compared in."""
    try:
        name = plain_host(URL.build(scheme="http", host=entry).raw_host or "")
    except ValueError:
        name = ""
    if not HOST_NAME.fullmatch(name) or NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        raise ConfigError(
            f"CRONSVC_EGRESS_ALLOW: {entry!r} is neither a CIDR (10.0.0.0/8) nor a host name (api.internal); "
            "leave out schemes, ports and wildcards"
        )
    return name
