"""`jobs` and `trigger`: what is there, and run one now, through the services that the API uses too."""

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cronsvc.cli.environment import Environment
from cronsvc.cli.tables import print_table, text
from cronsvc.errors import InvalidInput

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.domain.job import Job
    from cronsvc.services.jobs import Jobs

PAGE = 200
SHOWN_EXECUTIONS = 10

group = typer.Typer(help="List and show jobs.", no_args_is_help=True)


def add_jobs(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="jobs")
    app.command()(trigger)


@group.command("list")
def list_jobs(
    context: typer.Context,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
) -> None:
    """List jobs: when they ran last and will run next."""
    environment: Environment = context.obj
    asyncio.run(_list(environment.logging_settings(), namespace, tag))


@group.command()
def show(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="NAME_OR_ID")],
    namespace: Annotated[str | None, typer.Option(help="Where to look for the name.")] = None,
) -> None:
    """Show one job and its latest executions."""
    environment: Environment = context.obj
    asyncio.run(_show(environment.logging_settings(), job, namespace))


def trigger(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="NAME_OR_ID")],
    params: Annotated[str, typer.Option(help="JSON object laid over the job's config for this run.")] = "{}",
    namespace: Annotated[str | None, typer.Option(help="Where to look for the name.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again within 24 hours prints the same id and runs nothing.")
    ] = None,
) -> None:
    """Run a job now, beside its schedule; prints the execution's id."""
    environment: Environment = context.obj
    print(asyncio.run(_trigger(environment.logging_settings(), job, _object(params), namespace, idempotency_key)))


def _object(params: str) -> dict[str, Any]:
    try:
        value = json.loads(params)
    except ValueError as error:
        raise InvalidInput.of("--params", f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput.of("--params", 'should be an object such as {"data": {"day": "2026-01-31"}}')
    return value


async def _list(settings: "Settings", namespace: str | None, tag: str | None) -> None:
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    jobs: list[Job] = []
    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        cursor: str | None = None
        while True:
            page = await services.jobs.list(operator(), namespace=namespace, tag=tag, cursor=cursor, limit=PAGE)
            jobs.extend(page.items)
            cursor = page.next_cursor
            if cursor is None:
                break
    print_table(
        ("ID", "NAMESPACE", "NAME", "SCHEDULE", "TYPE", "STATE", "LAST", "NEXT"),
        [
            (
                job.id,
                job.definition.namespace,
                job.definition.name,
                _schedule(job),
                job.definition.task_payload.type,
                _state(job),
                job.last_fire_time,
                job.upcoming_fire_time,
            )
            for job in jobs
        ],
    )


async def _show(settings: "Settings", name_or_id: str, namespace: str | None) -> None:
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        job = await find_job(services.jobs, name_or_id, namespace)
        executions = await services.executions.list(operator(), job_id=job.id, limit=SHOWN_EXECUTIONS)
    definition = job.definition
    facts: list[tuple[str, object]] = [
        ("id", job.id),
        ("name", definition.name),
        ("namespace", definition.namespace),
        ("description", definition.description),
        ("tags", ", ".join(definition.tags)),
        ("schedule", _schedule(job)),
        ("timezone", definition.schedule.timezone),
        ("type", definition.task_payload.type),
        ("queue", definition.queue),
        ("state", _state(job)),
        ("last", job.last_fire_time),
        ("next", job.upcoming_fire_time),
        ("revision", job.revision),
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
            for execution in executions.items
        ],
    )


async def _trigger(
    settings: "Settings", name_or_id: str, params: dict[str, Any], namespace: str | None, key: str | None
) -> int:
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        job = await find_job(services.jobs, name_or_id, namespace)
        if key is not None:
            return (await services.jobs.trigger_once(job.id, operator(), key=key, params=params)).execution.id
        execution = await services.jobs.trigger(job.id, operator(), params=params)
    return execution.id


async def find_job(jobs: "Jobs", name_or_id: str, namespace: str | None) -> "Job":
    """The job of this name, else of this id: a name may be made of digits."""
    from cronsvc.cli.callers import operator
    from cronsvc.errors import Conflict, NotFound

    page = await jobs.list(operator(), name=name_or_id, namespace=namespace, limit=2)
    if len(page.items) > 1:
        raise Conflict(f"several namespaces have a job named {name_or_id!r}: add --namespace")
    if page.items:
        return page.items[0]
    if name_or_id.isascii() and name_or_id.isdecimal():
        return await jobs.get(int(name_or_id), operator())
    raise NotFound(f"there is no job named {name_or_id!r}")


def _schedule(job: "Job") -> str:
    schedule = job.definition.schedule
    if schedule.cron_expression is not None:
        return schedule.cron_expression
    if schedule.every_seconds is not None:
        return f"every {schedule.every_seconds} s"
    return "never" if schedule.run_at is None else f"at {text(schedule.run_at)}"


def _state(job: "Job") -> str:
    if job.quarantine_reason is not None:
        return "quarantined"
    if job.pause is not None and (job.pause.until is None or job.pause.until > datetime.now(UTC)):
        return "paused"
    return "active" if job.definition.is_active else "inactive"
