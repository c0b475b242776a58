"""The command line: one command a process type, and the few an operator needs at a shell.

Commands import what they need when they run, so `--help` and `version` answer at once. Every error that cronsvc can
explain ends as one sentence on stderr and exit code 1, and so does every error of the system, such as a full disk; a
wrong command line is exit code 2; standard output carries only the answer, so it can be piped.
"""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from cronsvc import __version__
from cronsvc.cli.audit import add_audit
from cronsvc.cli.backfills import add_backfills
from cronsvc.cli.calendars import add_calendars
from cronsvc.cli.check import add_check
from cronsvc.cli.environment import Environment
from cronsvc.cli.executions import add_executions
from cronsvc.cli.explain import add_explain
from cronsvc.cli.job_changes import add_job_changes
from cronsvc.cli.jobs import add_jobs, group
from cronsvc.cli.keys import add_keys
from cronsvc.cli.processes import add_processes
from cronsvc.cli.restore import add_restore
from cronsvc.cli.secrets import add_secrets
from cronsvc.cli.status import add_status
from cronsvc.cli.tables import harmless
from cronsvc.errors import CronsvcError, InvalidInput

app = typer.Typer(
    name="cronsvc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, which hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    context: typer.Context,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            help="Read NAME=value lines, such as the file `env` that `up` writes; what is set already wins.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Speak to the service there, with CRONSVC_API_KEY; else to the database."),
    ] = None,
    allow_http: Annotated[
        bool, typer.Option("--allow-http", help="Show the API key to a network that is yours: http to another host.")
    ] = False,
) -> None:
    """Cron as a service on Postgres."""
    context.obj = Environment.read(os.environ, env_file, url, allow_http=allow_http)


def version() -> None:
    """Print the version."""
    print(__version__)


add_processes(app)
add_check(app)
add_jobs(app)
add_job_changes(group)
add_status(app)
add_explain(app)
add_backfills(app)
add_calendars(app)
add_executions(app)
add_keys(app)
add_secrets(app)
add_restore(app)
add_audit(app)
app.command()(version)


def main() -> None:
    """The entry point of `cronsvc`; leaves with an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know ASCII only
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except InvalidInput as error:
        for fault in error.errors:
            _complain(": ".join(part for part in (fault.field, fault.reason) if part))
    except CronsvcError as error:
        _complain(str(error) or str(type(error).__doc__))
    except BrokenPipeError:  # `cronsvc jobs list | head`
        _drop_output()
    except OSError as error:
        _complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
        _drop_output()
    sys.exit(1)


def _complain(sentence: str) -> None:
    lines = "\n".join(harmless(line) for line in sentence.splitlines())
    print(f"cronsvc: {lines}", file=sys.stderr)


def _drop_output() -> None:
    """Let Python's last flush go nowhere, as it would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
