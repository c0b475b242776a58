"""The client in a process that has nothing of the service."""

import subprocess
import sys

SERVICE = ("psycopg", "saq", "redis", "starlette", "aiohttp", "alembic", "uvicorn", "structlog", "croniter", "typer")


def test_the_client_imports_nothing_of_the_service() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, cronsvc.client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert "cronsvc.client.clients" in told
    assert {name.partition(".")[0] for name in told}.isdisjoint(SERVICE)
    ours = {name.split(".")[1] for name in told if name.startswith("cronsvc.")}
    assert ours == {"client", "errors"}
