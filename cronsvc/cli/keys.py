"""`keys`: API keys, made and revoked straight in the database, so that the first one needs no other."""

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cronsvc.cli.environment import Environment, actor
from cronsvc.cli.tables import print_table

if TYPE_CHECKING:
    from cronsvc.config import Settings

group = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)


class RoleName(StrEnum):
    """The roles of `services.access`, here without its imports; a test holds them equal."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def add_keys(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.add_typer(group, name="keys")


@group.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Whose key it is; unique among living keys.")],
    role: Annotated[RoleName | None, typer.Option(help="What it may do.")] = None,
    namespace: Annotated[list[str] | None, typer.Option(help="Only this namespace; may be repeated.")] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMESPACE=ROLE", help="In place of --role: a role in one namespace; may be repeated."),
    ] = None,
    expires_days: Annotated[int | None, typer.Option(help="Days until it expires.", min=1, max=36_500)] = None,
) -> None:
    """Create a key and print it, alone, this once."""
    environment: Environment = context.obj
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    roles = None if not grant else dict(_granted(each) for each in grant)
    if (role is None) is (roles is None):
        raise typer.BadParameter("give --role, or --grant for each namespace", param_hint="--role")
    print(asyncio.run(_create(environment.logging_settings(), name, role, namespace, roles, expires_at)))


@group.command("list")
def list_keys(context: typer.Context) -> None:
    """List the keys, revoked ones too."""
    environment: Environment = context.obj
    asyncio.run(_list(environment.logging_settings()))


@group.command()
def revoke(context: typer.Context, key_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Revoke a key; requests that bear it are refused within seconds."""
    environment: Environment = context.obj
    asyncio.run(_revoke(environment.logging_settings(), key_id))


def _granted(text: str) -> tuple[str, RoleName]:
    namespace, _, role = text.rpartition("=")
    if not namespace or role not in list(RoleName):
        raise typer.BadParameter(f"{text!r} is not of the form NAMESPACE=ROLE", param_hint="--grant")
    return namespace, RoleName(role)


async def _create(
    settings: "Settings",
    name: str,
    role: RoleName | None,
    namespaces: list[str] | None,
    roles: dict[str, RoleName] | None,
    expires_at: datetime | None,
) -> str:
    from cronsvc.processes.preparation import opened_database
    from cronsvc.services.access import Access, Role

    async with opened_database(settings, application_name="cronsvc-cli", max_size=1) as database:
        return await Access(database).create_key(
            name=name,
            role=None if role is None else Role(role.value),
            namespaces=tuple(namespaces) if namespaces else None,
            roles=None if roles is None else {each: Role(role.value) for each, role in roles.items()},
            created_by=actor(),
            expires_at=expires_at,
        )


async def _list(settings: "Settings") -> None:
    from cronsvc.processes.preparation import opened_database
    from cronsvc.services.access import Access

    async with opened_database(settings, application_name="cronsvc-cli", max_size=1) as database:
        keys = await Access(database).list_keys()
    print_table(
        ("ID", "NAME", "ROLE", "NAMESPACES", "CREATED", "LAST USED", "EXPIRES", "REVOKED"),
        [
            (
                key.key_id,
                key.name,
                key.role if key.roles is None else ",".join(f"{each}={role}" for each, role in key.roles.items()),
                "all" if key.namespaces is None else ",".join(key.namespaces),
                key.created_at,
                key.last_used_at,
                key.expires_at,
                key.revoked_at,
            )
            for key in keys
        ],
    )


async def _revoke(settings: "Settings", key_id: str) -> None:
    from cronsvc.cli.callers import operator
    from cronsvc.processes.preparation import opened_database
    from cronsvc.services.access import Access

    async with opened_database(settings, application_name="cronsvc-cli", max_size=1) as database:
        await Access(database).revoke_key(key_id, operator())
