"""`explain`: why a job did or did not run at an instant."""

from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.door import ask
from cronsvc.cli.jobs import NameOrId, Where, id_of_job
from cronsvc.cli.tables import AsJson, print_document, text
from cronsvc.errors import FieldError, InvalidInput

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
    as_json: AsJson = False,
) -> None:
    """Say why a job did or did not run at an instant."""

    async def act(client: "AsyncClient") -> "Explanation":
        job_id = await id_of_job(client, job, namespace)
        try:
            return await client.jobs.explain(job_id, at=at)
        except InvalidInput as error:
            named = [FieldError("--at" if each.field == "at" else each.field, each.reason) for each in error.errors]
            raise InvalidInput(named) from None

    found = ask(context, act)
    if as_json:
        print_document(found)
        return
    print(f"{found.verdict}: {text(found.summary)}")
    for step in found.steps:
        print(f"  {step.what:<10} {text(step.says)}")
