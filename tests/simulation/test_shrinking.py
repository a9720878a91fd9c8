"""Shrinking by delta debugging."""

from simulation.shrinking import least


def test_only_what_it_takes_to_fail_is_left() -> None:
    assert least(range(100), lambda some: {3, 50, 51} <= set(some)) == [3, 50, 51]


def test_what_fails_by_itself_needs_nothing() -> None:
    assert least(range(10), lambda _: True) == []
