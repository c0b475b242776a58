"""Small values and words, without a server."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.web import words
from cronsvc.web.job_document import merge_patch
from cronsvc.web.job_models import READ_ONLY, JobAnswer, JobDocument, JobIn
from cronsvc.web.models import api_names
from cronsvc.web.scalars import read_duration, read_instant, write_duration, write_instant

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@given(st.integers(min_value=1, max_value=366 * 86_400))
def test_durations_come_back(seconds: int) -> None:
    assert read_duration(write_duration(seconds)) == read_duration(seconds) == seconds


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "PT1.5S", "P1Y", "P1M", "pt5m", "PT5M ", "5m", "-PT5M", "PT٥M", "PT1M1H", True, 1.5]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        read_duration(text)


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 2),
        max_value=datetime(9000, 1, 1),
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_instants_come_back_in_utc(when: datetime) -> None:
    text = write_instant(when)
    assert text.endswith("Z")
    assert ("." in text) is (when.microsecond != 0)
    assert read_instant(text) == when == read_instant(when.isoformat())


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "20260101T000000Z",
        "1767225600",
        1767225600,
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:30:00Z",
        "0001-01-01T00:00:00+23:59",
        "2026-01-01T00:00:00Zx",
        None,
    ],
)
def test_what_is_no_instant(text: object) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        read_instant(text)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_as_the_rfc_says(target: object, patch: object, result: object) -> None:
    assert merge_patch(target, patch) == result


def test_answers_hold_what_a_person_defines_and_what_is_read_only() -> None:
    assert set(api_names(JobAnswer)) == set(api_names(JobIn)) | READ_ONLY
    assert set(api_names(JobDocument)) == set(api_names(JobAnswer))
    assert set(api_names(JobIn)).isdisjoint(READ_ONLY)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (-0.9, "now"),
        (12, "in 12 s"),
        (-61, "1 min 1 s ago"),
        (-60, "1 min ago"),
        (7500, "in 2 h 5 min"),
        (7205, "in 2 h"),
        (-90_000, "1 d 1 h ago"),
        (-86_400 * 400, "400 d ago"),
    ],
)
def test_relative_times(seconds: float, text: str) -> None:
    assert words.relative(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(None, "–"), (0, "0 ms"), (84, "84 ms"), (2449, "2.4 s"), (185_000, "3 min 5 s")]
)
def test_durations_in_words(milliseconds: int | None, text: str) -> None:
    assert words.took(milliseconds) == text
