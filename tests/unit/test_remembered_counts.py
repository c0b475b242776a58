"""A count that is remembered: only far from the limit, only for a while, and not for everybody at once."""

from cronsvc.services.remembered_counts import MOST_NAMES, RememberedCounts


def test_far_from_the_limit_and_for_a_while_only() -> None:
    now = [0.0]
    counts = RememberedCounts(seconds=5.0, margin=10, monotonic=lambda: now[0])
    assert not counts.let_through("a", 100)  # nothing is known yet
    counts.remember("a", 85)
    assert [counts.let_through("a", 100) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not counts.let_through("b", 100)
    counts.remember("a", 85)
    assert not counts.let_through("a", 95)  # a lower limit
    now[0] = 5.1
    assert not counts.let_through("a", 100)


def test_a_limit_within_the_margin_is_always_counted() -> None:
    counts = RememberedCounts(seconds=5.0, margin=10)
    counts.remember("a", 0)
    assert not counts.let_through("a", 10)


def test_names_are_bounded() -> None:
    counts = RememberedCounts(seconds=5.0, margin=1)
    for n in range(MOST_NAMES + 1):
        counts.remember(str(n), 0)
    assert not counts.let_through("0", 100)
    assert counts.let_through(str(MOST_NAMES), 100)
