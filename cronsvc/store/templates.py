"""Statements on `job_templates` and their revisions, and on what jobs remember of the template they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.job import Job
from cronsvc.domain.templates import Parameter, ParameterType, TemplateFields, TemplateUse
from cronsvc.errors import Conflict
from cronsvc.store import audit
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Template:
    """A template as readers see it; `jobs` were made from it, `behind` of them from an earlier revision."""

    id: int
    fields: TemplateFields
    revision: int
    jobs: int
    behind: int
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TemplateRevision:
    """What a template said at some time."""

    revision: int
    parameters: tuple[Parameter, ...]
    definition: Mapping[str, Any]
    actor: str
    created_at: datetime


SELECT = """
SELECT t.id, t.namespace, t.name, t.description, t.revision, t.created_by, t.created_at, t.updated_at,
       r.parameters, r.definition, coalesce(u.jobs, 0) AS jobs, coalesce(u.behind, 0) AS behind
  FROM job_templates AS t JOIN job_template_revisions AS r ON r.template_id = t.id AND r.revision = t.revision
  LEFT JOIN LATERAL (
       SELECT count(*) AS jobs, count(*) FILTER (WHERE j.template_revision < t.revision) AS behind FROM jobs AS j
        WHERE j.template_id = t.id AND j.deleted_at IS NULL
          AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))) AS u ON true
 WHERE t.deleted_at IS NULL
"""
FIND = SELECT + " AND t.id = %(template_id)s::bigint"


async def find(conn: Conn, template_id: int, *, namespaces: Sequence[str] | None) -> Template | None:
    """One template; the jobs counted are those of these namespaces (None: all)."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(FIND, {"template_id": template_id, "namespaces": _list(namespaces)})
        row = await found.fetchone()
    return None if row is None else _template(row)


LOCK = "SELECT id FROM job_templates WHERE id = %(template_id)s::bigint AND deleted_at IS NULL FOR NO KEY UPDATE"


async def lock(conn: Conn, template_id: int, *, namespaces: Sequence[str] | None) -> Template | None:
    """One template, locked until the transaction ends."""
    if await (await conn.execute(LOCK, {"template_id": template_id})).fetchone() is None:
        return None
    return await find(conn, template_id, namespaces=namespaces)


PAGE = sql.SQL(
    SELECT
    + """
   AND (%(namespaces)s::text[] IS NULL OR t.namespace IS NULL OR t.namespace = ANY (%(namespaces)s::text[]))
   AND (%(namespace)s::text IS NULL OR t.namespace = %(namespace)s::text)
   AND (%(name)s::text IS NULL OR t.name = %(name)s::text)
   AND {after}
 ORDER BY {order} LIMIT %(limit)s::integer
"""
)


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    namespace: str | None,
    name: str | None,
    by_name: bool,
    descending: bool,
    after: tuple[str, int] | int | None,
    limit: int,
) -> list[Template]:
    """Templates of these namespaces and those for everybody, by id or by name, behind `after`."""
    keys = "t.name, t.id" if by_name else "t.id"
    place = "%(last_name)s::text, %(last_id)s::bigint" if by_name else "%(last_id)s::bigint"
    behind = sql.SQL(f"({keys}) {'<' if descending else '>'} ({place})" if after is not None else "true")
    order = sql.SQL(", ".join(f"{key} {'DESC' if descending else 'ASC'}" for key in keys.split(", ")))
    last_name, last_id = after if isinstance(after, tuple) else (None, after)
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(
            PAGE.format(after=behind, order=order),
            {
                "namespaces": _list(namespaces),
                "namespace": namespace,
                "name": name,
                "last_name": last_name,
                "last_id": last_id,
                "limit": limit,
            },
        )
        return [_template(row) for row in await found.fetchall()]


INSERT = """
INSERT INTO job_templates (namespace, name, description, created_by)
VALUES (%(namespace)s, %(name)s, %(description)s, cronsvc_actor())
RETURNING id
"""


async def insert(conn: Conn, fields: TemplateFields) -> int:
    """Write a new template; Conflict if the name is taken, after which the transaction is lost."""
    try:
        row = await (await conn.execute(INSERT, _columns(fields))).fetchone()
    except UniqueViolation as error:
        raise Conflict(_name_taken(fields)) from error
    assert row is not None
    await _append(conn, int(row[0]), 1, fields)
    return int(row[0])


UPDATE = """
UPDATE job_templates
   SET name = %(name)s, description = %(description)s, revision = revision + 1, updated_at = clock_timestamp()
 WHERE id = %(template_id)s::bigint
RETURNING revision
"""


async def update(conn: Conn, template_id: int, fields: TemplateFields) -> None:
    """Append a revision to a locked template, its namespace excepted; Conflict as for `insert`."""
    try:
        row = await (await conn.execute(UPDATE, _columns(fields) | {"template_id": template_id})).fetchone()
    except UniqueViolation as error:
        raise Conflict(_name_taken(fields)) from error
    assert row is not None  # the row is locked
    await _append(conn, template_id, int(row[0]), fields)


DELETE = "UPDATE job_templates SET deleted_at = clock_timestamp() WHERE id = %(template_id)s::bigint"


async def delete(conn: Conn, template_id: int) -> None:
    """Mark a locked template as deleted; what was made from it stays as it is."""
    await conn.execute(DELETE, {"template_id": template_id})


APPEND = """
INSERT INTO job_template_revisions (template_id, revision, parameters, definition, actor)
VALUES (%(template_id)s, %(revision)s, %(parameters)s, %(definition)s, cronsvc_actor())
"""


