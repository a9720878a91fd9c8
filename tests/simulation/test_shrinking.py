"""Shrinking by delta debugging."""

from simulation.shrinking import minimize


def test_only_what_it_takes_to_fail_is_left() -> None:
    assert minimize(range(100), lambda some: {3, 50, 51} <= set(some)) == [3, 50, 51]


def test_what_fails_by_itself_needs_nothing() -> None:
    assert minimize(range(10), lambda _: True) == []
