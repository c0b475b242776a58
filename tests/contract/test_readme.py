"""What the README says is there, and what it shows works: commands, links, SQL, the worked example, the error table."""

import json
import re
from pathlib import Path

import psycopg
import typer.main

from cronsvc.cli import app
from cronsvc.domain.retry import BackoffType
from cronsvc.web.job_models import BackoffIn, JobIn
from cronsvc.web.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)


def test_the_test_command_is_one_line_that_ci_can_find() -> None:
    found = re.search(r"(?s)<!-- test-command -->\n```sh\n([^\n]+)\n```\n<!-- /test-command -->", README)
    assert found is not None and found[1] + "\n" in blocks("sh")
    assert "[test]" in found[1] and "pytest" in found[1]


def test_every_command_that_is_named_exists() -> None:
    root = typer.main.get_command(app)
    named = set(re.findall(r"\bcronsvc(?: --env-file \S+)? ([a-z]+)\b", "\n".join(re.findall(r"`[^`\n]+`", README))))
    shown = set(re.findall(r"bin/cronsvc ([a-z]+)", "\n".join(blocks("sh"))))
    assert {"up", "api", "scheduler", "worker", "migrate", "check"} <= named | shown
    assert named | shown <= set(root.commands)  # type: ignore[attr-defined]


def test_every_link_into_the_repository_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links), links
    mentioned = re.findall(r"\b(?:sql|cronsvc|tests)/[a-z_/]+\.(?:sql|py)\b", README)
    assert mentioned and all((ROOT / path).exists() for path in mentioned), mentioned
    for name in re.findall(r"`([a-z_]+\.sql)`", README):
        assert (ROOT / "sql/audit" / name).exists()


def test_the_error_table_is_complete() -> None:
    rows = re.findall(r"(?m)^\| ([0-9, ]+) \| (`/problems/.*?) \|", README)
    listed = {
        (int(status), kind)
        for statuses, kinds in rows
        for status, kind in zip(statuses.split(", "), re.findall(r"`(.*?)`", kinds), strict=True)
    }
    assert listed == {(problem.status, problem.type) for problem in PROBLEMS.values()}


def test_the_worked_example_is_a_job() -> None:
    (shell,) = [block for block in blocks("sh") if "every-second" in block and "curl" in block]
    body = re.search(r"(?s)-d '(\{.*\})'", shell)
    assert body is not None
    job = JobIn.model_validate(json.loads(body[1]))
    assert (job.name, job.cron_expression, job.task_payload.type) == ("every-second", "* * * * * *", "API_CALL")


def test_the_sql_for_people_works(database_url: str) -> None:
    (writes,) = blocks("sql")
    (query,) = [found for block in blocks("sh") if (found := re.search(r'(?s)-c "(\s*SELECT.*?)"', block))]
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(writes.encode())
        row = conn.execute("SELECT cron_expression, revision, is_armed FROM cronsvc_v1.jobs").fetchone()
        assert row == ("0 8 * * 1-5", 2, False)
        conn.execute(
            "INSERT INTO jobs (name, every_seconds, task_payload)"
            " VALUES ('every-second', 1, '{\"type\": \"API_CALL\"}')"
        )
        conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status, start_time)"
            " SELECT id, date_trunc('second', now()), 'RUNNING', now() FROM jobs WHERE name = 'every-second'"
        )
        assert conn.execute(query[1].encode()).rowcount == 1


def test_the_policy_table_has_the_settings_with_their_defaults_first() -> None:
    section = README.partition("## Policies")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (.*?) \|", section))
    fields = {field.alias: field for field in JobIn.model_fields.values()}
    for setting in ("misfirePolicy", "overlapPolicy"):
        words = [str(word) for word in fields[setting].annotation or ()]  # an enumeration lists its members
        assert rows[setting].partition(",")[0] == f"`{fields[setting].default}`"
        assert sorted(re.findall(r"`(\w+)`", rows[setting])) == sorted(words)
    backoffs = re.findall(r"`(\w+)`", rows["backoff"])
    assert backoffs[0] == BackoffIn().type and sorted(backoffs) == sorted(BackoffType)
    for setting in ("maxAttempts", "timeoutSeconds", "jitterSeconds"):
        assert rows[setting] == str(fields[setting].default)
    for setting in ("misfireGraceSeconds", "misfireCap"):
        assert f"`{setting}` ({fields[setting].default})" in section
