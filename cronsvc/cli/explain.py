"""`explain`: why a job did or did not run at an instant."""

from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.door import ask
from cronsvc.cli.jobs import NameOrId, Where, find_job, is_id
from cronsvc.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient
    from cronsvc.client.generated.answers import Explanation


def add_explain(app: typer.Typer) -> None:
    """Put this command on the command line."""
    app.command()(explain)


def explain(
    context: typer.Context,
    job: NameOrId,
    at: Annotated[
        str | None,
        typer.Option(help="2026-03-08T07:00:00Z, or a local time of the job such as 2026-03-08T02:30. Default: now."),
    ] = None,
    namespace: Where = None,
) -> None:
    """Say why a job did or did not run at an instant."""

    async def act(client: "AsyncClient") -> "Explanation":
        from cronsvc.client.errors import NotFound as NotFoundThere

        try:
            job_id = (await find_job(client, job, namespace)).id
        except (NotFound, NotFoundThere):  # a deleted job is found by its id only
            if not is_id(job):
                raise
            job_id = int(job)
        return await client.jobs.explain(job_id, at=at)

    try:
        found = ask(context, act)
    except InvalidInput as error:
        raise InvalidInput.of("--at", "; ".join(each.reason for each in error.errors)) from None
    print(f"{found.verdict}: {found.summary}")
    for step in found.steps:
        print(f"  {step.what:<10} {step.says}")
