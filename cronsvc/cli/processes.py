"""`up`, `api`, `scheduler`, `worker` and `migrate`: the process types of the Procfile."""

from pathlib import Path
from typing import Annotated

import typer

from cronsvc.cli.environment import Environment

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]


def add_processes(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    for command in (up, api, scheduler, worker, migrate):
        app.command()(command)


def up(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the embedded servers keep their data.", file_okay=False)
    ] = None,
    host: Host = None,
    port: Port = None,
    allow_loopback: Annotated[
        bool, typer.Option("--allow-loopback", help="Let jobs call this machine, for development.")
    ] = False,
) -> None:
    """Run everything in one process, on embedded Postgres and Valkey unless DATABASE_URL and REDIS_URL are set."""
    from cronsvc.processes.up import run

    environment: Environment = context.obj
    settings = environment.settings(data_dir=data_dir, host=host, port=port)
    if allow_loopback:
        settings = settings.model_copy(update={"egress_allow": (*settings.egress_allow, "127.0.0.0/8", "::1/128")})
    run(settings)


def api(context: typer.Context, host: Host = None, port: Port = None) -> None:
    """Serve the HTTP API and the status page."""
    from cronsvc.processes.api import run_api
    from cronsvc.processes.signals import run_until_stopped

    environment: Environment = context.obj
    settings = environment.logging_settings(host=host, port=port)
    run_until_stopped(lambda stop: run_api(settings, stop), drain_seconds=settings.drain_seconds)


def scheduler(context: typer.Context) -> None:
    """Record due jobs as executions and hand them to the workers; run as many as you like."""
    from cronsvc.processes.scheduler import run_scheduler
    from cronsvc.processes.signals import run_until_stopped

    environment: Environment = context.obj
    settings = environment.logging_settings()
    run_until_stopped(lambda stop: run_scheduler(settings, stop), drain_seconds=settings.drain_seconds)


def worker(context: typer.Context) -> None:
    """Run executions; run as many as you like."""
    from cronsvc.processes.signals import run_until_stopped
    from cronsvc.processes.worker import run_worker

    environment: Environment = context.obj
    settings = environment.logging_settings()
    run_until_stopped(lambda stop: run_worker(settings, stop), drain_seconds=settings.drain_seconds)


def migrate(context: typer.Context) -> None:
    """Bring the database's schema up to this release; replicas may race. Prints the revision."""
    import asyncio

    from cronsvc.processes.preparation import prepare_database

    environment: Environment = context.obj
    settings = environment.logging_settings()
    print(asyncio.run(prepare_database(settings)))
