"""`secrets`: what jobs send and nobody reads, straight in the database. A value comes from standard input or a prompt,
never from the command line, which others on the machine can see.
"""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment
from cronsvc.cli.tables import print_table
from cronsvc.errors import CronsvcError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from cronsvc.config import Settings
    from cronsvc.services.secrets import Secrets
    from cronsvc.store.secrets import Secret

group = typer.Typer(help="Set, list and delete secrets, and change the keys that encrypt them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]
Namespace = Annotated[str, typer.Option(help="The namespace it is in.")]


def add_secrets(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="secrets")


@group.command("set")
def set_secret(context: typer.Context, name: Name, namespace: Namespace = "default") -> None:
    """Give a secret the value that standard input holds (one line end is dropped), or that is typed twice."""
    environment: Environment = context.obj
    settings = environment.logging_settings()
    secret = asyncio.run(_set(settings, namespace, name, _value()))
    print(f"{secret.namespace}/{secret.name} is at version {secret.version}")


@group.command("list")
def list_secrets(
    context: typer.Context,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace.")] = None,
) -> None:
    """List secrets, without what they hold."""
    environment: Environment = context.obj
    found = asyncio.run(_list(environment.logging_settings(), namespace))
    print_table(
        ("NAMESPACE", "NAME", "VERSION", "KEY", "UPDATED", "BY", "LAST USED"),
        [
            (each.namespace, each.name, each.version, each.key_id, each.updated_at, each.updated_by, each.last_used_at)
            for each in found
        ],
    )


@group.command("delete")
def delete_secret(context: typer.Context, name: Name, namespace: Namespace = "default") -> None:
    """Delete a secret; jobs that still name it fail."""
    environment: Environment = context.obj
    asyncio.run(_delete(environment.logging_settings(), namespace, name))


@group.command()
def rotate(context: typer.Context) -> None:
    """Encrypt everything with the first key of CRONSVC_SECRET_KEYS; then the others can be taken out of it."""
    environment: Environment = context.obj
    done, unreadable = asyncio.run(_rotate(environment.logging_settings()))
    print(f"{done} secrets are encrypted anew")
    if unreadable:
        raise CronsvcError(f"no key here opens {', '.join(unreadable)}: set them again, or bring back their key")


@group.command("new-key")
def print_new_key() -> None:
    """Print a fresh key for CRONSVC_SECRET_KEYS."""
    from cronsvc.services.sealing import new_key

    print(new_key())


def _value() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Value", hide_input=True, confirmation_prompt=True, err=True))
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidInput.of("value", "is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


async def _set(settings: "Settings", namespace: str, name: str, value: str) -> "Secret":
    from cronsvc.cli.callers import operator

    async with _opened(settings) as secrets:
        return await secrets.set(namespace, name, value, operator())


async def _list(settings: "Settings", namespace: str | None) -> "list[Secret]":
    from cronsvc.cli.callers import operator

    found: list[Secret] = []
    cursor = None
    async with _opened(settings) as secrets:
        while True:
            page = await secrets.list(operator(), namespace=namespace, cursor=cursor, limit=200)
            found.extend(page.items)
            cursor = page.next_cursor
            if cursor is None:
                return found


async def _delete(settings: "Settings", namespace: str, name: str) -> None:
    from cronsvc.cli.callers import operator

    async with _opened(settings) as secrets:
        await secrets.delete(namespace, name, operator())


async def _rotate(settings: "Settings") -> tuple[int, tuple[str, ...]]:
    from cronsvc.cli.callers import operator

    async with _opened(settings) as secrets:
        return await secrets.rotate(operator())


def _opened(settings: "Settings") -> "AbstractAsyncContextManager[Secrets]":
    from contextlib import asynccontextmanager

    from cronsvc.processes.preparation import opened_database
    from cronsvc.services.sealing import Keyring
    from cronsvc.services.secrets import Secrets

    @asynccontextmanager
    async def opened() -> "AsyncIterator[Secrets]":
        async with opened_database(settings, application_name="cronsvc-cli", max_size=1) as database:
            yield Secrets(database, Keyring.of(settings.secret_key_list()))

    return opened()
