"""SQL on a real Postgres: one statement, its limits, and what it cannot get around."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest

from cronsvc.config import load_settings
from cronsvc.domain.execution import Outcome
from cronsvc.errors import ConfigError
from cronsvc.executors.base import ExecutorSettings, NotInstalled
from cronsvc.executors.sql import Sql
from tests.conftest import database_of
from tests.executors.attempts import context, faults
from tests.executors.secrets import attempt_with
from tests.support.servers import Embedded, free_port
from tests.support.waiting import until

DSN = "postgresql://somebody:hunter2@db.example.com/reports"


class Bench:
    """A database with one table, and the executor that knows it as `db`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.executor = Sql(ExecutorSettings(sql_dsns={"db": url}))

    async def run(self, statement: str, *, timeout: float = 30.0, max_attempts: int = 3, **config: Any) -> Outcome:
        parsed = self.executor.parse({"dsn": "db", "statement": statement, **config})
        return await self.executor.run(parsed, context(timeout=timeout, max_attempts=max_attempts))

    def count(self, query: str = "SELECT count(*) FROM kept") -> int:
        with psycopg.connect(self.url) as conn:
            row = conn.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def bench(database_url: str) -> Bench:
    with psycopg.connect(database_url) as conn:
        conn.execute("CREATE TABLE kept (id int PRIMARY KEY, name text)")
        conn.execute("INSERT INTO kept SELECT n, 'name ' || n FROM generate_series(1, 5) n")
    return Bench(database_url)


async def test_rows_with_values_that_json_lacks(bench: Bench) -> None:
    outcome = await bench.run(
        "SELECT 12.50::numeric AS price, 'NaN'::float8 AS nan, '2026-01-31 09:00:00.25+01'::timestamptz AS at,"
        " '2026-01-31'::date AS day, 'infinity'::timestamptz AS never, '0044-03-15 BC'::date AS ides,"
        " 'b5a7ca8e-4b6c-4be8-9ba9-2fd2d6e9a1c6'::uuid AS id, '\\x00ff'::bytea AS raw, '{1,2,null}'::int[] AS list,"
        " '{\"a\": [1]}'::jsonb AS doc, NULL AS nothing, interval '90 minutes' AS span, 9007199254740993 AS big,"
        " '10.0.0.0/8'::cidr AS net, int4range(1, 5) AS range, true AS flag"
    )
    assert outcome.error is None
    assert outcome.result["rows"] == [
        {
            "price": "12.50",
            "nan": "nan",
            "at": "2026-01-31T08:00:00.25Z",
            "day": "2026-01-31",
            "never": "infinity",
            "ides": "0044-03-15TBC",
            "id": "b5a7ca8e-4b6c-4be8-9ba9-2fd2d6e9a1c6",
            "raw": "AP8=",
            "list": [1, 2, None],
            "doc": {"a": [1]},
            "nothing": None,
            "span": "PT1H30M",
            "big": 9007199254740993,
            "net": "10.0.0.0/8",
            "range": "[1, 5)",
            "flag": True,
        }
    ]
    assert (outcome.result["rowCount"], outcome.result["truncated"]) == (1, False)
    json.dumps(outcome.result, allow_nan=False)


async def test_columns_of_one_name_do_not_hide_each_other(bench: Bench) -> None:
    assert (await bench.run("SELECT 1 AS a, 2 AS a")).result["rows"] == [{"a": 1, "a_2": 2}]


