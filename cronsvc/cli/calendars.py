"""`calendars import`: a calendar's dates from an iCalendar file."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment
from cronsvc.errors import InvalidInput

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.services.calendar_import import Imported

group = typer.Typer(help="Holiday calendars.", no_args_is_help=True)


def add_calendars(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="calendars")


@group.command("import")
def import_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The calendar; it is made if there is none of that name.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="An .ics file.")],
    namespace: Annotated[str, typer.Option(help="Where the calendar belongs.")] = "default",
) -> None:
    """Give a calendar the dates of an iCalendar file; jobs that follow it are planned anew."""
    from cronsvc.services.calendar_import import MOST_BYTES

    environment: Environment = context.obj
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    try:
        done = asyncio.run(_import(environment.logging_settings(), name, content, namespace))
    except InvalidInput as error:
        raise InvalidInput.of(str(file), "; ".join(each.reason for each in error.errors)) from None
    ignored = f"; {done.ignored} events close no date" if done.ignored else ""
    print(f"calendar {done.calendar.id} {name}: {done.dates} dates closed{ignored}")


async def _import(settings: "Settings", name: str, content: bytes, namespace: str) -> "Imported":
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired
    from cronsvc.services.calendar_import import import_dates

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        now = await services.calendars.now()
        return await import_dates(services.calendars, name, content, operator(), namespace=namespace, now=now)
