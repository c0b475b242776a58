"""iCalendar files: which dates they close, and what is refused, however it is made."""

import time
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronsvc.domain.icalendar_dates import UnreadableCalendarError, closed_dates

SINCE, UNTIL = date(2026, 1, 1), date(2035, 12, 31)


def file(*events: str) -> bytes:
    """A file with these events; their lines are separated by spaces."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0"]
    for event in events:
        lines += ["BEGIN:VEVENT", *event.split(), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def dates(*events: str, since: date = SINCE, until: date = UNTIL) -> list[str]:
    return [day.isoformat() for day in sorted(closed_dates(file(*events), since=since, until=until).dates)]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("DTSTART;VALUE=DATE:20261225", ["2026-12-25"]),
        ("DTSTART;VALUE=DATE:20261225 DTEND;VALUE=DATE:20261227", ["2026-12-25", "2026-12-26"]),
        ("DTSTART;VALUE=DATE:20261225 DTEND;VALUE=DATE:20261225", ["2026-12-25"]),
        ("DTSTART;VALUE=DATE:20261225 DURATION:P2D", ["2026-12-25", "2026-12-26"]),
        ("DTSTART;VALUE=DATE:20251230 DTEND;VALUE=DATE:20260103", ["2026-01-01", "2026-01-02"]),
        ("DTSTART;VALUE=DATE:20251225", []),
        ("DTSTART:20261225T090000Z DTEND:20261225T100000Z", []),
        ("DTSTART;VALUE=DATE:20261225 STATUS:CANCELLED", []),
        (
            "DTSTART;VALUE=DATE:20261225 RDATE;VALUE=DATE:20270101,20270102 EXDATE;VALUE=DATE:20270102",
            ["2026-12-25", "2027-01-01"],
        ),
    ],
)
def test_what_one_event_closes(event: str, expected: list[str]) -> None:
    assert dates(event) == expected


@pytest.mark.parametrize(
    ("event", "until", "expected"),
    [
        ("DTSTART;VALUE=DATE:19701225 RRULE:FREQ=YEARLY", 2027, ["2026-12-25", "2027-12-25"]),
        # The last Monday of May.
        ("DTSTART;VALUE=DATE:19710531 RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO", 2027, ["2026-05-25", "2027-05-31"]),
        ("DTSTART;VALUE=DATE:20240229 RRULE:FREQ=YEARLY", 2032, ["2028-02-29", "2032-02-29"]),
        ("DTSTART;VALUE=DATE:20260105 RRULE:FREQ=WEEKLY;COUNT=3", 2030, ["2026-01-05", "2026-01-12", "2026-01-19"]),
        ("DTSTART;VALUE=DATE:20260105 RRULE:FREQ=WEEKLY;UNTIL=20260112", 2030, ["2026-01-05", "2026-01-12"]),
        ("DTSTART;VALUE=DATE:20260105 RRULE:FREQ=WEEKLY;UNTIL=20260112T235959Z", 2030, ["2026-01-05", "2026-01-12"]),
        (
            "DTSTART;VALUE=DATE:20260101 RRULE:FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
            2026,
            ["2026-02-13", "2026-03-13", "2026-11-13"],
        ),
        (
            "DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY EXDATE;VALUE=DATE:20270101 EXDATE;VALUE=DATE:20280101",
            2029,
            ["2026-01-01", "2029-01-01"],
        ),
    ],
)
def test_what_recurs_is_written_out(event: str, until: int, expected: list[str]) -> None:
    assert dates(event, until=date(until, 12, 31)) == expected


def test_an_occurrence_that_was_moved_counts_where_it_is() -> None:
    master = "UID:1 DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY;COUNT=2 SUMMARY:New-Year"
    moved = "UID:1 RECURRENCE-ID;VALUE=DATE:20270101 DTSTART;VALUE=DATE:20270104 SUMMARY:Observed"
    assert dates(master, moved) == ["2026-01-01", "2027-01-04"]


def test_labels_are_joined_and_made_plain() -> None:
    found = closed_dates(
        file(
            "DTSTART;VALUE=DATE:20261225 SUMMARY:Christmas",
            "DTSTART;VALUE=DATE:20261225 SUMMARY:Christmas",
            "DTSTART;VALUE=DATE:20261225 SUMMARY:Jour\\nde\u202ePaix",
            "DTSTART:20261224T180000Z SUMMARY:Carols",
        ),
        since=SINCE,
        until=UNTIL,
    )
    assert found.dates == {date(2026, 12, 25): "Christmas, Jour de Paix"}
    assert found.ignored == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no iCalendar file"),
        (b"\xff\xfe\x00", "no iCalendar file"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n" * 100, "no iCalendar file"),
        (file(), "has no event"),
        (file("SUMMARY:x"), "event 1 has a date that cannot be read"),
        (file("DTSTART;VALUE=DATE:20260101", "DTSTART:20269999"), "event 2 has a date that cannot be read"),
        (file("DTSTART;VALUE=DATE:20260101 DTEND;VALUE=DATE:20250101"), "event 1 lasts -365 days"),
        (file("DTSTART;VALUE=DATE:20260101 DURATION:P9999D"), "event 1 lasts 9999 days"),
        (file("DTSTART;VALUE=DATE:00010101"), "outside the years"),
        (file("DTSTART;VALUE=DATE:20260101 RRULE:FREQ=SECONDLY"), "more often than daily"),
        (file("DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY;BYHOUR=3"), "recurs by BYHOUR"),
        (file("DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY RRULE:FREQ=DAILY"), "two recurrence rules"),
        (file("DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY;BYMONTHDAY=x"), "event 1"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(content: bytes, says: str) -> None:
    with pytest.raises(UnreadableCalendarError, match=says):
        closed_dates(content, since=SINCE, until=UNTIL)


def test_a_rule_that_never_comes_true_ends_and_whoever_waits_may_give_up() -> None:
    never = "DTSTART;VALUE=DATE:16000101 RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"
    assert dates(never) == []
    asked: list[float] = []

    def give_up() -> None:
        asked.append(time.monotonic())
        if len(asked) == 3:
            raise UnreadableCalendarError("too long")

    with pytest.raises(UnreadableCalendarError, match="too long"):
        closed_dates(file(*[never] * 100), since=SINCE, until=UNTIL, go_on=give_up)


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(["DTSTART", "DTEND", "RRULE", "EXDATE", "RDATE", "DURATION", "RECURRENCE-ID", "BEGIN"]),
            st.sampled_from(["", ";VALUE=DATE", ";TZID=Mars/Olympus"]),
            st.text(max_size=20) | st.sampled_from(["20260101", "20260101T000000Z", "VEVENT", "FREQ=YEARLY", "P1D"]),
        ),
        max_size=6,
    )
)
def test_nothing_but_its_own_error_leaves(lines: list[tuple[str, str, str]]) -> None:
    text = "\r\n".join(f"{name}{parameter}:{value}" for name, parameter, value in lines)
    content = f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{text}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n".encode(errors="replace")
    try:
        found = closed_dates(content, since=SINCE, until=SINCE + timedelta(days=800))
    except UnreadableCalendarError:
        return
    assert all(day >= SINCE for day in found.dates)
