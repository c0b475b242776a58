"""`jobs create`, `edit`, `pause`, `resume` and `delete`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cronsvc.cli.backfills import instant
from cronsvc.cli.door import ask
from cronsvc.cli.jobs import NameOrId, Where, find_job, state_of
from cronsvc.cli.tables import text
from cronsvc.errors import InvalidInput

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient
    from cronsvc.client.generated.answers import EditPlan, Job

LARGEST_FILE = 16 * 1024 * 1024

Setting = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A field by its name in the API, dots lead inside: taskPayload.config.url=https://…, JSON or text.",
    ),
]


def add_job_changes(group: typer.Typer) -> None:
    """Put these commands into the group `jobs`."""
    for command in (create, edit, pause, resume, delete):
        group.command()(command)


def create(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The job as JSON, as the API takes it; - reads standard input.")],
) -> None:
    """Make a job; prints its id."""
    document = _document(file)

    async def act(client: "AsyncClient") -> "Job":
        from cronsvc.client import answers
        from cronsvc.client.calls import call

        read = answers.Job.model_validate_json
        whole = call("createJob", "POST", "/api/v1/jobs", read, statuses=(201,), body=document, idempotency_key=None)
        return await client.send(whole)

    print(ask(context, act).id)


def edit(
    context: typer.Context,
    job: NameOrId,
    changes: Setting,
    if_revision: Annotated[int | None, typer.Option(help="Only if this is still the revision.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the change would do.")] = False,
    namespace: Where = None,
) -> None:
    """Change fields of a job and leave the others; prints the new revision, or with --dry-run the fires gained (+) and
    lost (-).
    """
    patch = _patch(changes)

    async def act(client: "AsyncClient") -> list[str]:
        from cronsvc.client import answers
        from cronsvc.client.calls import call

        names = {"jobId": (await find_job(client, job, namespace)).id}
        if_match = None if if_revision is None else f'"{if_revision}"'
        path = "/api/v1/jobs/{jobId}"
        if dry_run:
            plan, query = answers.EditPlan.model_validate_json, {"dryRun": True}
            return _told(
                await client.send(
                    call("patchJob", "PATCH", path, plan, names=names, query=query, body=patch, if_match=if_match)
                )
            )
        whole = answers.Job.model_validate_json
        done = await client.send(call("patchJob", "PATCH", path, whole, names=names, body=patch, if_match=if_match))
        return [str(done.revision)]

    for line in ask(context, act):
        print(line)


def _told(plan: "EditPlan") -> list[str]:
    lines = [text(plan.description)]
    for sign, fires in (("+", plan.added), ("-", plan.removed)):
        lines += [f"{sign} {text(instant)}" for instant in fires.first]
        if fires.count > len(fires.first):
            lines.append(f"{sign} and {fires.count - len(fires.first)} more")
    return lines


def pause(
    context: typer.Context,
    job: NameOrId,
    note: Annotated[str | None, typer.Option(help="Why; kept with the job.")] = None,
    until: Annotated[str | None, typer.Option(help="When it goes on by itself: 2026-01-31T09:00:00Z.")] = None,
    namespace: Where = None,
) -> None:
    """Let a job fire no more until it is resumed. Prints its state."""
    when = None if until is None else instant("--until", until)

    async def act(client: "AsyncClient") -> "Job":
        found = await find_job(client, job, namespace)
        return await client.jobs.pause(found.id, note=note, until=when)

    print(state_of(ask(context, act)))


def resume(context: typer.Context, job: NameOrId, namespace: Where = None) -> None:
    """Let a paused job fire again. Prints its state."""

    async def act(client: "AsyncClient") -> "Job":
        found = await find_job(client, job, namespace)
        return await client.jobs.resume(found.id)

    print(state_of(ask(context, act)))


def delete(context: typer.Context, job: NameOrId, namespace: Where = None) -> None:
    """Delete a job; its executions stay on record. Prints the id and the name of what was deleted."""

    async def act(client: "AsyncClient") -> "Job":
        found = await find_job(client, job, namespace)
        await client.jobs.delete(found.id)
        return found

    gone = ask(context, act)
    print(f"{gone.id}  {text(gone.name)}")


def _document(file: Path) -> dict[str, Any]:
    name = "standard input" if str(file) == "-" else str(file)
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InvalidInput.of(name, f"is longer than {LARGEST_FILE} bytes")
        document = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once_each)
    except OSError as error:
        raise InvalidInput.of(name, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput.of(name, "is not UTF-8 text") from None
    except RecursionError:
        raise InvalidInput.of(name, "is nested too deep") from None
    except ValueError as error:
        raise InvalidInput.of(name, f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInput.of(name, 'should be an object such as {"name": "nightly", "cronExpression": "0 3 * * *", …}')
    return document


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, as the API reads it: a name that is there twice is refused."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise ValueError(f"{twice!r} is there twice")
    return found


def _patch(changes: list[str]) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or not all(field.split(".")):
            raise InvalidInput.of("--set", f"{change!r} is not of the form FIELD=VALUE")
        if field == "revision":
            raise InvalidInput.of("--set", "revision is not a field to set; --if-revision makes a change conditional")
        *parents, last = field.split(".")
        place = patch
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InvalidInput.of("--set", f"{field} is given twice")
        if last in place:
            raise InvalidInput.of("--set", f"{field} is given twice")
        place[last] = _value(value)
    return patch


def _value(text_: str) -> Any:
    """JSON where it is JSON, else the text as it stands: `5` is a number, `0 4 * * *` is not."""
    try:
        return json.loads(text_)
    except (ValueError, RecursionError):
        return text_
