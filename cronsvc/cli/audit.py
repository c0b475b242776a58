"""`audit`: is the log what was written? Straight in the database, with no need of a running service."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment
from cronsvc.errors import CronsvcError

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.services.auditing import Verdict

group = typer.Typer(help="Check the audit log.", no_args_is_help=True)


def add_audit(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="audit")


@group.callback()
def audit() -> None:
    """Check the audit log."""


@group.command()
def verify(
    context: typer.Context,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="PLACE:HASH", help="A head that was kept elsewhere: nothing before it may be gone."),
    ] = None,
) -> None:
    """Compute the chain of hashes anew; exit code 1 with the first entry that is not what was written."""
    environment: Environment = context.obj
    verdict = asyncio.run(_verify(environment.logging_settings(), anchor))
    head = verdict.head
    if verdict.broken is not None:
        place = "" if verdict.broken.place is None else f" at place {verdict.broken.place}"
        entry = "" if verdict.broken.entry_id is None else f", entry {verdict.broken.entry_id}"
        raise CronsvcError(f"the audit log is broken{place}{entry}: {verdict.broken.reason}")
    waiting = f"; {head.waiting} entries wait to be sealed" if head.waiting else ""
    print(f"{head.place or 0} places and the log are intact{waiting}")
    if verdict.unused_ids and anchor is None:
        print(
            f"the last {verdict.unused_ids} ids given out have no entry: changes that were taken back or are under way,"
            " or an end that was cut off; an anchor kept elsewhere tells which (--anchor)"
        )
    if head.hash is not None:
        print(f"anchor {head.place}:{head.hash.hex()}")


async def _verify(settings: "Settings", anchor: str | None) -> "Verdict":
    from cronsvc.cli.callers import operator
    from cronsvc.processes.preparation import opened_database
    from cronsvc.services.auditing import Auditing

    async with opened_database(settings, application_name="cronsvc-cli", max_size=1) as database:
        auditing = Auditing(database)
        verdict = await auditing.verify(operator(), anchor=anchor)
        while True:
            if verdict.broken is not None or verdict.next_cursor is None:
                return verdict
            verdict = await auditing.verify(operator(), cursor=verdict.next_cursor)
