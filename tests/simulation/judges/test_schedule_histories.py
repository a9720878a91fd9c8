"""Which times a schedule has, as the simulation's judge finds them by looking at each minute."""

from __future__ import annotations

import pytest

from simulation.judges.schedule_histories import due_times
from simulation.schedules.drawn import CHANGES


@pytest.mark.parametrize(
    ("change", "cron", "minutes"),
    [
        (0, "30 2 * * *", [0]),  # the clocks leave it out: at the first minute after that
        (0, "0,30 2,3 * * *", [0, 30]),
        (0, "*/30 * * * *", [-60, -30, 0, 30]),
        (1, "30 2 * * *", [-30]),  # twice: at the first one
        (1, "*/30 * * * *", [-60, -30, 0, 30]),
        (3, "59,0 1 * * *", [-60, -1]),
        (4, "45 1 * * *", [-15]),  # of half an hour
    ],
)
def test_due_times_about_a_change_of_the_clocks(change: int, cron: str, minutes: list[int]) -> None:
    zone, at = CHANGES[change]
    at_us = int(at.timestamp()) * 1_000_000
    fields = {"cron": cron, "timezone": zone, "end": "2030-01-01T00:00:00+00:00"}
    hour_us = 3_600_000_000
    found = due_times(fields, at_us - hour_us - 1, at_us + hour_us - 1)
    assert [(one - at_us) // 60_000_000 for one in found] == minutes
