"""The files that surround a deployment: valid, and naming only what exists. No network or engine is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from cronsvc import __version__
from cronsvc.cli import app
from cronsvc.config import URL_PARTS, Settings
from tests.tools.environment_table import environment_table

ROOT = Path(__file__).parents[2]
PROCESS_TYPES = {"release": "migrate", "web": "api", "scheduler": "scheduler", "worker": "worker"}
TOOLS = Path(sys.executable).parent


def run_tool(*command: str) -> str:
    done = subprocess.run(
        [shutil.which(command[0], path=str(TOOLS)) or command[0], *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def have(tool: str) -> bool:
    return shutil.which(tool, path=str(TOOLS)) is not None


def cli_commands() -> set[str]:
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def ours(compose: dict[str, Any]) -> dict[str, Any]:
    """The services that run our image."""
    return {name: service for name, service in compose["services"].items() if service["image"] == "cronsvc"}


def test_the_command_line_has_the_promised_commands() -> None:
    promised = (
        "up api scheduler worker migrate check version keys secrets calendars jobs trigger executions dead-letters "
        "backfill explain restore audit status"
    )
    assert cli_commands() == set(promised.split())


def test_the_procfile_names_the_process_types() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert lines == {process: f"cronsvc {command}" for process, command in PROCESS_TYPES.items()}
    assert set(PROCESS_TYPES.values()) <= cli_commands()


def test_compose_runs_the_same_commands_with_two_schedulers_and_two_workers(ours: dict[str, Any]) -> None:
    assert {name: service["command"] for name, service in ours.items()} == {
        name: [name] for name in PROCESS_TYPES.values()
    }
    replicas = {name: service.get("deploy", {}).get("replicas", 1) for name, service in ours.items()}
    assert replicas == {"migrate": 1, "api": 1, "scheduler": 2, "worker": 2}


@pytest.mark.skipif(not have("check-jsonschema"), reason="check-jsonschema comes with the extra `dev`")
def test_compose_is_valid() -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_compose_waits_for_healthy_servers_and_lets_processes_drain(
    compose: dict[str, Any], ours: dict[str, Any]
) -> None:
    services = compose["services"]
    for service in services.values():
        assert service["stop_grace_period"] == "30s"
        assert "healthcheck" in service or service["image"] == "cronsvc"  # whose image brings its own
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "scheduler", "worker"):
        waits = {server: how["condition"] for server, how in ours[name]["depends_on"].items()}
        assert waits == {"migrate": "service_completed_successfully", "valkey": "service_healthy"}
    assert services["valkey"]["command"][1:] == ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]


def test_compose_sets_only_variables_that_exist(ours: dict[str, Any]) -> None:
    known = {field.alias for field in Settings.model_fields.values()} | set(URL_PARTS)
    for service in ours.values():
        assert set(service["environment"]) <= known


@pytest.mark.skipif(not have("hadolint"), reason="hadolint comes with the extra `dev`")
def test_the_dockerfile_passes_hadolint() -> None:
    run_tool("hadolint", "--failure-threshold", "info", "Dockerfile")


def test_the_dockerfile_ends_as_an_ordinary_user_with_a_health_check() -> None:
    stages = re.split(r"(?m)^FROM ", (ROOT / "Dockerfile").read_text())
    final = stages[-1]
    assert len(stages) >= 3
    assert re.search(r"(?m)^USER 10001$", final)
    assert re.search(r"(?m)^ENTRYPOINT \[\"cronsvc\"\]$", final)
    check = re.search(r"(?m)^HEALTHCHECK .*CMD (\[.*\])$", final)
    assert check is not None and json.loads(check[1])[1] in cli_commands()


def test_the_image_gets_every_file_it_copies() -> None:
    copied = {
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text())
        for source in line.split()[:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_the_lock_has_hashes_and_names_no_host_and_no_path() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|@ |/|index-url|file:", text)
    comment, *requirements = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    assert comment.startswith("# Made by: uv pip compile ") and len(requirements) > 50
    assert all("--hash=sha256:" in requirement for requirement in requirements)


def test_the_lock_holds_every_direct_dependency() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    locked = dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text()))
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "cronsvc":
            assert name in locked and requirement.specifier.contains(locked[name]), str(requirement)


def test_the_readme_has_the_environment_table() -> None:
    found = re.search(r"(?s)<!-- env -->\n(.*?)<!-- /env -->", (ROOT / "README.md").read_text())
    assert found is not None, "README.md has no <!-- env --> … <!-- /env -->"
    assert found[1].strip() == environment_table().strip(), "write it again: python -m tests.tools.environment_table"


def test_the_changelog_speaks_of_this_version() -> None:
    assert re.search(rf"(?m)^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text())


def test_the_licence_is_the_one_the_project_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
