"""The command line itself: quick, plain about mistakes, and silent about secrets."""

import subprocess
import sys
from pathlib import Path

import pytest

from cronsvc import __version__
from tests.cli.support import cronsvc, environment

# typer itself imports pydantic where it is installed.
HEAVY = (
    "alembic",
    "sqlalchemy",
    "redis",
    "saq",
    "aiohttp",
    "psycopg",
    "structlog",
    "starlette",
    "uvicorn",
    "croniter",
    "httpx2",
)


def test_version() -> None:
    done = cronsvc("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["version"], ["up", "--help"], ["keys", "create", "--help"], ["jobs", "edit", "--help"]]
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cronsvc", *arguments],
        env=environment({}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "command", [["migrate"], ["api"], ["scheduler"], ["worker"], ["keys", "list"], ["jobs", "list"], ["trigger", "x"]]
)
def test_a_command_without_a_server_says_what_to_set(command: list[str]) -> None:
    done = cronsvc(*command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cronsvc: DATABASE_URL is not set" in done.stderr and "cronsvc up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["up", "api", "migrate"])
def test_faults_of_the_environment_are_listed_without_secrets(command: str) -> None:
    done = cronsvc(command, DATABASE_URL="mysql://u:hunter22@h/d", CRONSVC_POOL_SIZ="3", PORT="x")
    assert done.returncode == 1
    assert "the environment has 3 faults" in done.stderr
    assert "did you mean CRONSVC_POOL_SIZE?" in done.stderr
    assert "hunter22" not in done.stderr and "Traceback" not in done.stderr


def test_an_env_file_is_read_below_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("DATABASE_URL='mysql://one'\nexport CRONSVC_LOG_LEVEL=loud\n# PORT=x\n")
    done = cronsvc("--env-file", str(file), "migrate", CRONSVC_LOG_LEVEL="info")
    assert done.returncode == 1
    assert "the environment has a fault: DATABASE_URL" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--env-file", "/nowhere/env", "version"], ["nonsense"], ["up", "--port", "70000"]]
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    done = cronsvc(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_unreachable_server_is_a_sentence(tmp_path: Path) -> None:
    done = cronsvc("migrate", DATABASE_URL=f"postgresql://u:hunter22@/d?host={tmp_path}")
    assert done.returncode == 1
    assert "cronsvc: Postgres: " in done.stderr
    assert "hunter22" not in done.stderr and "Traceback" not in done.stderr
