"""Groups of jobs as people see them. A group is there while a job names it: nobody makes or deletes one.

Acting on a whole group is an act on many jobs (`bulk`, `bulk_pausing`), which take a group as a selector.
"""

from dataclasses import dataclass

from cronsvc.services.callers import Caller
from cronsvc.services.job_validation import check_filter
from cronsvc.services.paging import Page, check_limit, names_cursor, page_of, read_names_cursor
from cronsvc.store import groups
from cronsvc.store.groups import Group
from cronsvc.store.pool import Database


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one database."""

    db: Database

    async def list(
        self,
        caller: Caller,
        *,
        name: str | None = None,
        namespace: str | None = None,
        backwards: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Group]:
        """Groups in order of name. A namespace the caller may not see has none."""
        check_filter("name", name)
        check_filter("namespace", namespace)
        kind = "groups -name" if backwards else "groups"
        after = read_names_cursor(kind, cursor)
        wanted = caller.namespaces
        if namespace is not None:
            wanted = (namespace,) if caller.sees(namespace) else ()
        async with self.db.statements() as conn:
            found = await groups.page(
                conn, namespaces=wanted, name=name, after=after, descending=backwards, limit=check_limit(limit) + 1
            )
        return page_of(found, limit, lambda each: names_cursor(kind, each.name, each.namespace))
