"""A database clock that tests turn: `clock_timestamp()` and `now()` of one database read a row, not the machine.

The statements under test stay as they are: a schema that stands before pg_catalog in the search path has functions of
the same names. Column defaults were bound when the tables were made, and some functions bring a search path of their
own, so both are set anew. Each reading is one microsecond later than the one before: the clock never stands still, and
nothing about it depends on the machine.
"""

from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from cronsvc.store.pool import Database

INSTALL = """
CREATE SCHEMA testclock;
CREATE TABLE testclock.hands (base timestamptz NOT NULL);
CREATE SEQUENCE testclock.readings MINVALUE 0 START 0 CACHE 1;
CREATE FUNCTION testclock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT base + nextval('testclock.readings') * interval '1 microsecond' FROM testclock.hands $$;
-- When the transaction began: after the clock was last turned, and before every reading of the transaction's own.
CREATE FUNCTION testclock.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT base FROM testclock.hands $$;
CREATE FUNCTION testclock.transaction_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT base FROM testclock.hands $$;
CREATE FUNCTION testclock.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT base - interval '1 year' FROM testclock.hands $$;
DO $do$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT d.adrelid::regclass AS relation, a.attname, pg_get_expr(d.adbin, d.adrelid) AS expression
          FROM pg_attrdef AS d
          JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
          JOIN pg_class AS c ON c.oid = d.adrelid
         WHERE c.relnamespace = 'public'::regnamespace AND pg_get_expr(d.adbin, d.adrelid) LIKE '%clock_timestamp()%'
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', found.relation, found.attname,
                       replace(found.expression, 'clock_timestamp()', 'testclock.clock_timestamp()'));
    END LOOP;
    FOR found IN
        SELECT oid::regprocedure AS signature FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proconfig::text LIKE '%search_path%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = testclock, public, pg_catalog', found.signature);
    END LOOP;
END $do$;
"""

READ = "SELECT base + (SELECT last_value FROM testclock.readings) * interval '1 microsecond' FROM testclock.hands"


def install(url: str, start: datetime) -> None:
    """Give this database a clock that stands at `start`; connections made afterwards live by it."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(INSTALL.encode())
        conn.execute("INSERT INTO testclock.hands VALUES (%s)", (start,))
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = testclock, public, pg_catalog").format(
                sql.Identifier(conn.info.dbname)
            )
        )


class Clock:
    """The hands of one database's clock."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def set(self, now: datetime) -> None:
        async with self._db.transaction() as conn:
            await conn.execute("UPDATE testclock.hands SET base = %s", (now,))
            await conn.execute("SELECT setval('testclock.readings', 0)")

    async def turn(self, by: timedelta) -> None:
        """Forwards, or back."""
        async with self._db.statements() as conn:
            await conn.execute("UPDATE testclock.hands SET base = base + %s", (by,))

    async def now(self) -> datetime:
        """What the clock shows, without counting as a reading."""
        async with self._db.statements() as conn:
            row = await (await conn.execute(READ.encode())).fetchone()
        assert row is not None
        shown: datetime = row[0]
        return shown.astimezone(UTC)
