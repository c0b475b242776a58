"""The worked example of a job type: found as an installed package is found, and run by a real Runner."""

import json
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from cronsvc.errors import InvalidInput
from cronsvc.executors.base import Executor, ExecutorSettings
from cronsvc.executors.registry import GROUP, load_executors
from cronsvc.services.job_validation import payload_faults
from cronsvc.services.running import Runner
from cronsvc.store.pool import Database
from tests.support.rows import one
from tests.support.running import attempt, outcomes, state, waiting, worker

ROOT = Path(__file__).parents[2]
PACK = ROOT / "ecosystem/packs/example_job_type"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The pack's entry points as an installer would write them down."""
    project = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(PACK))
    (found,) = distributions(path=[str(tmp_path)])
    yield list(found.entry_points.select(group=GROUP))
    sys.modules.pop("cronsvc_disk_space", None)


@pytest.fixture
def executors(installed: list[EntryPoint]) -> dict[str, Executor]:
    return load_executors(ExecutorSettings(), installed=installed)


async def test_it_runs_on_a_worker(db: Database, executors: dict[str, Executor]) -> None:
    assert set(executors) == {"DISK_SPACE"}
    roomy = await waiting(db, task_payload=payload({"path": "/", "leastFreePercent": 0}))
    full = await waiting(db, task_payload=payload({"path": "/", "leastFreePercent": 100}))
    one_worker = Runner(db, executors, worker_id=await worker(db))
    await attempt(one_worker, roomy)
    await attempt(one_worker, full)
    assert await state(db, roomy) == ("SUCCESS", None, 1, 1)
    assert await state(db, full) == ("QUEUED", None, 1, 1)
    assert await outcomes(db, full) == [(1, "error")]
    result, progress, log = await one(
        db, "SELECT result, progress, log_details FROM job_executions WHERE id = %s", roomy.execution_id
    )
    assert 0 <= result["freePercent"] <= 100 and progress == 100
    assert log["lines"][0]["message"] == "measured" and log["lines"][0]["path"] == "/"


def test_its_faults_are_those_of_the_api(executors: dict[str, Executor]) -> None:
    faults = payload_faults("DISK_SPACE", {"path": "here", "leastFreePercent": "10", "more": 1}, executors)
    assert {fault.field for fault in faults} == {
        "taskPayload.config.path",
        "taskPayload.config.leastFreePercent",
        "taskPayload.config.more",
    }
    with pytest.raises(InvalidInput):
        executors["DISK_SPACE"].parse({})


def test_the_readme_leads_there() -> None:
    assert "](ecosystem/packs/example_job_type)" in (ROOT / "README.md").read_text()


def payload(config: dict[str, object]) -> str:
    return json.dumps({"type": "DISK_SPACE", "config": config})
