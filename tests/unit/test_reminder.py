"""When a loop says what is wrong: at once, again while it lasts, and at once the next time."""

import time

import pytest

from cronsvc.tasks import Reminder


def test_it_is_due_at_once_and_again_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    reminder = Reminder(20.0)
    said = []
    for clock in (100.0, 100.5, 119.9, 120.0, 121.0, 139.9, 140.0):
        if reminder.due():
            said.append(clock)
    assert said == [100.0, 120.0, 140.0]


def test_what_is_over_begins_anew() -> None:
    reminder = Reminder()
    assert not reminder.over()
    assert reminder.due() and not reminder.due()
    assert reminder.over() and not reminder.over()
    assert reminder.due()
