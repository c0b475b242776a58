"""The outcome table, cell by cell, and Retry-After in both forms."""

from datetime import UTC, datetime

import pytest

from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.egress import TargetRefused
from cronsvc.executors.outcomes import Trouble, judge, refused, retry_after_seconds

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

RETRY, FAILED, SUCCESS, LOST = "retry", "failed", "success", "lost"

TABLE: list[tuple[int | Trouble, str, str]] = [
    *[(status, SUCCESS, SUCCESS) for status in (200, 201, 202, 204, 206, 299)],
    *[(status, FAILED, FAILED) for status in (300, 301, 302, 303, 304, 307, 308)],
    *[(status, RETRY, FAILED) for status in (408, 425, 429, 500, 502, 503, 504, 507, 520, 529, 599)],
    *[(status, FAILED, FAILED) for status in (400, 401, 403, 404, 405, 409, 410, 413, 422, 451, 501, 505)],
    *[(status, FAILED, FAILED) for status in (101, 600, 999)],
    (Trouble.CONNECT, RETRY, RETRY),
    (Trouble.TLS, RETRY, RETRY),
    (Trouble.UNSENT, RETRY, RETRY),
    (Trouble.TIMEOUT, RETRY, LOST),
    (Trouble.PROTOCOL, RETRY, LOST),
    (Trouble.UNEXPECTED_BODY, RETRY, FAILED),
    (Trouble.AUTH_LATER, RETRY, RETRY),
    (Trouble.AUTH_FAILED, FAILED, FAILED),
    (Trouble.EGRESS_DENIED, FAILED, FAILED),
    (Trouble.INVALID_CONFIG, FAILED, FAILED),
]


def cell(happened: int | Trouble, *, at_most_once: bool) -> str:
    verdict = judge(happened, at_most_once=at_most_once)
    if verdict.error_type is None:
        return SUCCESS
    if verdict.error_type == "lost":
        assert not verdict.retryable
        return LOST
    return RETRY if verdict.retryable else FAILED


@pytest.mark.parametrize(("happened", "at_least_once", "at_most_once"), TABLE)
def test_every_cell_of_the_table(happened: int | Trouble, at_least_once: str, at_most_once: str) -> None:
    assert cell(happened, at_most_once=False) == at_least_once
    assert cell(happened, at_most_once=True) == at_most_once


def test_the_table_names_every_trouble() -> None:
    assert {happened for happened, _, _ in TABLE if isinstance(happened, Trouble)} == set(Trouble)


def test_error_types_are_the_published_ones() -> None:
    published = {"timeout", "connect", "egress_denied", "tls", "protocol", "invalid_config"}
    published |= {"unexpected_body", "auth_failed"}
    assert {trouble.error_type for trouble in Trouble} == published
    assert judge(500, at_most_once=False).error_type == "http_status"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("3600", 3600.0),
        ("86400", 3600.0),
        ("999999999999999999", 3600.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 3600.0),
        ("Sun, 01 Mar 2026 14:00:30 +0200", 30.0),
        ("Sun, 01 Mar 2026 11:59:59 GMT", None),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("١٢", None),
        ("9" * 5000, None),
        ("Sun, 99 Mar 2026 12:00:00 GMT", None),
        ("Sun, 01 Mar 99999999 12:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


def test_a_configuration_refused_in_the_worker_has_a_final_outcome() -> None:
    fault = [FieldError("taskPayload.config.url", "is required")]
    invalid = refused(InvalidInput(fault))
    denied = refused(TargetRefused(fault))
    assert invalid.error is not None
    assert denied.error is not None
    assert (invalid.error.type, invalid.retryable) == ("invalid_config", False)
    assert (denied.error.type, denied.retryable) == ("egress_denied", False)
