"""Egress lists as people set them: which targets the jobs of a namespace may call.

Promises: a list only ever takes away. A namespace has up to two: the service's, which an administrator of everything
sets, and its own, which its administrators set; a call must be permitted by both, so nobody in a namespace widens what
was narrowed for it. A change is one transaction, audited with its caller. Workers keep to it within a second, whatever
jobs were defined before; what is then refused fails with `egress_denied`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cronsvc.domain.egress_list import MOST_ENTRIES, EgressList, Network, host_entry_fault, network_of
from cronsvc.errors import FieldError, Forbidden, InvalidInput, NotFound
from cronsvc.services.callers import Caller
from cronsvc.services.paging import NameSort, Page, check_limit, page_of
from cronsvc.store import audit, egress_lists
from cronsvc.store.egress_lists import NAMESPACE, SERVICE, StoredList
from cronsvc.store.pool import Conn, Database

_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamespaceLists:
    """What a namespace may call; a missing layer restricts nothing."""

    namespace: str
    service: StoredList | None = None
    own: StoredList | None = None


class EgressLists:
    """The egress lists of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self, caller: Caller, *, sort: NameSort = NameSort.NAME, cursor: str | None = None, limit: int = 50
    ) -> Page[NamespaceLists]:
        """Namespaces that have a list, of those the caller sees, in the order of `sort`."""
        edge = sort.edge("egress", cursor)
        async with self._db.statements() as conn:
            found = await egress_lists.page(conn, namespaces=caller.namespaces, edge=edge, limit=check_limit(limit) + 1)
        grouped = groupby(found, key=lambda each: each.namespace)
        lists = [_together(namespace, tuple(layers)) for namespace, layers in grouped]
        return page_of(lists, limit, lambda each: sort.cursor("egress", each.namespace))

    async def get(self, namespace: str, caller: Caller) -> NamespaceLists:
        """What one namespace may call; one without a list may call everything that the guard lets through."""
        _check_seen(namespace, caller)
        async with self._db.statements() as conn:
            return _together(namespace, await egress_lists.of(conn, namespace))

    async def put(
        self, namespace: str, hosts: Sequence[str], networks: Sequence[str], caller: Caller
    ) -> NamespaceLists:
        """Set the list that is the caller's to set: the service's, or the namespace's own. InvalidInput: bad ones."""
        _check_namespace(namespace)
        _allow(namespace, caller)
        entries = _checked(hosts, networks)
        layer = _layer(caller)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            before = _layer_of(await egress_lists.of(conn, namespace), layer)
            await egress_lists.put(conn, namespace, layer, entries)
            after = await egress_lists.of(conn, namespace)
            await _record(conn, "update" if before else "create", namespace, layer, before, _layer_of(after, layer))
        return _together(namespace, after)

    async def delete(self, namespace: str, caller: Caller) -> None:
        """Lift what is the caller's to lift: of an administrator of everything both lists, else the namespace's own."""
        _check_seen(namespace, caller)
        layers = (SERVICE, NAMESPACE) if caller.namespaces is None else (NAMESPACE,)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            before = await egress_lists.of(conn, namespace)
            if not await egress_lists.delete(conn, namespace, layers):
                raise NotFound(f"the namespace {namespace!r} has no egress list that you could lift")
            for each in before:
                if each.layer in layers:
                    await _record(conn, "delete", namespace, each.layer, each, None)


def _checked(hosts: Sequence[str], networks: Sequence[str]) -> EgressList:
    """The entries in one spelling and order, each once; InvalidInput lists every bad one."""
    bad: list[FieldError] = []
    names: list[str] = []
    for place, text in enumerate(hosts):
        name = text.strip().lower().rstrip(".")
        if (fault := host_entry_fault(name)) is not None:
            bad.append(FieldError(f"hosts[{place}]", f"{text[:100]!r} {fault}"))
        names.append(name)
    ranges: list[Network] = []
    for place, text in enumerate(networks):
        network = network_of(text.strip())
        if isinstance(network, str):
            bad.append(FieldError(f"networks[{place}]", f"{text[:100]!r} {network}"))
        else:
            ranges.append(network)
    if not hosts and not networks:
        bad.append(FieldError("hosts", "lists at least one host, or `networks` a network; DELETE lifts the list"))
    if len(hosts) + len(networks) > MOST_ENTRIES:
        bad.append(FieldError("hosts", f"and networks have at most {MOST_ENTRIES} entries together"))
    if bad:
        raise InvalidInput(bad)
    return EgressList(tuple(dict.fromkeys(sorted(names))), tuple(dict.fromkeys(sorted(ranges, key=str))))


def _layer(caller: Caller) -> str:
    return SERVICE if caller.namespaces is None else NAMESPACE


def _check_namespace(namespace: str) -> None:
    if _NAMESPACE.fullmatch(namespace) is None:
        raise InvalidInput.of("namespace", "is 1 to 63 letters, digits or _.- and starts with a letter or digit")


def _check_seen(namespace: str, caller: Caller) -> None:
    if _NAMESPACE.fullmatch(namespace) is None or not caller.sees(namespace):
        raise NotFound(f"there is no namespace {namespace[:63].encode('ascii', 'replace').decode()!r}")


def _allow(namespace: str, caller: Caller) -> None:
    if not caller.sees(namespace):
        raise Forbidden(
            f"this key may only set lists of its namespaces: {', '.join(caller.namespaces or ()) or 'none'}"
        )


def _layer_of(layers: Sequence[StoredList], layer: str) -> StoredList | None:
    return next((each for each in layers if each.layer == layer), None)


def _together(namespace: str, layers: Sequence[StoredList]) -> NamespaceLists:
    return NamespaceLists(namespace, _layer_of(layers, SERVICE), _layer_of(layers, NAMESPACE))


async def _record(
    conn: Conn, action: str, namespace: str, layer: str, before: StoredList | None, after: StoredList | None
) -> None:
    await audit.append(
        conn,
        action=action,
        entity="egress_list",
        entity_id=f"{namespace}/{layer}",
        namespace=namespace,
        before=None if before is None else egress_lists.columns(before.entries),
        after=None if after is None else egress_lists.columns(after.entries),
    )
