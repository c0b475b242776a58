"""`status`: what is going on, in a few lines."""

from typing import TYPE_CHECKING

import typer

from cronsvc.cli.door import ask
from cronsvc.cli.tables import AsJson, print_document, print_table, text

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient
    from cronsvc.client.generated.answers import StatusAnswer


def add_status(app: typer.Typer) -> None:
    """Put this command on the command line."""
    app.command()(status)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Say what is going on: jobs, executions, dead letters, workers and schedulers."""

    async def act(client: "AsyncClient") -> "StatusAnswer":
        return await client.service.status()

    found = ask(context, act)
    if as_json:
        print_document(found)
        return
    facts: list[tuple[str, object]] = [
        ("active jobs", found.jobs.active),
        ("paused jobs", found.jobs.paused),
        ("waiting", found.waiting),
        ("running", found.running),
        ("dead letters", found.dead_letters.count),
        ("next fire", found.next_fire_time),
    ]
    for fact, value in facts:
        print(f"{fact:<14} {text(value)}")
    print()
    print_table(
        ("PROCESS", "NAME", "VERSION", "STARTED", "HEARTBEAT"),
        [
            *(("worker", each.name, each.version, each.started_at, each.heartbeat_at) for each in found.workers),
            *(("scheduler", each.name, each.version, each.started_at, each.heartbeat_at) for each in found.schedulers),
        ],
    )
