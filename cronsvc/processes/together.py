"""What `cronsvc up` does once its servers are starting: migrate, tell how to join, run the three, stop in order."""

import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import structlog

from cronsvc import events
from cronsvc.config import Settings
from cronsvc.embedded import Embedded, EmbeddedError
from cronsvc.errors import ConfigError
from cronsvc.processes.api import run_api
from cronsvc.processes.preparation import opened_database, prepare_database
from cronsvc.processes.scheduler import run_scheduler
from cronsvc.processes.worker import run_worker
from cronsvc.services.access import Access, Role
from cronsvc.tasks import cancelled

_log = structlog.get_logger("cronsvc.up")

SUPERVISE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_AFTER_SECONDS = 60.0
# A door that stops taking work in has done so by then; what it still finishes may overlap with the next one's drain.
DOOR_CLOSED_SECONDS = 1.0
SHELL_UNSAFE = set("&;()<>|$`\"'\\ #*")

Component = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]


class Together:
    """One service in one process. `postgres` and `valkey` are the servers that are ours to look after."""

    def __init__(
        self, settings: Settings, data_dir: Path, *, postgres: Embedded | None, valkey: Embedded | None
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._postgres = postgres
        self._valkey = valkey
        self._url = ""
        self._listening = asyncio.Event()

    def wait_for_servers(self) -> None:
        """Block until our servers answer. EmbeddedError: one does not, and why."""
        for server in self._servers:
            server.ready()

    async def run(self, stop: asyncio.Event) -> None:
        """Prepare, run everything until `stop`, then drain: api, scheduler, worker. ConfigError: it cannot run."""
        await prepare_database(self._settings)
        self._tell_others(self._settings)
        key = await self._first_admin_key()
        watching = asyncio.create_task(self._watch_servers(), name="servers")
        try:
            await self._run_components(stop, key)
        except* ConfigError as group:
            raise group.exceptions[0] from None
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        _log.info(events.STOPPED)

    @property
    def _servers(self) -> list[Embedded]:
        return [server for server in (self._postgres, self._valkey) if server is not None]

    async def _run_components(self, stop: asyncio.Event, key: str | None) -> None:
        components: dict[str, Component] = {"api": self._api, "scheduler": self._scheduler, "worker": self._worker}
        async with asyncio.TaskGroup() as group:
            stops = {name: asyncio.Event() for name in components}
            readies = {name: asyncio.Event() for name in components}
            tasks = {
                name: group.create_task(keep_running(name, start, stops[name], readies[name]), name=name)
                for name, start in components.items()
            }
            announcing = group.create_task(self._announce(readies.values(), key))
            await stop.wait()
            _log.info(events.STOPPING)
            announcing.cancel()
            for name, task in tasks.items():
                stops[name].set()
                await asyncio.wait({task}, timeout=DOOR_CLOSED_SECONDS)

    async def _api(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        def listening(url: str) -> None:
            self._url = url
            self._tell_others(self._called_back())
            self._listening.set()
            ready.set()

        settings = self._settings.model_copy(update={"host": self._settings.host or "127.0.0.1"})
        await run_api(settings, stop, ready=listening, is_alone=True)

    async def _scheduler(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        await run_scheduler(self._settings, stop, ready=ready)

    async def _worker(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        # What it calls may call the API back, so it needs the URL, which is known once the API listens.
        waits = [asyncio.create_task(event.wait()) for event in (self._listening, stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        await run_worker(self._called_back(), stop, ready=ready)

    def _called_back(self) -> Settings:
        """The settings with the URL where targets reach the API: the operator's, or else ours."""
        return self._settings.model_copy(update={"public_url": self._settings.public_url or self._url or None})

    def _tell_others(self, settings: Settings) -> None:
        _write_env(self._data_dir / "env", settings, postgres=self._postgres, valkey=self._valkey)

    async def _watch_servers(self) -> None:
        pause = SUPERVISE_SECONDS
        while not cancelled():
            await asyncio.sleep(pause)
            pause = SUPERVISE_SECONDS
            for server in self._servers:
                try:
                    if await asyncio.to_thread(server.restart_if_dead):
                        _log.warning(events.SERVER_RESTARTED, server=server.name)
                except EmbeddedError as error:
                    _log.error(events.SERVER_UNAVAILABLE, server=server.name, error=str(error))
                    pause = FIRST_PAUSE_SECONDS * 10

    async def _first_admin_key(self) -> str | None:
        """A key for a database that has none, kept in `admin-key` as well; None when it had one."""
        async with opened_database(self._settings, application_name="cronsvc-up", max_size=1) as database:
            access = Access(database)
            living = [key for key in await access.list_keys() if key.revoked_at is None]
            has_admin = any(key.role == Role.ADMIN for key in living)
            key = None if has_admin else await access.ensure_admin_key("admin")
        if key is not None:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            write_private(self._data_dir / "admin-key", key + "\n")
        return key

    async def _announce(self, readies: Iterable[asyncio.Event], key: str | None) -> None:
        for ready in readies:
            await ready.wait()
        _log.info(events.READY, url=self._url)
        print(self._banner(key), file=sys.stdout, flush=True)

    def _banner(self, key: str | None) -> str:
        key_file = self._data_dir / "admin-key"
        env_file = shlex.quote(str(self._data_dir / "env"))
        lines = [
            f"cronsvc is ready: {self._url}",
            f"  status page   {self._url}/",
            f"  API           {self._url}/api/v1",
        ]
        if key is not None:
            lines.append(f"  admin key     {key}   (shown this once; kept in {key_file})")
        elif key_file.exists():
            lines.append(f"  admin key     in {key_file}")
        if self._postgres is not None:
            lines.append(f'  psql          psql "$(sed -n s/^DATABASE_URL=//p {env_file})"')
        if self._servers:
            lines.append(f"  join          cronsvc --env-file {env_file} worker")
            lines.append(f"  data          {self._data_dir}")
        if not self._settings.egress_allow:
            lines.append(
                "  job URLs      may reach no private network, this machine included; for development start with"
            )
            lines.append("                --allow-loopback, or set CRONSVC_EGRESS_ALLOW=127.0.0.0/8")
        return "\n".join(lines)


async def keep_running(name: str, start: Component, stop: asyncio.Event, ready: asyncio.Event) -> None:
    """Run a component until `stop`; when it crashes, say so and start it again after a pause that grows to 30 s."""
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_SECONDS
    while not stop.is_set() and not cancelled():
        began = loop.time()
        try:
            await start(stop, ready)
            if stop.is_set() or cancelled():
                return
            _log.error(events.COMPONENT_CRASHED, component=name, error="it ended by itself")
        except ConfigError:
            raise
        except Exception:  # noqa: BLE001 the other components must live on
            _log.exception(events.COMPONENT_CRASHED, component=name)
        if loop.time() - began > HEALTHY_AFTER_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        if not stop.is_set():
            _log.warning(events.COMPONENT_RESTARTED, component=name)


def write_private(path: Path, text: str) -> None:
    """Put `text` there for the owner's eyes alone (0600), at once or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


def _write_env(path: Path, settings: Settings, *, postgres: Embedded | None, valkey: Embedded | None) -> None:
    """How others join our servers, and may reach what our worker may; the rest is the operator's to pass on."""
    lines = []
    if postgres is not None:
        lines.append(f"DATABASE_URL={_shell_value(settings.require_database_url())}\n")
    if valkey is not None:
        lines.append(f"REDIS_URL={_shell_value(settings.require_redis_url())}\n")
    if lines and settings.egress_allow:
        lines.append(f"CRONSVC_EGRESS_ALLOW={','.join(settings.egress_allow)}\n")
    if lines and settings.secret_keys is not None:
        lines.append(f"CRONSVC_SECRET_KEYS={','.join(settings.secret_key_list())}\n")
    if lines and settings.public_url:
        lines.append(f"CRONSVC_PUBLIC_URL={settings.public_url}\n")
    if lines:
        write_private(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def _shell_value(value: str) -> str:
    """Plain where a shell, systemd, Docker and dotenv all read it alike; quoted where a shell would not."""
    return shlex.quote(value) if SHELL_UNSAFE & set(value) else value
