"""`backfill`: run a past window of a job, or say what would run."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cronsvc.cli.door import ask
from cronsvc.cli.jobs import NameOrId, Where, find_job
from cronsvc.cli.tables import text
from cronsvc.errors import InvalidInput

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient


def add_backfills(app: typer.Typer) -> None:
    """Put this command on the command line."""
    app.command()(backfill)


def backfill(
    context: typer.Context,
    job: NameOrId,
    start: Annotated[str, typer.Option("--from", help="RFC 3339 with an offset; belongs to the window.")],
    end: Annotated[str, typer.Option("--to", help="RFC 3339 with an offset; belongs to the window.")],
    everything: Annotated[bool, typer.Option("--all", help="Run again what has ended, too.")] = False,
    newest: Annotated[bool, typer.Option("--newest", help="Begin at the end of the window.")] = False,
    max_parallel: Annotated[int, typer.Option(help="So many at a time, 1 to 100.")] = 1,
    note: Annotated[str | None, typer.Option(help="Why, for those who come after.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    namespace: Where = None,
) -> None:
    """Run the missing instants of a past window; prints the backfill's id, or with --dry-run the instants."""
    wish: dict[str, Any] = {
        "from_": instant("--from", start),
        "to": instant("--to", end),
        "mode": "all" if everything else "missing",
        "order": "newest" if newest else "oldest",
        "max_parallel": max_parallel,
        "note": note,
    }

    async def act(client: "AsyncClient") -> list[str]:
        found = await find_job(client, job, namespace)
        if dry_run:
            return [text(each) for each in (await client.backfills.start_dry_run(found.id, **wish)).instants]
        return [str((await client.backfills.start(found.id, **wish)).id)]

    for line in ask(context, act):
        print(line)


def instant(option: str, value: str) -> datetime:
    """The instant that an option gives. InvalidInput names the option."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput.of(option, "is not a time such as 2026-01-31T09:00:00Z") from None
    if found.utcoffset() is None:
        raise InvalidInput.of(option, "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    return found
