"""The alerts for Prometheus ask for metrics that /metrics has, and what the README calls worth an alert has one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, create_app
from tests.support.rows import define, fetch
from tests.web.conftest import Client, http_client, services  # noqa: F401 a fixture

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ecosystem/prometheus/cronsvc.rules.yml"
_SAMPLE = re.compile(r"^(cronsvc_\w+)(?:\{(.*)\})? \S+$", re.MULTILINE)
_ASKED = re.compile(r"(cronsvc_\w+)(?:\{(\w+=\"[^\"]*\")\})?")


@pytest.fixture
def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


async def test_alerts_ask_for_what_is_there(
    services: Services,  # noqa: F811 the fixture
    db: Database,
    alerts: list[dict[str, Any]],
) -> None:
    job_id = await define(db)
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, attempt, start_time)"
        " VALUES (%s, now(), 'SUCCESS', 1, now()) RETURNING 1",
        job_id,
    )
    key = await services.access.create_key(name="prometheus", role=Role.VIEWER, created_by="tests")
    async with http_client(create_app(services)) as http:
        text = (await Client(http, key).get("/metrics")).text
    served = {(name, label) for name, labels in _SAMPLE.findall(text) for label in ("", *labels.split(","))}
    for alert in alerts:
        asked = _ASKED.findall(alert["expr"])
        assert asked, alert
        assert set(asked) <= served, alert
        assert alert["labels"]["severity"] in ("warning", "critical")
        for label in re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]) + re.findall(
            r"(?:by|on) \((\w+)\)", alert["expr"]
        ):
            assert re.search(rf"^{asked[0][0]}\{{{label}=", text, re.MULTILINE), alert


def test_what_the_readme_calls_worth_an_alert_has_one(alerts: list[dict[str, Any]]) -> None:
    (paragraph,) = re.findall(r"^- \*\*Prometheus\*\*.*?(?=^- |^#|\n\n)", (ROOT / "README.md").read_text(), re.M | re.S)
    named = set(re.findall(r"cronsvc_\w+", paragraph.partition("besides them")[0]))
    asked = {name for alert in alerts for name, _ in _ASKED.findall(alert["expr"])}
    assert named and named <= asked
