"""SQL: one attempt is one statement on a database that the operator named in CRONSVC_SQL_DSNS.

    {"dsn": name, "statement": text, "parameters": […] | {…}, "readOnly": true, "timeoutSeconds": n, "maxRows": 1000}

Jobs never see a connection string. Each attempt has its own connection. Several statements in one are refused by
Postgres itself (the extended protocol takes one). A read-only statement runs inside an explicit READ ONLY transaction,
which it cannot leave: there is no second statement, and a procedure may not commit in there. `readOnly: false` runs it
as its own transaction, so that VACUUM works too. What a job may touch is decided by the role in the DSN: give it a
weak one.

Placeholders are psycopg's: `%s` for a list, `%(name)s` for an object, and `%%` for a percent sign beside either. Texts
in `parameters` may hold `{{secret:name}}`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor, generators, pq
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq.abc import PGresult
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.domain.secret_references import filled, names
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.base import ExecutorSettings, NotInstalled, RunContext
from cronsvc.executors.config_faults import PATH, known_names, read_config
from cronsvc.executors.jsonable import RESULT_BYTES, cut, jsonable, storable

_log = logging.getLogger("cronsvc.executors.sql")

STATEMENT_BYTES = 100_000
MOST_ROWS = 10_000
ROOM_BYTES = RESULT_BYTES - 1_024  # for rows; the rest is for the words around them
CONNECT_SECONDS = 5

# Postgres' word for faults that another attempt may not meet: connection, transaction rollback, resources, operator
# intervention, system error. Codes alone where the rest of their class is for ever.
PASSING_CLASSES = frozenset({"08", "40", "53", "57", "58"})
PASSING_CODES = frozenset({"55P03", "25P03", "25P04"})


class SqlConfig(BaseModel):
    """The `config` of a SQL job."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    dsn: str = Field(min_length=1, description="the name of a database that the operator has set up")
    statement: str = Field(min_length=1, max_length=STATEMENT_BYTES, description="one SQL statement, as text")
    parameters: list[Any] | dict[str, Any] | None = Field(None, description="a list for %s, or an object for %(name)s")
    read_only: bool = Field(True, alias="readOnly", description="true or false")
    timeout_seconds: float | None = Field(
        None, alias="timeoutSeconds", gt=0, le=604_800, description="a number of seconds above 0"
    )
    max_rows: int = Field(1000, alias="maxRows", ge=0, le=MOST_ROWS, description=f"a number from 0 to {MOST_ROWS}")


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """One statement, where to run it, and what to keep of its answer. `dsn` is the operator's, so it is never shown."""

    database: str
    statement: str
    parameters: list[Any] | dict[str, Any] | None = field(repr=False)
    read_only: bool
    timeout_seconds: float | None
    max_rows: int


class Sql:
    """The job type."""

    secret_members = ("parameters",)
    role = "admin"  # a statement may do whatever the DSN's user may

    def __init__(self, settings: ExecutorSettings) -> None:
        self._dsns = settings.sql_dsns

    def parse(self, config: Mapping[str, Any]) -> PreparedStatement:
        """Check a config without asking the database; NotInstalled: this process does not know it."""
        read = read_config(SqlConfig, config, kind="SQL")
        if read.dsn not in self._dsns:
            reason = "SQL has no databases here: the operator names them in CRONSVC_SQL_DSNS"
            if self._dsns:
                reason = f"there is no database {read.dsn[:100]!r} here; known: {known_names(self._dsns)}"
            raise NotInstalled([FieldError(f"{PATH}.dsn", reason)])
        faults = [
            FieldError(f"{PATH}.{name}", "must be valid Unicode without NUL")
            for name, value in {"statement": read.statement, "parameters": read.parameters}.items()
            if not _is_sendable(value)
        ]
        if faults:
            raise InvalidInput(faults)
        return PreparedStatement(
            database=read.dsn,
            statement=read.statement,
            parameters=read.parameters,
            read_only=read.read_only,
            timeout_seconds=read.timeout_seconds,
            max_rows=read.max_rows,
        )

    async def run(self, config: PreparedStatement, context: RunContext) -> Outcome:
        """Run the statement once."""
        seconds = min(config.timeout_seconds or context.timeout_seconds, context.timeout_seconds)
        attempt = _Attempt(config, context, seconds)
        try:
            async with asyncio.timeout(seconds) as deadline:
                if needed := names(config.parameters):
                    values = await context.secrets.values(needed)
                    attempt.config = replace(config, parameters=filled(config.parameters, values))
                return Outcome(result=await attempt.make(self._dsns[config.database]))
        except TimeoutError:
            if not deadline.expired():
                raise
            return _timeout(seconds)
        except psycopg.Error as error:
            return _failed(error, attempt, at_most_once=context.at_most_once)

    async def close(self) -> None:
        """Nothing is kept between attempts."""
        return


def _is_sendable(value: Any) -> bool:
    if isinstance(value, str):
        return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return all(_is_sendable(name) and _is_sendable(item) for name, item in value.items())
    return all(_is_sendable(item) for item in value) if isinstance(value, list) else True


def _adapted(parameters: list[Any] | dict[str, Any] | None) -> Sequence[Any] | Mapping[str, Any] | None:
    """Lists stay arrays of Postgres, objects become jsonb."""
    if isinstance(parameters, dict):
        return {name: _adapted_one(value) for name, value in parameters.items()}
    return None if parameters is None else [_adapted_one(value) for value in parameters]


def _adapted_one(value: Any) -> Any:
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
        return Jsonb(value)
    return value


