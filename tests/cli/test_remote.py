"""Commands against a service at a URL: no database here, and the same output as with one."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.cli.support import Running, cronsvc, running
from tests.support.servers import Embedded

JOB = {
    "name": "nightly",
    "cronExpression": "0 3 * * *",
    "taskPayload": {"type": "API_CALL", "config": {"url": "https://example.org/", "method": "POST"}},
}


def url_of(api: Running) -> str:
    api.wait_for(lambda: any('"event": "ready"' in line for line in api.err))
    found = json.loads(next(line for line in api.err if '"event": "ready"' in line))["url"]
    assert isinstance(found, str)
    return found


@pytest.fixture
def here(database_url: str, valkey_server: Embedded) -> dict[str, str]:
    """Variables of who may go to the database."""
    return {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url}


@pytest.fixture
def there(here: dict[str, str]) -> Iterator[dict[str, str]]:
    """Variables of who knows a URL and has a key, and nothing more."""
    made = cronsvc("keys", "create", "--name", "deploy", "--role", "operator", **here)
    with running("api", "--host", "127.0.0.1", "--port", "0", **here, CRONSVC_LOG_FORMAT="json") as api:
        yield {"CRONSVC_URL": url_of(api), "CRONSVC_API_KEY": made.stdout.strip()}


def done(*arguments: str, **given: str) -> str:
    finished = cronsvc(*arguments, **given)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def assert_documents(job_id: str, there: dict[str, str]) -> None:
    """With `--json` commands print what the API answers, no more and no less."""
    headers = {"Authorization": f"Bearer {there['CRONSVC_API_KEY']}"}
    execution = done("trigger", "nightly", **there).strip()
    with httpx2.Client(base_url=f"{there['CRONSVC_URL']}/api/v1", headers=headers) as http:
        for command, path in (
            (["jobs", "show", "nightly"], f"/jobs/{job_id}"),
            (["jobs", "list"], "/jobs"),
            (["executions", "list", "--job", "nightly"], f"/executions?jobId={job_id}"),
            (["executions", "show", execution], f"/executions/{execution}"),
            (["dead-letters", "list", "--job", "nightly"], "/dead-letters"),
            (["explain", "nightly", "--at", "2096-03-08T03:00:00Z"], f"/jobs/{job_id}/explain?at=2096-03-08T03:00:00Z"),
        ):
            document = http.get(path).raise_for_status().json()
            assert json.loads(done(*command, "--json", **there)) == document.get("items", document), command
        assert json.loads(done("status", "--json", **there)).keys() == http.get("/status").json().keys()
    assert done("executions", "cancel", execution, **there) == "CANCELLED\n"


def test_a_job_is_made_changed_run_and_deleted_from_afar(
    there: dict[str, str], here: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(JOB))
    job_id = done("jobs", "create", str(file), **there).strip()
    again = cronsvc("jobs", "create", str(file), **there)
    assert (again.returncode, again.stdout) == (1, "") and "nightly" in again.stderr

    # The same words, whichever way they came.
    for command in (["jobs", "show", job_id], ["explain", "nightly", "--at", "2096-03-08T03:00:00Z"]):
        assert done(*command, **there) == done(*command, **here), command

    setting = ("--set", "cronExpression=0 4 * * *", "--set", "taskPayload.config.method=GET")
    plan = done("jobs", "edit", "nightly", *setting, "--dry-run", **there).splitlines()
    assert any(line.startswith("+ ") for line in plan) and any(line.startswith("- ") for line in plan)
    assert done("jobs", "edit", "nightly", *setting, "--if-revision", "1", **there) == "2\n"
    late = cronsvc("jobs", "edit", "nightly", "--set", "isActive=false", "--if-revision", "1", **there)
    assert late.returncode == 1 and "revision 2" in late.stderr
    wrong = cronsvc("jobs", "edit", "nightly", "--set", "isActive=5", **there)
    assert wrong.returncode == 1 and "cronsvc: isActive: " in wrong.stderr
    assert "  0 4 * * *  " in done("jobs", "list", **there)

    for command in (
        ["trigger", "nightly", "--idempotency-key", "é"],
        ["jobs", "edit", "nightly", "--set", "maxRuns=NaN"],
        ["jobs", "show", "x" * 70_000],
        ["jobs", "pause", "nightly", "--until", "9999-12-31T23:59:59-05:00"],
    ):
        refused = cronsvc(*command, **there)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert refused.stderr.startswith("cronsvc: ") and "Error" not in refused.stderr
    assert done("jobs", "edit", "nightly", "--set", "description=über\nalles", **there) == "3\n"
    assert r"über\nalles" in done("jobs", "show", "nightly", **there)
    assert r"\xfcber\nalles" in done("jobs", "show", "nightly", **there, PYTHONIOENCODING="ascii")
    late = cronsvc("explain", "x" * 400, **there)
    assert late.returncode == 1 and "cronsvc: name: " in late.stderr
    late = cronsvc("explain", "nightly", "--at", "noon", **there)
    assert late.returncode == 1 and "cronsvc: --at: " in late.stderr
    assert_documents(job_id, there)

    assert done("jobs", "pause", "nightly", "--note", "holidays", **there) == "paused\n"
    assert done("jobs", "resume", "nightly", **there) == "active\n"
    execution = done("trigger", "nightly", "--params", '{"data": {"day": 1}}', **there).strip()
    assert re.search(rf"(?m)^id +{execution}$", done("executions", "show", execution, **there))
    assert done("executions", "cancel", execution, **there) == "CANCELLED\n"
    assert done("executions", "retry", execution, **there) == "QUEUED\n"
    assert re.search(r"(?m)^waiting +1$", done("status", **there))

    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    window = ("--from", day.isoformat(), "--to", (day + timedelta(hours=30)).isoformat(), "--dry-run")
    instants = [f"{day + timedelta(days=after):%Y-%m-%d}T04:00:00Z" for after in (0, 1)]
    assert done("backfill", "nightly", *window, **there).splitlines() == instants

    with psycopg.connect(here["DATABASE_URL"]) as conn:
        conn.execute("UPDATE job_executions SET status = 'FAILED', end_time = now(), start_time = now()")
    assert execution in done("dead-letters", "list", **there)
    assert done("dead-letters", "resolve", execution, "--note", "by hand", **there) == f"{execution}  done\n"
    assert done("jobs", "delete", "nightly", **there) == f"{job_id}  nightly\n"
    assert json.loads(done("executions", "list", "--job", job_id, "--json", **there))[0]["id"] == int(execution)
    missing = cronsvc("jobs", "show", "nightly", **there)
    assert missing.returncode == 1 and "there is no job named 'nightly'" in missing.stderr
    with psycopg.connect(here["DATABASE_URL"]) as conn:
        actors = conn.execute("SELECT DISTINCT actor FROM audit_log WHERE entity IN ('job', 'execution')").fetchall()
    assert actors == [("key:deploy",)]


def test_a_url_on_the_command_line_comes_before_the_environment(there: dict[str, str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{there['CRONSVC_API_KEY']}\n")
    given = {"CRONSVC_URL": "https://127.0.0.1:1", "CRONSVC_API_KEY_FILE": str(key)}
    assert done("--url", there["CRONSVC_URL"], "jobs", "list", **given).startswith("ID")


def test_what_is_wrong_with_the_way_there_is_a_sentence_without_the_key(there: dict[str, str]) -> None:
    url = there["CRONSVC_URL"]
    for given, said in (
        ({"CRONSVC_URL": url}, "needs an API key"),
        ({"CRONSVC_URL": url, "CRONSVC_API_KEY": "csk_hunter22"}, "cronsvc: "),
        ({"CRONSVC_URL": "http://cron.example.com", "CRONSVC_API_KEY": "csk_hunter22"}, "--allow-http"),
        ({"CRONSVC_URL": "cron.example.com", "CRONSVC_API_KEY": "csk_hunter22"}, "should be such as https://"),
        ({"CRONSVC_URL": url, "CRONSVC_API_KEY": "csk hunter22"}, "no key has"),
        ({"CRONSVC_URL": url, "CRONSVC_API_KY": "x"}, "did you mean CRONSVC_API_KEY?"),
    ):
        refused = cronsvc("jobs", "list", **given)
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
        assert "hunter22" not in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "should be an object"),
        ('{"name": "x"}', "taskPayload"),
        ('\ufeff{"name": "x"}', "taskPayload"),
        ('{"name": "x", "tags": [], "name": "y"}', "'name' is there twice"),
        ("[" * 100_000, "is nested too deep"),
        ('{"tags": ' + "[" * 600 + "]" * 600 + "}", "nested"),
    ],
)
def test_a_file_that_is_no_job_is_refused(content: str, said: str, here: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(content)
    refused = cronsvc("jobs", "create", str(file), **here)
    assert refused.returncode == 1 and said in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize("setting", ["isActive", "=5", "a..b=1", "backoff.=1"])
def test_a_setting_that_is_none_is_refused(setting: str) -> None:
    refused = cronsvc("jobs", "edit", "x", "--set", setting)
    assert refused.returncode == 1 and "cronsvc: --set: " in refused.stderr
