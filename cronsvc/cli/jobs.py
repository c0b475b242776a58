"""`jobs` and `trigger`: what is there, and run one now."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cronsvc.cli.door import ask
from cronsvc.cli.tables import AsJson, print_document, print_documents, print_table, text
from cronsvc.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient
    from cronsvc.client.generated.answers import Execution, Job

PAGE = 200
SHOWN_EXECUTIONS = 10

group = typer.Typer(help="List, show, make, change, pause and delete jobs.", no_args_is_help=True)

NameOrId = Annotated[str, typer.Argument(metavar="NAME_OR_ID")]
Where = Annotated[str | None, typer.Option(help="Where to look for the name.")]


def add_jobs(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="jobs")
    app.command()(trigger)


@group.command("list")
def list_jobs(
    context: typer.Context,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs: when they ran last and will run next."""

    async def act(client: "AsyncClient") -> "list[Job]":
        return [job async for job in client.jobs.list(namespace=namespace, tag=tag, page_size=PAGE)]

    found = ask(context, act)
    if as_json:
        print_documents(found)
        return
    print_table(
        ("ID", "NAMESPACE", "NAME", "SCHEDULE", "TYPE", "STATE", "LAST", "NEXT"),
        [
            (
                job.id,
                job.namespace,
                job.name,
                schedule_of(job),
                job.task_payload.type,
                state_of(job),
                job.last_fire_time,
                job.next_fire_time,
            )
            for job in found
        ],
    )


@group.command()
def show(context: typer.Context, job: NameOrId, namespace: Where = None, as_json: AsJson = False) -> None:
    """Show one job and its latest executions; as JSON the job alone."""

    async def act(client: "AsyncClient") -> "tuple[Job, tuple[Execution, ...]]":
        found = await find_job(client, job, namespace)
        page = await client.executions.list(job_id=found.id, page_size=SHOWN_EXECUTIONS).first_page()
        return found, page.items

    found, executions = ask(context, act)
    if as_json:
        print_document(found)
        return
    facts: list[tuple[str, object]] = [
        ("id", found.id),
        ("name", found.name),
        ("namespace", found.namespace),
        ("description", found.description),
        ("tags", ", ".join(found.tags)),
        ("schedule", schedule_of(found)),
        ("timezone", found.timezone),
        ("type", found.task_payload.type),
        ("queue", found.queue),
        ("state", state_of(found)),
        ("last", found.last_fire_time),
        ("next", found.next_fire_time),
        ("revision", found.revision),
    ]
    for fact, value in facts:
        print(f"{fact:<12} {text(value)}")
    print()
    print_table(
        ("EXECUTION", "SCHEDULED", "TRIGGER", "STATUS", "REASON", "ATTEMPT", "STARTED", "ENDED"),
        [
            (
                execution.id,
                execution.scheduled_time,
                execution.trigger,
                execution.status,
                execution.status_reason,
                f"{execution.attempt}/{execution.max_attempts}",
                execution.start_time,
                execution.end_time,
            )
            for execution in executions
        ],
    )


def trigger(
    context: typer.Context,
    job: NameOrId,
    params: Annotated[str, typer.Option(help="JSON object laid over the job's config for this run.")] = "{}",
    namespace: Where = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again within 24 hours prints the same id and runs nothing.")
    ] = None,
) -> None:
    """Run a job now, beside its schedule; prints the execution's id."""
    given = _object(params)

    async def act(client: "AsyncClient") -> "Execution":
        found = await find_job(client, job, namespace)
        return await client.jobs.trigger(found.id, params=given, idempotency_key=idempotency_key)

    print(ask(context, act).id)


def _object(params: str) -> dict[str, Any]:
    try:
        value = json.loads(params)
    except ValueError as error:
        raise InvalidInput.of("--params", f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput.of("--params", 'should be an object such as {"data": {"day": "2026-01-31"}}')
    return value


async def find_job(client: "AsyncClient", name_or_id: str, namespace: str | None) -> "Job":
    """The job of this name, else of this id: a name may be made of digits."""
    found = (await client.jobs.list(name=name_or_id, namespace=namespace, page_size=2).first_page()).items
    if len(found) > 1:
        raise Conflict(f"several namespaces have a job named {name_or_id!r}: add --namespace")
    if found:
        return found[0]
    if is_id(name_or_id):
        return await client.jobs.get(int(name_or_id))
    raise NotFound(f"there is no job named {name_or_id!r}")


async def id_of_job(client: "AsyncClient", name_or_id: str, namespace: str | None) -> int:
    """The id of a job, even if it was deleted: such a job is found by its id only."""
    from cronsvc.client.errors import NotFound as NotFoundThere

    try:
        return (await find_job(client, name_or_id, namespace)).id
    except (NotFound, NotFoundThere):
        if not is_id(name_or_id):
            raise
        return int(name_or_id)


def is_id(text_: str) -> bool:
    """Whether this can be an id."""
    return text_.isascii() and text_.isdecimal()


def schedule_of(job: "Job") -> str:
    """When it fires, in a word or two."""
    if job.cron_expression is not None:
        return job.cron_expression
    if job.every is not None:
        return f"every {job.every // timedelta(seconds=1)} s"
    return "never" if job.run_at is None else f"at {text(job.run_at)}"


def state_of(job: "Job") -> str:
    """What holds it back, if anything does."""
    if job.quarantine_reason is not None:
        return "quarantined"
    if job.pause is not None and (job.pause.until is None or job.pause.until > datetime.now(UTC)):
        return "paused"
    return "active" if job.is_active else "inactive"
