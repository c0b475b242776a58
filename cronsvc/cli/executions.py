"""`executions` and `dead-letters`: what ran, ending it, and running it again."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.door import ask
from cronsvc.cli.jobs import Where, id_of_job
from cronsvc.cli.tables import AsJson, print_document, print_documents, print_table, text

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient
    from cronsvc.client.generated.answers import EndingBulk, Execution, ExecutionDetail
    from cronsvc.client.generated.words import Status

SHOWN = 50

executions = typer.Typer(help="List executions, cancel them, run them again.", no_args_is_help=True)
letters = typer.Typer(help="Executions that failed for good: list, run again, resolve.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="ID")]
Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of executions.")]
OfJob = Annotated[str | None, typer.Option(metavar="NAME_OR_ID", help="Only of this job.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many, the newest first.")]


class StatusName(StrEnum):
    """The statuses of `domain.execution`, here without its imports; a test holds them equal."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


def add_executions(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(executions, name="executions")
    app.add_typer(letters, name="dead-letters")


@executions.command("list")
def list_executions(
    context: typer.Context,
    job: OfJob = None,
    status: Annotated[StatusName | None, typer.Option(help="Only with this status.")] = None,
    namespace: Where = None,
    limit: Limit = SHOWN,
    as_json: AsJson = False,
) -> None:
    """List executions, the newest first."""
    if namespace is not None and job is None:
        raise typer.BadParameter("says where to look for the name that --job gives", param_hint="--namespace")

    async def act(client: "AsyncClient") -> "Sequence[Execution]":
        wanted: Status | None = None if status is None else status.value
        job_id = None if job is None else await id_of_job(client, job, namespace)
        listed = client.executions.list(job_id=job_id, status=wanted, page_size=limit)
        return (await listed.first_page()).items

    _print(ask(context, act), as_json=as_json)


@executions.command()
def show(context: typer.Context, execution: Id, as_json: AsJson = False) -> None:
    """Show one execution and its attempts."""

    async def act(client: "AsyncClient") -> "ExecutionDetail":
        return await client.executions.get(execution)

    found = ask(context, act)
    if as_json:
        print_document(found)
        return
    facts: list[tuple[str, object]] = [
        ("id", found.id),
        ("job", f"{found.job_id} {found.job_name}"),
        ("namespace", found.namespace),
        ("scheduled", found.scheduled_time),
        ("trigger", found.trigger),
        ("status", found.status),
        ("reason", found.status_reason),
        ("attempt", f"{found.attempt}/{found.max_attempts}"),
        ("queued", found.queued_at),
        ("started", found.start_time),
        ("ended", found.end_time),
        ("worker", found.worker),
        ("error", None if found.error is None else f"{found.error.type}: {found.error.message}"),
        ("revision", found.revision),
    ]
    for fact, value in facts:
        print(f"{fact:<12} {text(value)}")
    print()
    print_table(
        ("ATTEMPT", "OUTCOME", "WORKER", "STARTED", "ENDED", "HTTP", "ERROR"),
        [
            (
                each.attempt,
                each.outcome,
                each.worker,
                each.start_time,
                each.end_time,
                each.http_status,
                None if each.error is None else each.error.type,
            )
            for each in found.attempts
        ],
    )


@executions.command()
def cancel(
    context: typer.Context,
    execution: Id,
    note: Annotated[str | None, typer.Option(help="Why; kept with the execution.")] = None,
) -> None:
    """End an execution: at once if it waits, by its worker if it runs. Prints its status."""

    async def act(client: "AsyncClient") -> "Execution":
        return await client.executions.cancel(execution, note=note)

    print(ask(context, act).status)


@executions.command()
def retry(context: typer.Context, execution: Id) -> None:
    """Let an execution that has ended run again, as its job is defined now. Prints its status."""

    async def act(client: "AsyncClient") -> "Execution":
        return await client.executions.retry(execution)

    print(ask(context, act).status)


@letters.command("list")
def list_letters(
    context: typer.Context,
    job: OfJob = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only of this namespace.")] = None,
    limit: Limit = SHOWN,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the latest scheduled time first."""

    async def act(client: "AsyncClient") -> "Sequence[Execution]":
        job_id = None if job is None else await id_of_job(client, job, namespace)
        wanted = client.dead_letters.list(job_id=job_id, queue=queue, namespace=namespace, page_size=limit)
        return (await wanted.first_page()).items

    _print(ask(context, act), as_json=as_json)


@letters.command()
def redrive(context: typer.Context, ids: Ids) -> None:
    """Let dead letters run again; tells what became of each."""

    async def act(client: "AsyncClient") -> "EndingBulk":
        return await client.dead_letters.redrive_many(ids=ids)

    _tell(ask(context, act))


@letters.command()
def resolve(
    context: typer.Context,
    ids: Ids,
    note: Annotated[str, typer.Option(help="What was done about them.")],
) -> None:
    """Take dead letters off the list; tells what became of each."""

    async def act(client: "AsyncClient") -> "EndingBulk":
        return await client.dead_letters.resolve_many(note=note, ids=ids)

    _tell(ask(context, act))


def _print(found: "Sequence[Execution]", *, as_json: bool) -> None:
    if as_json:
        print_documents(found)
        return
    print_table(
        ("EXECUTION", "JOB", "SCHEDULED", "TRIGGER", "STATUS", "REASON", "ATTEMPT", "STARTED", "ENDED", "ERROR"),
        [
            (
                each.id,
                each.job_name,
                each.scheduled_time,
                each.trigger,
                each.status,
                each.status_reason,
                f"{each.attempt}/{each.max_attempts}",
                each.start_time,
                each.end_time,
                None if each.error is None else each.error.type,
            )
            for each in found
        ],
    )


def _tell(bulk: "EndingBulk") -> None:
    """One line for each; exit code 1 when nothing could be done with one of them."""
    for item in bulk.items:
        print(f"{item.id}  {'done' if item.done else text(item.detail or item.problem)}")
    if not all(item.done for item in bulk.items):
        raise typer.Exit(1)