class _Attempt:
    """One connection and what happened on it; `sent` once the statement may have reached the server."""

    def __init__(self, config: PreparedStatement, context: RunContext, seconds: float) -> None:
        self.config = config
        self.sent = False
        self._context = context
        self._seconds = seconds

    async def make(self, dsn: str) -> dict[str, Any]:
        """Connect, run, read, and in a read-only transaction roll back; the result."""
        config = self.config
        settings = {
            "statement_timeout": f"{max(1, int(self._seconds * 1000))}",
            "default_transaction_read_only": "on" if config.read_only else "off",
            "idle_in_transaction_session_timeout": "10s",
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            "IntervalStyle": "iso_8601",
        }
        given = str(conninfo_to_dict(dsn).get("options") or "")
        conn = await AsyncConnection.connect(
            dsn,
            autocommit=not config.read_only,
            prepare_threshold=None,
            connect_timeout=CONNECT_SECONDS,
            application_name=f"cronsvc execution {self._context.execution_id}",
            client_encoding="utf-8",
            options=" ".join([given, *(f"-c {name}={value}" for name, value in settings.items())]),
        )
        try:
            if config.read_only:
                await conn.set_read_only(True)
            for name in ("date", "time", "timetz", "timestamp", "timestamptz", "interval"):
                conn.adapters.register_loader(name, _TimeLoader)
            return await self._answer(conn)
        finally:
            await conn.close()

    async def _answer(self, conn: "AsyncConnection[Any]") -> dict[str, Any]:
        cursor = _OneStatement(conn)
        rows: list[dict[str, Any]] = []
        names: list[str] = []
        room = ROOM_BYTES
        truncated = False
        self.sent = True
        # Closed as soon as nobody reads on, which cancels the statement on the server.
        async with aclosing(cursor.rows(self.config.statement, _adapted(self.config.parameters))) as stream:
            async for row in stream:
                names = names or _distinct([column.name for column in cursor.description or ()])
                kept = {name: jsonable(value) for name, value in zip(names, row, strict=True)}
                room -= len(json.dumps(kept, ensure_ascii=False).encode()) + 2
                if len(rows) >= self.config.max_rows or room < 0:
                    truncated = True
                    break
                rows.append(kept)
        count = len(rows) if truncated else cursor.affected
        return {"rows": rows, "rowCount": count, "truncated": truncated}


class _OneStatement(AsyncCursor[tuple[Any, ...]]):
    """A cursor whose `stream` takes a statement without rows too, and says how many rows it was about.

    psycopg's own `stream` is the one way of it that always speaks the extended protocol, which refuses a second
    statement, and that never holds a whole answer in memory; it only ends in an error where there are no rows.
    """

    affected = 0

    async def rows(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None
    ) -> AsyncGenerator[tuple[Any, ...], None]:
        """The rows as they come; close it to end the statement."""
        stream = cast(AsyncGenerator[tuple[Any, ...], None], self.stream(statement.encode(), parameters))
        async with aclosing(stream):
            async for row in stream:
                yield row

    def _stream_fetchone_gen(self, first: bool) -> PQGen[PGresult | None]:
        result: PGresult | None = yield from generators.fetch(self._pgconn)
        if result is None:
            return None
        match result.status:
            case pq.ExecStatus.SINGLE_TUPLE:
                self.pgresult = result
                self._tx.set_pgresult(result, set_loaders=first)
                if first:
                    self._make_row = self._make_row_maker()
                return result
            case pq.ExecStatus.TUPLES_OK | pq.ExecStatus.COMMAND_OK | pq.ExecStatus.EMPTY_QUERY:
                self.affected = result.command_tuples or 0
                while result is not None:
                    result = yield from generators.fetch(self._pgconn)
                return None
            case pq.ExecStatus.COPY_IN | pq.ExecStatus.COPY_OUT | pq.ExecStatus.COPY_BOTH:
                raise psycopg.ProgrammingError("COPY from or to the client cannot be used here")
            case _:
                return cast(None, self._raise_for_result(result))


class _TimeLoader(Loader):
    """Dates and times as ISO 8601 text: Postgres has instants (infinity, 4713 BC) that Python's types have not."""

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode().replace(" ", "T", 1)
        return text[:-3] + "Z" if text.endswith("+00") else text


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of columns, a second `count` as `count_2`, so that none hides another."""
    seen: dict[str, int] = {}
    distinct: list[str] = []
    for plain in names:
        name = storable(plain)
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct


def _timeout(seconds: float) -> Outcome:
    return Outcome(error=ErrorDetail("timeout", f"the statement did not end within {seconds:g} s"))


def _failed(error: psycopg.Error, attempt: _Attempt, *, at_most_once: bool) -> Outcome:
    """What a database's error means. Its words are shown only where they speak of the job's own statement."""
    code = error.sqlstate
    database = attempt.config.database
    if not attempt.sent:
        _log.warning("no connection to the database %s of SQL jobs: %s", database, str(error).partition("\n")[0])
        return Outcome(
            error=ErrorDetail("connect", f"no connection to the database {database}; the worker's log says why")
        )
    if code is None and isinstance(error, psycopg.OperationalError):  # the connection broke off
        reason = f"the connection to {database} broke off while the statement ran"
        if attempt.config.read_only or not at_most_once:
            return Outcome(error=ErrorDetail("protocol", reason))
        return Outcome(error=ErrorDetail("lost", f"{reason}, so its effect is unknown"), retryable=False)
    if code == "57014":
        return Outcome(
            error=ErrorDetail("timeout", f"the statement was cancelled by {database}, most likely for its timeout")
        )
    words = storable(cut(error.diag.message_primary or str(error).partition("\n")[0], 2_000))
    message = f"{words} (SQLSTATE {code})" if code else words
    retryable = code is not None and (code[:2] in PASSING_CLASSES or code in PASSING_CODES)
    return Outcome(error=ErrorDetail("sql_error", message), retryable=retryable)
