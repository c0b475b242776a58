"""`backfill`: run a past window of a job, or say what would run."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment
from cronsvc.cli.jobs import find_job
from cronsvc.cli.tables import text
from cronsvc.errors import InvalidInput

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.services.backfills import Wish


def add_backfills(app: typer.Typer) -> None:
    """Put this command on the command line."""
    app.command()(backfill)


def backfill(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="NAME_OR_ID")],
    start: Annotated[str, typer.Option("--from", help="RFC 3339 with an offset; belongs to the window.")],
    end: Annotated[str, typer.Option("--to", help="RFC 3339 with an offset; belongs to the window.")],
    everything: Annotated[bool, typer.Option("--all", help="Run again what has ended, too.")] = False,
    newest: Annotated[bool, typer.Option("--newest", help="Begin at the end of the window.")] = False,
    max_parallel: Annotated[int, typer.Option(help="So many at a time, 1 to 100.")] = 1,
    note: Annotated[str | None, typer.Option(help="Why, for those who come after.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    namespace: Annotated[str | None, typer.Option(help="Where to look for the name.")] = None,
) -> None:
    """Run the missing instants of a past window; prints the backfill's id, or with --dry-run the instants."""
    from cronsvc.domain.backfill import Direction, Mode
    from cronsvc.services.backfills import Wish

    environment: Environment = context.obj
    wish = Wish(
        start=_instant("--from", start),
        end=_instant("--to", end),
        mode=Mode.ALL if everything else Mode.MISSING,
        direction=Direction.NEWEST if newest else Direction.OLDEST,
        max_parallel=max_parallel,
        note=note,
    )
    for line in asyncio.run(_backfill(environment.logging_settings(), job, wish, namespace, dry_run)):
        print(line)


def _instant(option: str, value: str) -> datetime:
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput.of(option, "is not a time such as 2026-01-31T09:00:00Z") from None
    if instant.utcoffset() is None:
        raise InvalidInput.of(option, "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    return instant.astimezone(UTC)


async def _backfill(
    settings: "Settings", name_or_id: str, wish: "Wish", namespace: str | None, dry_run: bool
) -> list[str]:
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        job = await find_job(services.jobs, name_or_id, namespace)
        if dry_run:
            plan = await services.backfills.plan(job.id, wish, operator())
            return [text(instant) for instant in plan.instants]
        return [str((await services.backfills.start(job.id, wish, operator())).backfill.id)]