async def _append(conn: Conn, template_id: int, revision: int, fields: TemplateFields) -> None:
    parameters = {
        "template_id": template_id,
        "revision": revision,
        "parameters": Jsonb(parameters_json(fields.parameters)),
        "definition": Jsonb(dict(fields.definition)),
    }
    await conn.execute(APPEND, parameters)


REVISIONS = sql.SQL("""
SELECT r.revision, r.parameters, r.definition, r.actor, r.created_at FROM job_template_revisions AS r
 WHERE r.template_id = %(template_id)s::bigint
   AND (%(revision)s::integer IS NULL OR r.revision = %(revision)s::integer)
   AND {beyond}
 ORDER BY r.revision {turn} LIMIT %(limit)s::integer
""")


async def revisions(
    conn: Conn, template_id: int, *, revision: int | None = None, edge: Edge | None = None, limit: int = 1
) -> list[TemplateRevision]:
    """What a template has said, revision by revision from `edge` on, or at one `revision`."""
    edge = edge or Edge()
    parameters = {"template_id": template_id, "revision": revision, "edge": edge.beyond, "limit": limit}
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(REVISIONS.format(**edge.parts("r.revision")), parameters)
        rows = await found.fetchall()
    return [TemplateRevision(**{**row, "parameters": _parameters(row["parameters"])}) for row in rows]


NOTE_USE = """
UPDATE jobs SET template_id = %(template_id)s, template_revision = %(revision)s, template_input = %(input)s
 WHERE id = %(job_id)s::bigint
   AND (template_id IS DISTINCT FROM %(template_id)s::bigint OR template_revision <= %(revision)s::integer)
"""


async def note_use(conn: Conn, job: Job, use: TemplateUse) -> Job:
    """Remember, in the transaction that writes a job, which template it follows; audited as an act on the template.

    Conflict: it has been brought to a later revision meanwhile.
    """
    given = Jsonb({"values": dict(use.values), "overrides": dict(use.overrides)})
    parameters = {"template_id": use.template_id, "revision": use.revision, "input": given, "job_id": job.id}
    if (await conn.execute(NOTE_USE, parameters)).rowcount == 0:
        raise Conflict(f"job {job.id} has been brought to a later revision of template {use.template_id} meanwhile")
    await audit.append(
        conn,
        action="apply",
        entity="template",
        entity_id=str(use.template_id),
        namespace=job.definition.namespace,
        after={"job_id": job.id, "template_revision": use.revision},
    )
    return replace(job, template_id=use.template_id, template_revision=use.revision)


USED = """
SELECT j.template_id, j.template_revision, j.template_input FROM jobs AS j
 WHERE j.id = %(job_id)s::bigint AND j.deleted_at IS NULL AND j.template_id = %(template_id)s::bigint
   AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
"""


async def use_of(conn: Conn, job_id: int, *, template_id: int, namespaces: Sequence[str] | None) -> TemplateUse | None:
    """What a live job remembers of this template."""
    parameters = {"job_id": job_id, "template_id": template_id, "namespaces": _list(namespaces)}
    row = await (await conn.execute(USED, parameters)).fetchone()
    if row is None:
        return None
    found = row[2] if isinstance(row[2], dict) else {}
    return TemplateUse(row[0], row[1], found.get("values") or {}, found.get("overrides") or {})


BEHIND = """
SELECT j.id FROM jobs AS j
 WHERE j.template_id = %(template_id)s::bigint AND j.deleted_at IS NULL AND j.template_revision < %(revision)s::integer
   AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[])) AND j.id > %(after)s::bigint
 ORDER BY j.id LIMIT %(limit)s::integer
"""


async def behind(
    conn: Conn, template_id: int, *, revision: int, namespaces: Sequence[str] | None, after: int, limit: int
) -> list[int]:
    """The live jobs that were made from an earlier revision, in order of id, with ids beyond `after`."""
    parameters = {
        "template_id": template_id,
        "revision": revision,
        "namespaces": _list(namespaces),
        "after": after,
        "limit": limit,
    }
    return [job_id for (job_id,) in await (await conn.execute(BEHIND, parameters)).fetchall()]


def parameters_json(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Parameters as they are stored, in the words of the API."""
    return [
        {
            "name": each.name,
            "type": each.type.value,
            "default": each.default,
            "description": each.description,
            "choices": list(each.choices),
        }
        for each in parameters
    ]


def _parameters(stored: Sequence[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(
            each["name"],
            ParameterType(each["type"]),
            each.get("default"),
            each.get("description", ""),
            tuple(each.get("choices", ())),
        )
        for each in stored
    )


def _template(row: Mapping[str, Any]) -> Template:
    fields = TemplateFields(
        name=row["name"],
        namespace=row["namespace"],
        parameters=_parameters(row["parameters"]),
        definition=row["definition"],
        description=row["description"],
    )
    names = ("id", "revision", "jobs", "behind", "created_by", "created_at", "updated_at")
    return Template(fields=fields, **{name: row[name] for name in names})


def _columns(fields: TemplateFields) -> dict[str, Any]:
    return {"namespace": fields.namespace, "name": fields.name, "description": fields.description}


def _name_taken(fields: TemplateFields) -> str:
    where = "for all namespaces" if fields.namespace is None else f"in namespace {fields.namespace!r}"
    return f"the name {fields.name!r} is taken {where} by another template"


def _list(namespaces: Sequence[str] | None) -> list[str] | None:
    return None if namespaces is None else list(namespaces)
