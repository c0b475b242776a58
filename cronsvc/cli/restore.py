"""`restore`: what a restored or cloned database would send, and the word to go on."""

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment
from cronsvc.cli.tables import print_table, text

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.services.restore import Released, RestoreState

group = typer.Typer(help="A restored or cloned database: look, and confirm.", no_args_is_help=True)


class Mode(StrEnum):
    RESUME = "resume"
    SKIP = "skip"


def add_restore(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="restore")


@group.command("status")
def status(context: typer.Context) -> None:
    """Say whether anything is sent, why not, and what would fire."""
    environment: Environment = context.obj
    found = asyncio.run(_status(environment.logging_settings()))
    kept = found.identity
    if not found.fenced:
        print("open: this database is the one it was, work goes on")
    elif found.waiting_for_look:
        print("checking: Postgres was started and no scheduler or worker has compared it yet")
    else:
        since = f" since {text(kept.fenced_at)}" if kept is not None and kept.fenced_at is not None else ""
        print(f"fenced{since}: {found.detail}")
    if kept is not None and kept.released_at is not None:
        print(f"last confirmed {text(kept.released_at)} by {kept.released_by}, {kept.release_mode}")
    print(
        f"jobs overdue: {found.overdue_jobs}, executions waiting: {found.queued}, running by their rows:"
        f" {found.running}, backfills under way: {found.backfills}"
    )
    if found.jobs:
        print_table(
            ("JOB", "NAME", "OVERDUE SINCE", "POLICY", "RUNS", "SKIPS", "FIRST RUNS"),
            [
                (
                    job.id,
                    job.name,
                    job.overdue_since,
                    job.misfire_policy.value,
                    job.fires,
                    job.skipped_rows,
                    job.problem or " ".join(text(run) for run in job.runs),
                )
                for job in found.jobs
            ],
        )


@group.command("confirm")
def confirm(
    context: typer.Context,
    mode: Annotated[Mode, typer.Option(help="resume: go on from where it is; skip: run nothing that it owes.")],
) -> None:
    """Go on in this database."""
    environment: Environment = context.obj
    done = asyncio.run(_confirm(environment.logging_settings(), mode))
    if mode is Mode.RESUME:
        print("confirmed: work goes on")
    else:
        print(
            f"confirmed: {done.jobs_passed} jobs passed over what they owed, {done.cancelled} executions cancelled,"
            f" {done.given_up} get no further attempt, {done.backfills_paused} backfills paused"
        )


async def _status(settings: "Settings") -> "RestoreState":
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        return await services.restore.state(operator())


async def _confirm(settings: "Settings", mode: Mode) -> "Released":
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired
    from cronsvc.services.restore import ReleaseMode

    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        return await services.restore.confirm(ReleaseMode(mode.value), operator())