async def test_parameters_are_bound_and_never_spliced(bench: Bench) -> None:
    nasty = "'; DROP TABLE kept; --"
    by_place = await bench.run("SELECT %s::text AS said, 5 %% 3 AS rest", parameters=[nasty])
    assert by_place.result["rows"] == [{"said": nasty, "rest": 2}]
    by_name = await bench.run(
        "SELECT %(a)s::text AS a, %(doc)s AS doc, 2 = ANY(%(ids)s) AS has",
        parameters={"a": nasty, "doc": {"x": 1}, "ids": [1, 2]},
    )
    assert by_name.result["rows"] == [{"a": nasty, "doc": {"x": 1}, "has": True}]
    assert (await bench.run("SELECT count(*) FROM kept WHERE name LIKE 'name %'")).result["rows"] == [{"count": 5}]
    wrong = await bench.run("SELECT %s, %s", parameters=[1])
    assert wrong.error is not None and wrong.error.type == "sql_error" and not wrong.retryable
    assert bench.count() == 5


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1; DELETE FROM kept",
        "COMMIT; DELETE FROM kept",
        "ROLLBACK; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM kept",
        "SELECT 1;; DELETE FROM kept --",
        "/* a */ SELECT ';' ; DELETE FROM kept; SELECT 1",
    ],
)
async def test_several_statements_are_refused(bench: Bench, statement: str, read_only: bool) -> None:
    choices: list[Any] = [None, [], {}]
    for parameters in choices:
        outcome = await bench.run(statement, readOnly=read_only, parameters=parameters)
        assert outcome.error is not None and "multiple commands" in outcome.error.message
        assert not outcome.retryable
    assert bench.count() == 5


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM kept",
        "WITH gone AS (DELETE FROM kept RETURNING *) SELECT * FROM gone",
        "TRUNCATE kept",
        "DROP TABLE kept",
        "CREATE TABLE other AS SELECT 1",
        "SELECT set_config('transaction_read_only', 'off', false), (SELECT wipe())",
        "SELECT wipe()",
        "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; DELETE FROM kept; END $$",
        "DO $$ BEGIN SET default_transaction_read_only = off; COMMIT; DELETE FROM kept; COMMIT; END $$",
        "DO $$ BEGIN ROLLBACK; PERFORM set_config('transaction_read_only', 'off', false); DELETE FROM kept; END $$",
        "CALL wipe_and_commit()",
        "EXPLAIN ANALYZE DELETE FROM kept",
        "PREPARE x AS DELETE FROM kept",
        "COPY kept FROM STDIN",
    ],
)
async def test_nothing_writes_in_a_read_only_job(bench: Bench, statement: str) -> None:
    with psycopg.connect(bench.url) as conn:
        conn.execute(
            "CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql AS"
            " $$ BEGIN SET LOCAL transaction_read_only = off; DELETE FROM kept; RETURN 1; END $$"
        )
        conn.execute(
            "CREATE PROCEDURE wipe_and_commit() LANGUAGE plpgsql AS $$ BEGIN COMMIT; SET TRANSACTION READ WRITE;"
            " DELETE FROM kept; COMMIT; END $$"
        )
    outcome = await bench.run(statement)
    if not statement.startswith("PREPARE"):
        assert outcome.error is not None and outcome.error.type == "sql_error" and not outcome.retryable
    assert bench.count() == 5
    assert bench.count("SELECT count(*) FROM pg_class WHERE relname = 'other'") == 0


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "SET TRANSACTION READ WRITE", "BEGIN", "-- nothing", ";"])
async def test_statements_that_only_move_the_transaction_change_nothing(bench: Bench, statement: str) -> None:
    await bench.run(statement)
    assert bench.count() == 5


async def test_writing_where_it_is_allowed(bench: Bench) -> None:
    outcome = await bench.run("UPDATE kept SET name = %s WHERE id > %s", readOnly=False, parameters=["new", 2])
    assert outcome.error is None and outcome.result == {"rows": [], "rowCount": 3, "truncated": False}
    assert bench.count("SELECT count(*) FROM kept WHERE name = 'new'") == 3
    returning = await bench.run("DELETE FROM kept WHERE id < 3 RETURNING id", readOnly=False)
    assert returning.result == {"rows": [{"id": 1}, {"id": 2}], "rowCount": 2, "truncated": False}
    assert (await bench.run("VACUUM kept", readOnly=False)).error is None
    assert (await bench.run("CREATE TABLE more (n int)", readOnly=False)).result["rowCount"] == 0
    twice = await bench.run("INSERT INTO kept VALUES (5, 'again')", readOnly=False)
    assert twice.error is not None and "23505" in twice.error.message and not twice.retryable


