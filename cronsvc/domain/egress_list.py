"""Which targets the jobs of one namespace may call: names, and networks for what is called by address.

A restriction on top of the guard that keeps every job away from private addresses, never a way around it. A host that
a list names may have any address; one that it does not name is permitted where its address lies in a listed network,
which for a name is only known when it is connected to. Where a namespace has several lists, each must permit.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST_ENTRIES = 200
WILDCARD = "*."

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


def host_key(host: str) -> str:
    """The one spelling that hosts are compared and counted in: lower case, no closing dot, short addresses.

    An IPv4 address in an IPv6 one is the IPv4 address: that is who gets the call.
    """
    plain = host.lower().rstrip(".").removeprefix("[").removesuffix("]")
    try:
        address = ip_address(plain)
    except ValueError:
        return plain
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def host_entry_fault(entry: str) -> str | None:
    """What is wrong with an entry of `hosts`, in words; None when it is a name or `*.` and a name."""
    if len(entry) > 253 or not _NAME.fullmatch(entry):
        return "is no host name in lower case such as api.example.com or *.example.com, without scheme, port and path"
    if _NUMBER.fullmatch(entry.rpartition(".")[2]):
        return "is an address: list it in networks, such as 192.0.2.7/32"
    if entry.startswith(WILDCARD) and "." not in entry.removeprefix(WILDCARD):
        return "names a whole top-level domain; write *.example.com"
    return None


def network_of(entry: str) -> Network | str:
    """The network an entry of `networks` spells; otherwise what is wrong with it, in words."""
    try:
        return ip_network(entry)
    except ValueError:
        return "is no network such as 192.0.2.0/24, 192.0.2.7/32 or 2001:db8::/32 (no bits behind the mask)"


def address_of(host: str) -> Address | None:
    """The address a host spells; None for a name."""
    try:
        return ip_address(host_key(host))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class EgressList:
    """What one list permits; its entries have been checked."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def names(self, host: str) -> bool:
        """Whether the list names this host (plain), itself or by what it is below."""
        return any(
            host.endswith(entry[1:]) and len(host) > len(entry) - 1 if entry.startswith(WILDCARD) else host == entry
            for entry in self.hosts
        )

    def covers(self, address: Address) -> bool:
        """Whether an address lies in a listed network."""
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class NamespaceEgress:
    """What the jobs of one namespace may call; without lists everything that the guard lets through."""

    namespace: str = ""
    lists: tuple[EgressList, ...] = ()

    def refusal(self, host: str) -> str | None:
        """Why no job of the namespace may call this host, and what would be right; None when it may be tried."""
        plain, address = host_key(host), address_of(host)
        for each in self.lists:
            if each.names(plain) or (each.covers(address) if address is not None else bool(each.networks)):
                continue
            name = f"the egress list of the namespace {self.namespace!r}"
            return f"calls {plain[:253]}, which {name} does not permit; {_has(each)}"
        return None

    def asks_for_address(self, host: str) -> bool:
        """Whether the address that is connected to decides, because some list does not name the host."""
        plain = host_key(host)
        return not all(each.names(plain) for each in self.lists)

    def permits(self, host: str, address: Address) -> bool:
        """Whether a call to this host may be connected to this address, as far as the lists go."""
        plain = host_key(host)
        return all(each.names(plain) or each.covers(address) for each in self.lists)


EVERYTHING = NamespaceEgress()


def _has(each: EgressList) -> str:
    entries: Sequence[str] = (*each.hosts, *map(str, each.networks))
    return f"it has {_listed(entries[:10])}{' and more' if len(entries) > 10 else ''}"


def _listed(entries: Iterable[str]) -> str:
    return ", ".join(entries)
