"""What the page says of a job's retries and of what it keeps."""

from datetime import UTC, datetime

import pytest

from cronsvc.domain.job import Job, JobDefinition, Retention, TaskPayload
from cronsvc.domain.retry import Backoff, BackoffType
from cronsvc.domain.schedule import Schedule
from cronsvc.web.views import job_facts

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def facts(**fields: object) -> dict[str, str]:
    definition = JobDefinition("x", Schedule(cron_expression="@daily"), TaskPayload("API_CALL", {}), **fields)  # type: ignore[arg-type]
    job = Job(1, definition, 1, None, None, None, 0, None, NOW, NOW)
    return {fact.name: fact.value for fact in job_facts(job)}


@pytest.mark.parametrize(
    ("backoff", "words"),
    [
        (Backoff(), "3 · exponential backoff from 2 s × 2, at most 300 s ± 10 %"),
        (Backoff(BackoffType.LINEAR, jitter=0), "3 · linear backoff from 2 s, at most 300 s"),
        (Backoff(BackoffType.LIST, jitter=0, delays=(5, 25.5)), "3 · waits 5, 25.5 s"),
    ],
)
def test_how_it_waits(backoff: Backoff, words: str) -> None:
    assert facts(backoff=backoff)["Attempts"] == words


def test_what_is_at_its_default_is_left_out() -> None:
    plain = facts()
    assert {"Retried", "Deadline", "Pauses after"} & set(plain) == set()
    assert plain["Kept"] == "90 days"


def test_what_was_decided_is_said() -> None:
    told = facts(
        retry_on=("connect", "http_status:503"),
        deadline_seconds=90,
        pause_after_failures=3,
        retention=Retention(10, 20, 30),
    )
    assert told["Retried"] == "on connect, http_status:503"
    assert told["Deadline"] == "90 s for all of them"
    assert told["Pauses after"] == "3 failed executions in a row"
    assert told["Kept"] == "30 days · the last 10 successes · the last 20 failures"
    assert facts(retry_on=())["Retried"] == "never"
