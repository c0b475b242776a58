"""Statements on `egress_lists`: which targets the jobs of a namespace may call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from cronsvc.domain.egress_list import EgressList, NamespaceEgress
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn

SERVICE, NAMESPACE = "service", "namespace"


@dataclass(frozen=True, slots=True)
class StoredList:
    """One layer of what a namespace may call."""

    namespace: str
    layer: str
    entries: EgressList
    updated_at: datetime
    updated_by: str


COLUMNS = "namespace, layer, hosts, networks::text[] AS networks, updated_at, updated_by"

ALL = "SELECT namespace, hosts, networks::text[] AS networks FROM egress_lists ORDER BY namespace, layer DESC"


async def everything(conn: Conn) -> dict[str, NamespaceEgress]:
    """What each namespace with a list may call."""
    found: dict[str, tuple[EgressList, ...]] = {}
    async with conn.cursor(row_factory=dict_row) as cursor:
        for row in await (await cursor.execute(ALL)).fetchall():
            found[row["namespace"]] = (*found.get(row["namespace"], ()), _entries(row))
    return {namespace: NamespaceEgress(namespace, lists) for namespace, lists in found.items()}


OF = """
SELECT {columns} FROM egress_lists WHERE namespace = %(namespace)s::text ORDER BY layer DESC
""".replace("{columns}", COLUMNS)


async def of(conn: Conn, namespace: str) -> list[StoredList]:
    """The layers of one namespace, the service's first."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        return [_stored(row) for row in await (await cursor.execute(OF, {"namespace": namespace})).fetchall()]


async def egress_of(conn: Conn, namespace: str) -> NamespaceEgress:
    """What the jobs of one namespace may call."""
    return NamespaceEgress(namespace, tuple(each.entries for each in await of(conn, namespace)))


PAGE = sql.SQL("""
SELECT {columns} FROM egress_lists
 WHERE (%(namespaces)s::text[] IS NULL OR namespace = ANY (%(namespaces)s::text[]))
   AND namespace IN (SELECT l.namespace FROM egress_lists AS l
                      WHERE (%(namespaces)s::text[] IS NULL OR l.namespace = ANY (%(namespaces)s::text[]))
                        AND {beyond}
                      GROUP BY l.namespace ORDER BY l.namespace {turn} LIMIT %(limit)s::integer)
 ORDER BY namespace {turn}, layer DESC
""")


async def page(conn: Conn, *, namespaces: Sequence[str] | None, edge: Edge, limit: int) -> list[StoredList]:
    """The layers of the next `limit` namespaces that have any, by name, from `edge` on."""
    statement = PAGE.format(columns=sql.SQL(COLUMNS), **edge.parts("l.namespace"))
    visible = None if namespaces is None else list(namespaces)
    async with conn.cursor(row_factory=dict_row) as cursor:
        found = await cursor.execute(statement, {"namespaces": visible, "edge": edge.beyond, "limit": limit})
        return [_stored(row) for row in await found.fetchall()]


PUT = """
INSERT INTO egress_lists (namespace, layer, hosts, networks)
VALUES (%(namespace)s::text, %(layer)s::text, %(hosts)s::text[], %(networks)s::text[]::cidr[])
ON CONFLICT (namespace, layer) DO UPDATE
   SET hosts = excluded.hosts, networks = excluded.networks, updated_at = clock_timestamp(),
       updated_by = cronsvc_actor()
"""


async def put(conn: Conn, namespace: str, layer: str, entries: EgressList) -> None:
    """Set one layer of a namespace."""
    await conn.execute(PUT, {"namespace": namespace, "layer": layer, **columns(entries)})


DELETE = "DELETE FROM egress_lists WHERE namespace = %(namespace)s::text AND layer = ANY (%(layers)s::text[])"


async def delete(conn: Conn, namespace: str, layers: Sequence[str]) -> int:
    """Lift these layers of a namespace; returns how many there were."""
    return (await conn.execute(DELETE, {"namespace": namespace, "layers": list(layers)})).rowcount


def columns(entries: EgressList) -> dict[str, list[str]]:
    """A list as the columns of its row."""
    return {"hosts": list(entries.hosts), "networks": [str(network) for network in entries.networks]}


def _entries(row: Mapping[str, Any]) -> EgressList:
    return EgressList(tuple(row["hosts"]), tuple(ip_network(text) for text in row["networks"]))


def _stored(row: Mapping[str, Any]) -> StoredList:
    return StoredList(row["namespace"], row["layer"], _entries(row), row["updated_at"], row["updated_by"])
