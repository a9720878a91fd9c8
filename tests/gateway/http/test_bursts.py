"""How often what strangers cause is logged."""

from __future__ import annotations

import pytest

from gateway.http.bursts import BURST, FORGIVEN, Burst


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_forgiven_with_time(clock: Clock) -> None:
    burst = Burst(clock)
    for _ in range(BURST):
        burst.count()
    assert burst.count() is None

    clock.now += 2 / FORGIVEN
    assert burst.count() == 1
    assert burst.count() is None


def test_what_never_rests_is_logged_now_and_then_with_how_many_more_there_were(
    clock: Clock,
) -> None:
    burst, logged = Burst(clock), []
    for _ in range(600):
        logged.append(burst.count())
        clock.now += 0.1

    lines = [one for one in logged if one is not None]
    assert len(lines) < BURST + 10
    assert sum(lines) + len(lines) <= 600
    assert max(lines) > 90
