"""`explain`: why a job did or did not run at an instant, through the service that the API uses too."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment
from cronsvc.cli.jobs import find_job
from cronsvc.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from cronsvc.config import Settings
    from cronsvc.domain.evidence import Explanation


def add_explain(app: typer.Typer) -> None:
    """Put this command on the command line."""
    app.command()(explain)


def explain(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="NAME_OR_ID")],
    at: Annotated[
        str | None,
        typer.Option(help="2026-03-08T07:00:00Z, or a local time of the job such as 2026-03-08T02:30. Default: now."),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Where to look for the name.")] = None,
) -> None:
    """Say why a job did or did not run at an instant."""
    environment: Environment = context.obj
    found = asyncio.run(_explain(environment.logging_settings(), job, at, namespace))
    print(f"{found.verdict.value}: {found.summary}")
    for step in found.steps:
        print(f"  {step.what:<10} {step.says}")


async def _explain(settings: "Settings", name_or_id: str, at: str | None, namespace: str | None) -> "Explanation":
    from cronsvc.cli.callers import operator
    from cronsvc.processes.wiring import wired

    instant = None if at is None else _moment(at)
    async with wired(settings, application_name="cronsvc-cli", max_size=1) as services:
        try:
            job_id = (await find_job(services.jobs, name_or_id, namespace)).id
        except NotFound:  # a deleted job is found by its id only
            if not (name_or_id.isascii() and name_or_id.isdecimal()):
                raise
            job_id = int(name_or_id)
        return await services.explaining.explain(job_id, operator(), at=instant)


def _moment(text: str) -> "datetime":
    from cronsvc.web.explain_models import read_moment

    try:
        return read_moment(text)
    except ValueError as error:
        raise InvalidInput.of("--at", str(error)) from None
