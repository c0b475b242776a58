"""`executions` and `dead-letters`: what ran, ending it, and running it again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cronsvc.cli.environment import Environment
from cronsvc.cli.tables import print_table

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.domain.execution import Execution
    from cronsvc.services.access import Caller
    from cronsvc.services.dead_letters import Bulk
    from cronsvc.web.services import Services

T = TypeVar("T")

SHOWN = 50

executions = typer.Typer(help="List executions, cancel them, run them again.", no_args_is_help=True)
letters = typer.Typer(help="Executions that failed for good: list, run again, resolve.", no_args_is_help=True)

Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of executions.")]
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
    job: Annotated[int | None, typer.Option(help="Only of the job with this id.")] = None,
    status: Annotated[StatusName | None, typer.Option(help="Only with this status.")] = None,
    limit: Limit = SHOWN,
) -> None:
    """List executions, the newest first."""

    async def act(services: "Services", caller: "Caller") -> "Sequence[Execution]":
        from cronsvc.domain.execution import Status

        wanted = None if status is None else Status(status)
        return (await services.executions.list(caller, job_id=job, status=wanted, limit=limit)).items

    _print(_run(context, act))


@executions.command()
def cancel(
    context: typer.Context,
    execution: Annotated[int, typer.Argument(metavar="ID")],
    note: Annotated[str | None, typer.Option(help="Why; kept with the execution.")] = None,
) -> None:
    """End an execution: at once if it waits, by its worker if it runs. Prints its status."""
    print(_run(context, lambda services, caller: services.endings.cancel(execution, caller, note=note)).status)


@executions.command()
def retry(context: typer.Context, execution: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Let an execution that has ended run again, as its job is defined now. Prints its status."""
    print(_run(context, lambda services, caller: services.endings.retry(execution, caller)).status)


@letters.command("list")
def list_letters(
    context: typer.Context,
    job: Annotated[int | None, typer.Option(help="Only of the job with this id.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only of this namespace.")] = None,
    limit: Limit = SHOWN,
) -> None:
    """List dead letters, the latest scheduled time first."""

    async def act(services: "Services", caller: "Caller") -> "Sequence[Execution]":
        from cronsvc.services.dead_letters import Wanted

        return (await services.dead_letters.list(caller, Wanted(job, queue, namespace), limit=limit)).items

    _print(_run(context, act))


@letters.command()
def redrive(context: typer.Context, ids: Ids) -> None:
    """Let dead letters run again; tells what became of each."""
    _tell(_run(context, lambda services, caller: services.dead_letters.redrive_many(caller, ids=ids)))


@letters.command()
def resolve(
    context: typer.Context,
    ids: Ids,
    note: Annotated[str, typer.Option(help="What was done about them.")],
) -> None:
    """Take dead letters off the list; tells what became of each."""
    _tell(_run(context, lambda services, caller: services.dead_letters.resolve_many(caller, note=note, ids=ids)))


def _run(context: typer.Context, act: "Callable[[Services, Caller], Awaitable[T]]") -> T:
    """What `act` answers, done with the services of this environment by whoever holds the shell."""
    environment: Environment = context.obj
    return asyncio.run(_within(environment.logging_settings(), act))


async def _within(settings: "Settings", act: "Callable[[Services, Caller], Awaitable[T]]") -> T:
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        return await act(services, operator())


def _print(found: "Sequence[Execution]") -> None:
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
                None if each.error is None else each.error.get("type"),
            )
            for each in found
        ],
    )


def _tell(bulk: "Bulk") -> None:
    """One line for each; exit code 1 when nothing could be done with one of them."""
    for item in bulk.items:
        print(f"{item.id}  {item.refused or 'done'}")
    if any(item.refused is not None for item in bulk.items):
        raise typer.Exit(1)
