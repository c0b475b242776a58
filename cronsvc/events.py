"""What the service says while it runs: the names of its log events, and the one pipeline every line goes through.

Ours are structlog lines with an event name from here and fields; uvicorn's, saq's and any other library's go through
the same formatter, so a process writes either JSON or console lines to stderr and never a mixture. The last step hides
secrets wherever they turn up, in a field, in a message or in a traceback.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# Processes
STARTING = "starting"
READY = "ready"
STOPPING = "stopping"
STOPPED = "stopped"
DRAIN_EXCEEDED = "drain_exceeded"
COMPONENT_CRASHED = "component_crashed"
COMPONENT_RESTARTED = "component_restarted"

# Embedded servers
SERVER_RESTARTED = "server_restarted"
SERVER_UNAVAILABLE = "server_unavailable"

# Schema and start-up
MIGRATED = "migrated"
SCHEMA_OUTDATED = "schema_outdated"
ADMIN_KEY_CREATED = "admin_key_created"

# The audit log
AUDIT_SEALED = "audit_sealed"

# Who may come in
TOKEN_REFUSED = "token_refused"  # noqa: S105 an event's name
KEYS_UNAVAILABLE = "keys_unavailable"
SIGN_IN_REFUSED = "sign_in_refused"

HIDDEN = "***"
SECRET_FIELD = re.compile(r"password|passwd|secret|authorization|cookie|bearer|api_?key$|^key$|token", re.IGNORECASE)
URL_LOGIN = re.compile(r"(?<=://)[^\s/@'\"]*:[^\s@'\"]*(?=@)")
CONNINFO_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'\"]+)", re.IGNORECASE)
BEARER = re.compile(r"(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
API_KEY = re.compile(r"\bcsk_\w{12,}")

# What these say below that, our own events say better: the pool, for one, repeats every second that Postgres is away.
QUIET = {
    "uvicorn": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "psycopg.pool": logging.ERROR,
}


def configure_logging(level: str, format: str, *, stream: TextIO | None = None, secrets: Iterable[str] = ()) -> None:  # noqa: A002 the word operators use
    """Send every log line of this process to `stream` (stderr), as `format`: `json`, `console`, or `auto`.

    `auto` is console on a terminal, else JSON. `secrets` are hidden literally, besides what looks like a secret. May be
    called again: the last call counts.
    """
    output = stream or sys.stderr
    is_console = format == "console" or (format == "auto" and output.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_fields,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _drop_colour],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_console(colours=output.isatty()) if is_console else _json()),
                _hide_in_line([secret for secret in secrets if len(secret) >= 4]),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "saq"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name, at_least in QUIET.items():
        logging.getLogger(name).setLevel(at_least)


def _console(*, colours: bool) -> list[Processor]:
    # The default traceback prints local variables, which hold the secrets of the frames.
    return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]


def _drop_colour(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """uvicorn sends its message a second time, with escape codes."""
    event.pop("color_message", None)
    return event


def _hide_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name not in ("event", "exc_info") and not name.startswith("_"):
            event[name] = _hidden(name, value)
    return event


def _hidden(name: str, value: Any) -> Any:
    if SECRET_FIELD.search(name) and not isinstance(value, bool | int | float | None):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    return value


def _hide_in_line(secrets: list[str]) -> Callable[[WrappedLogger, str, Any], str]:
    # As JSON writes them too; the longest first, as one secret may be part of another.
    secrets = [*secrets, *(json.dumps(secret)[1:-1] for secret in secrets)]
    literal = (
        re.compile("|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True)))
        if secrets
        else None
    )

    def hide(_logger: WrappedLogger, _method: str, line: MutableMapping[str, Any] | str) -> str:
        text = str(line)
        if literal:
            text = literal.sub(HIDDEN, text)
        text = URL_LOGIN.sub(HIDDEN, text)
        text = CONNINFO_PASSWORD.sub(rf"\1{HIDDEN}", text)
        text = BEARER.sub(rf"\1{HIDDEN}", text)
        return API_KEY.sub(HIDDEN, text)

    return hide
