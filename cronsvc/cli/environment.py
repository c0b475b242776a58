"""What a command knows before it runs: the environment with `--env-file` under it, and who is asking."""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from cronsvc.config import Settings


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables as the command shall see them; `url` is where the command line says that the service is.

    `names_two_places`: CRONSVC_URL is in the shell, and the file that was asked for names a database.
    """

    variables: Mapping[str, str]
    url: str | None = None
    allow_http: bool = False
    names_two_places: bool = False

    @classmethod
    def read(
        cls, environ: Mapping[str, str], env_file: Path | None, url: str | None = None, *, allow_http: bool = False
    ) -> "Environment":
        """The environment, over the lines of `env_file`."""
        if env_file is None:
            return cls(dict(environ), url, allow_http)
        from dotenv import dotenv_values

        lines = dotenv_values(env_file, interpolate=False)
        below = {name: value for name, value in lines.items() if value is not None}
        two_places = bool(environ.get("CRONSVC_URL")) and "DATABASE_URL" in below and "CRONSVC_URL" not in below
        return cls(below | dict(environ), url, allow_http, two_places)

    def settings(self, **given: object) -> "Settings":
        """Checked settings, with the options of the command line (those not None) over them.

        A command that does not take up `--url` here has no use for it: it would act on another system than was named.
        """
        if self.url is not None and given.get("url") != self.url:
            raise typer.BadParameter(
                "this command goes to the database (DATABASE_URL), not to a service: leave --url out",
                param_hint="--url",
            )
        from cronsvc.config import load_settings

        settings = load_settings(self.variables)
        options = {name: value for name, value in given.items() if value is not None}
        return settings.model_copy(update=options) if options else settings

    def logging_settings(self, **given: object) -> "Settings":
        """As `settings`, and from here on this process logs as they say, hiding the secrets they hold."""
        from cronsvc.events import configure_logging

        settings = self.settings(**given)
        configure_logging(settings.log_level, settings.log_format, secrets=settings.secret_values())
        return settings


def actor() -> str:
    """Who the audit log names for what this shell does."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a passwd entry
        return "cli"