async def test_rows_and_bytes_are_capped(bench: Bench) -> None:
    many = await bench.run("SELECT n FROM generate_series(1, 10000000) n", maxRows=3, timeout=20)
    assert many.result == {"rows": [{"n": 1}, {"n": 2}, {"n": 3}], "rowCount": 3, "truncated": True}
    exact = await bench.run("SELECT n FROM generate_series(1, 3) n", maxRows=3)
    assert (exact.result["rowCount"], exact.result["truncated"]) == (3, False)
    wide = await bench.run("SELECT repeat('ä', 10000) AS text FROM generate_series(1, 1000)")
    assert wide.result["truncated"] and len(json.dumps(wide.result, ensure_ascii=False).encode()) <= 65_536
    assert (await bench.run("SELECT 1", maxRows=0)).result == {"rows": [], "rowCount": 0, "truncated": True}


async def test_a_statement_that_takes_too_long(bench: Bench) -> None:
    outcome = await bench.run("SELECT pg_sleep(600)", timeoutSeconds=0.3)
    assert outcome.error is not None and outcome.error.type == "timeout" and outcome.retryable
    sneaky = await bench.run("DO $$ BEGIN SET LOCAL statement_timeout = 0; PERFORM pg_sleep(600); END $$", timeout=0.5)
    assert sneaky.error is not None and sneaky.error.type == "timeout"
    await until(lambda: nobody_left(bench), seconds=20, what="the end of the statements on the server")


async def nobody_left(bench: Bench) -> bool:
    return bench.count("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cronsvc execution%'") == 0


async def test_a_cancelled_attempt_ends_on_the_server_too(bench: Bench) -> None:
    running = asyncio.create_task(bench.run("SELECT pg_sleep(600)"))

    async def begun() -> bool:
        return bench.count("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'") == 1

    await until(begun)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: nobody_left(bench), seconds=20)


async def test_a_server_that_ends_the_session(bench: Bench) -> None:
    outcome = await bench.run("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(600)")
    assert outcome.error is not None and "57P01" in outcome.error.message and outcome.retryable


@pytest.mark.parametrize(
    ("read_only", "max_attempts", "type_", "retryable"),
    [(True, 1, "protocol", True), (False, 3, "protocol", True), (False, 1, "lost", False)],
)
async def test_a_connection_that_is_cut(
    bench: Bench, read_only: bool, max_attempts: int, type_: str, retryable: bool
) -> None:
    async with cuttable(bench.url) as (url, cut):
        cut_off = Bench(url)
        statement = "SELECT pg_sleep(600) AS cut_me"
        running = asyncio.create_task(cut_off.run(statement, readOnly=read_only, max_attempts=max_attempts))

        async def begun() -> bool:
            return bench.count(f"SELECT count(*) FROM pg_stat_activity WHERE query = '{statement}'") == 1

        await until(begun)
        cut()
        outcome = await running
    assert outcome.error is not None and (outcome.error.type, outcome.retryable) == (type_, retryable)


