"""Everything in one process: the servers first, then api, scheduler and worker in one loop.

The servers begin to start before anything heavy is imported, so the imports cost no time. This module may therefore
import at its top only what is light; the rest is in `together`.
"""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cronsvc.config import Settings

if TYPE_CHECKING:
    from cronsvc.embedded import Embedded

# Postgres refuses to be root and its own user may not enter root's home.
ROOT_DATA_DIR = Path("/var/lib/cronsvc")


def run(settings: Settings) -> None:
    """Run until a signal asks to stop, then drain and end the servers.

    ConfigError, EmbeddedError, Unavailable: it cannot start, and why.
    """
    data_dir = (settings.data_dir or default_data_dir()).expanduser().absolute()
    with contextlib.ExitStack() as stack:
        postgres = valkey = None
        if settings.database_url is None or settings.redis_url is None:
            from cronsvc import embedded

            if settings.database_url is None:
                postgres = stack.enter_context(embedded.postgres(data_dir / "postgres", wait=False))
            if settings.redis_url is None:
                valkey = stack.enter_context(embedded.valkey(data_dir / "valkey", wait=False))

        from cronsvc.events import configure_logging
        from cronsvc.processes.secret_keys import with_secret_keys
        from cronsvc.processes.signals import run_until_stopped
        from cronsvc.processes.together import Together

        settings = with_secret_keys(_with_servers(settings, postgres, valkey), data_dir)
        configure_logging(settings.log_level, settings.log_format, secrets=settings.secret_values())
        together = Together(settings, data_dir, postgres=postgres, valkey=valkey)
        together.wait_for_servers()
        run_until_stopped(together.run, drain_seconds=settings.drain_seconds)


def default_data_dir() -> Path:
    """Where this user's data goes by custom; for root a folder that the servers' own account may enter."""
    if os.geteuid() == 0:
        return ROOT_DATA_DIR
    from platformdirs import user_data_path

    return user_data_path("cronsvc", appauthor=False)


def _with_servers(settings: Settings, postgres: "Embedded | None", valkey: "Embedded | None") -> Settings:
    from pydantic import SecretStr

    urls: dict[str, SecretStr] = {}
    if postgres is not None:
        urls["database_url"] = SecretStr(postgres.url.removesuffix("&port=5432"))  # the default; `&` troubles shells
    if valkey is not None:
        urls["redis_url"] = SecretStr(valkey.url)
    return settings.model_copy(update=urls)
