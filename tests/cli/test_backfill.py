"""`backfill` on real servers: what it prints, and what it leaves behind."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.cli.support import cronsvc
from tests.cli.test_operator import add_job
from tests.support.servers import Embedded

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)


@pytest.fixture
def migrated(database_url: str, valkey_server: Embedded) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url}


def test_a_dry_run_prints_the_instants_and_a_run_prints_the_id(migrated: dict[str, str]) -> None:
    job_id = add_job(migrated["DATABASE_URL"], "nightly")
    window = ("--from", DAY.isoformat(), "--to", (DAY + timedelta(days=2)).isoformat())
    dry = cronsvc("backfill", "nightly", *window, "--dry-run", **migrated)
    assert dry.stdout.split() == [f"{DAY + timedelta(days=n):%Y-%m-%d}T03:00:00Z" for n in range(2)], dry.stderr
    with psycopg.connect(migrated["DATABASE_URL"]) as conn:
        assert conn.execute("SELECT count(*) FROM backfills").fetchone() == (0,)
        made = cronsvc("backfill", str(job_id), *window, "--newest", "--max-parallel", "2", "--note", "x", **migrated)
        assert made.returncode == 0, made.stderr
        rows = conn.execute("SELECT id::text, direction, max_parallel, note, planned FROM backfills").fetchall()
        assert rows == [(made.stdout.strip(), "newest", 2, "x", 2)]


def test_a_bad_window_is_one_sentence(migrated: dict[str, str]) -> None:
    add_job(migrated["DATABASE_URL"], "nightly")
    bad = cronsvc("backfill", "nightly", "--from", "yesterday", "--to", DAY.isoformat(), **migrated)
    assert (bad.returncode, bad.stdout) == (1, "") and "--from: is not a time" in bad.stderr
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    late = cronsvc("backfill", "nightly", "--from", DAY.isoformat(), "--to", ahead, **migrated)
    assert late.returncode == 1 and "to: lies ahead" in late.stderr