@asynccontextmanager
async def cuttable(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The same database by way of a wire that can be cut."""
    given = psycopg.conninfo.conninfo_to_dict(url)
    path = f"{given['host']}/.s.PGSQL.{given.get('port') or 5432}"
    writers: list[asyncio.StreamWriter] = []
    pumps: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(path)
        writers.extend((writer, server_writer))
        pumps.append(asyncio.create_task(pump(reader, server_writer)))
        pumps.append(asyncio.create_task(pump(server_reader, writer)))

    def cut() -> None:
        for writer in writers:
            writer.transport.abort()

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield psycopg.conninfo.make_conninfo(url, host="127.0.0.1", port=port, sslmode="disable"), cut
        cut()
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def test_no_connection_says_nothing_of_the_dsn(caplog: pytest.LogCaptureFixture) -> None:
    executor = Sql(ExecutorSettings(sql_dsns={"away": f"postgresql://bob:hunter2@127.0.0.1:{free_port()}/x"}))
    outcome = await executor.run(executor.parse({"dsn": "away", "statement": "SELECT 1"}), context())
    assert outcome.error is not None and outcome.error.type == "connect" and outcome.retryable
    for shown in (str(outcome), caplog.text):
        assert "hunter2" not in shown
    assert "127.0.0.1" not in str(outcome) and "bob" not in str(outcome)


async def test_a_wrong_password_says_nothing_of_it(postgres_server: Embedded, caplog: pytest.LogCaptureFixture) -> None:
    dsn = psycopg.conninfo.make_conninfo(
        database_of(postgres_server.url, "postgres"), password="hunter2", user="nobody-x"
    )
    executor = Sql(ExecutorSettings(sql_dsns={"db": dsn}))
    outcome = await executor.run(executor.parse({"dsn": "db", "statement": "SELECT 1"}), context())
    assert outcome.error is not None and outcome.error.type == "connect"
    assert "hunter2" not in str(outcome) + caplog.text


def test_configs_are_checked_without_a_server() -> None:
    executor = Sql(ExecutorSettings(sql_dsns={"reports": DSN, "other": DSN}))
    executor.parse({"dsn": "reports", "statement": "SELECT 1"})
    wrong = faults(
        executor, {"dsn": 5, "parameters": "x", "readOnly": "yes", "timeoutSeconds": 0, "maxRows": 10_001, "sql": ""}
    )
    assert set(wrong) == {"dsn", "statement", "parameters", "readOnly", "timeoutSeconds", "maxRows", "sql"}
    assert wrong["statement"] == "is required"
    assert set(faults(executor, {"dsn": "reports", "statement": "SELECT '\x00'", "parameters": ["\ud800"]})) == {
        "statement",
        "parameters",
    }
    for name in ("Reports", DSN, "host=localhost"):
        with pytest.raises(NotInstalled) as caught:
            executor.parse({"dsn": name, "statement": "SELECT 1"})
        assert not caught.value.elsewhere and "known: other, reports" in str(caught.value)
        assert name == DSN or "hunter2" not in str(caught.value)
    assert "CRONSVC_SQL_DSNS" in faults(Sql(ExecutorSettings()), {"dsn": "a", "statement": "SELECT 1"})["dsn"]
    assert "hunter2" not in repr(ExecutorSettings(sql_dsns={"a": DSN}))


def test_databases_come_from_the_environment_or_a_file(tmp_path: Any) -> None:
    text = json.dumps({"reports": DSN, "plain": "host=db password='se cret' dbname=x"})
    settings = load_settings({"CRONSVC_SQL_DSNS": text})
    assert ExecutorSettings.of(settings).sql_dsns["reports"] == DSN
    assert {"hunter2", "se cret"} <= set(settings.secret_values())
    assert "hunter2" not in repr(settings)
    path = tmp_path / "dsns.json"
    path.write_text(text)
    assert load_settings({"CRONSVC_SQL_DSNS_FILE": str(path)}).sql_connections() == settings.sql_connections()
    for bad in ("hunter2", '{"a": "hunter2"}', '{"a": ["hunter2"]}', '["hunter2"]', '{"a b": "' + DSN + '"}'):
        with pytest.raises(ConfigError) as caught:
            load_settings({"CRONSVC_SQL_DSNS": bad})
        assert "CRONSVC_SQL_DSNS" in str(caught.value) and "hunter2" not in str(caught.value)


async def test_parameters_from_secrets(bench: Bench) -> None:
    statement = {"dsn": "db", "statement": "SELECT %(a)s::jsonb ->> 'k' AS a, %(b)s AS b"}
    parsed = bench.executor.parse(statement | {"parameters": {"a": {"k": "{{secret:token}}"}, "b": "plain"}})
    given, asked = attempt_with(token="hunter22")
    outcome = await bench.executor.run(parsed, given)
    assert outcome.result["rows"] == [{"a": "hunter22", "b": "plain"}]
    assert asked.asked == [{"token"}]
