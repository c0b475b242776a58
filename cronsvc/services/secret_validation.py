"""What is asked of a config in the transaction that writes it, of what others have set for its namespace.

Each `{{secret:name}}` stands in a right place and names a secret that is there; each host that is named is one that the
namespace's egress list permits, as far as its name says that.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cronsvc.domain.job import Job, JobDefinition
from cronsvc.domain.secret_references import NAME_RULE, Reference, references
from cronsvc.errors import FieldError
from cronsvc.executors.base import Executor
from cronsvc.executors.options import hosts_named, merged, secret_members
from cronsvc.store import egress_lists, secrets
from cronsvc.store.pool import Conn

PATH = "taskPayload.config"


async def definition_faults(
    conn: Conn, definition: JobDefinition, executors: Mapping[str, Executor], *, stored: JobDefinition | None = None
) -> list[FieldError]:
    """`secret_faults` and `egress_faults` of a definition. `stored` is the one it replaces, wherever it was."""
    payload = definition.task_payload
    kept = stored is not None and stored.namespace == definition.namespace
    executor = executors.get(payload.type)
    bad = await secret_faults(
        conn,
        executor,
        payload.config,
        namespace=definition.namespace,
        stored=stored.task_payload.config if stored is not None and kept else None,
    )
    if kept and stored is not None and stored.task_payload == payload:
        return bad  # a list that came later must not lock the other fields; workers keep to it
    return [*bad, *await egress_faults(conn, executor, payload.config, namespace=definition.namespace)]


async def params_faults(conn: Conn, job: Job, params: object, executors: Mapping[str, Executor]) -> list[FieldError]:
    """`secret_faults` and `egress_faults` of a run with these params over the job's config."""
    if not isinstance(params, Mapping) or not params:
        return []
    payload = job.definition.task_payload
    executor, namespace = executors.get(payload.type), job.definition.namespace
    config = merged(executor, payload.config, params)
    bad = await secret_faults(conn, executor, config, namespace=namespace, stored=payload.config)
    return [*bad, *await egress_faults(conn, executor, config, namespace=namespace)]


async def egress_faults(
    conn: Conn, executor: Executor | None, config: Mapping[str, Any], *, namespace: str
) -> list[FieldError]:
    """Every host of a config that the lists of its namespace do not permit, by its field."""
    try:
        named = hosts_named(executor, config)
    except RecursionError:
        return []  # nested too deeply, which the check of the payload says
    if not named:
        return []
    egress = await egress_lists.egress_of(conn, namespace)
    found = ((field, egress.refusal(host)) for field, host in named)
    return [FieldError(field, fault) for field, fault in found if fault is not None]


async def secret_faults(
    conn: Conn,
    executor: Executor | None,
    config: Mapping[str, Any],
    *,
    namespace: str,
    stored: Mapping[str, Any] | None = None,
) -> list[FieldError]:
    """Every reference of a config that could not be resolved, by its field; none for an unknown job type.

    `stored` is the config that this one replaces: what it names already need not be there any more.
    """
    try:
        named = list(references(config))
        before = {each.name for each in references(stored)} if stored is not None else set()
    except RecursionError:
        return []  # nested too deeply, which the check of the payload says
    if executor is None or not named:
        return []
    wanted = sorted({each.name for each in named if each.is_well_formed} - before)
    known = (await secrets.known(conn, namespace, wanted) if wanted else frozenset()) | before
    return list(_faults(named, secret_members(executor), known, namespace))


def _faults(
    named: list[Reference], members: tuple[str, ...], known: frozenset[str], namespace: str
) -> Iterator[FieldError]:
    for each in named:
        field = ".".join([PATH, *(part[:100] for part in each.place)])
        if not each.is_well_formed:
            yield FieldError(field, f"names the secret {each.name[:63]!r}: a name {NAME_RULE}")
        elif each.is_key:
            yield FieldError(field, "cannot be a secret: names of members are not filled in")
        elif not each.place or each.place[0] not in members:
            where = f"; it may stand in {', '.join(members)}" if members else ""
            yield FieldError(field, f"cannot hold a secret in a job of this type{where}")
        elif each.name not in known:
            yield FieldError(field, f"there is no secret {each.name!r} in the namespace {namespace!r}")
