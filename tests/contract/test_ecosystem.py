"""What supervisors run is what the Procfile names, and they wait long enough for a drain."""

import configparser
import json
from pathlib import Path

from cronsvc.config import Settings
from cronsvc.processes.signals import GRACE_BEYOND_DRAIN

ROOT = Path(__file__).parents[2]
LONGEST_DRAIN = Settings().drain_seconds + GRACE_BEYOND_DRAIN


def process_types() -> set[str]:
    """The commands of the Procfile that stay, without `migrate`."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    commands = {line.partition(":")[2].split()[1] for line in lines if line.strip()}
    return commands - {"migrate"}


def test_systemd_has_a_unit_for_each_process_type() -> None:
    commands = set()
    for path in (ROOT / "ecosystem" / "systemd").glob("*.service"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names have capitals
        unit.read(path)
        program, command = unit["Service"]["ExecStart"].split()
        assert program == "/opt/cronsvc/bin/cronsvc"
        assert path.name.removesuffix(".service").rstrip("@") == f"cronsvc-{command}"
        assert float(unit["Service"]["TimeoutStopSec"]) > LONGEST_DRAIN
        assert unit["Service"]["KillSignal"] == "SIGTERM"
        commands.add(command)
    assert commands == process_types()


def test_pm2_runs_each_process_type() -> None:
    apps = json.loads((ROOT / "ecosystem" / "pm2" / "cronsvc.json").read_text())["apps"]
    assert {command for app in apps for command in app["args"]} == process_types()
    assert all(app["script"] == "cronsvc" and app["interpreter"] == "none" for app in apps)
    assert all(app["kill_timeout"] / 1000 > LONGEST_DRAIN for app in apps)
