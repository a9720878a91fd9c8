"""The schedules of a plan: they fire about a change of the clocks, of which there are four."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

#: When clocks change on two weekends each in two zones, and by half an hour in a third one.
CHANGES = (
    ("Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 10, 31, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 3, 14, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 11, 7, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 15, tzinfo=UTC)),
)
#: Seconds from the change to the start of a plan, at most; and from the start to the change.
_AFTER, _BEFORE = 40.0, 110.0
_MINUTES = ("*", "*", "*", "*/2", "0-8", "0,1,59", "28-35", "56-59,0-3", "0")
_HOURS = ("*", "*", "1", "2", "3", "1-3", "2,3")


@dataclass(frozen=True, slots=True)
class PlannedSchedule:
    """A schedule that a person applies.

    Args:
        name: its name.
        at: when it is applied, simulated seconds.
        fields: as a file of schedules has them, but what it enqueues.
        lines: how many jobs a firing has; 1 = it has no file.
        run_seconds: how long the run of each takes.
    """

    name: str
    at: float = 0.5
    fields: dict[str, Any] = field(default_factory=dict)
    lines: int = 1
    run_seconds: float = 3

    def line(self, number: int) -> dict[str, Any]:
        """Return its line of a number, from 1."""
        prompt = f"timed {{schedule}} {{firing}} {{date}} {{time}} {number}."
        url = f"https://site.test/?sim_end=completed&sim_seconds={self.run_seconds:g}"
        return {"kind": "task", "body": {"prompt": prompt, "url": url}}


def begins(chance: Random) -> tuple[str, float]:
    """Draw a zone, and when a plan begins: about a change of its clocks, unix seconds."""
    zone, change = chance.choice(CHANGES)
    return zone, round(change.timestamp() + chance.uniform(-_BEFORE, _AFTER), 3)


def schedules(chance: Random, zone: str, until: float) -> Iterator[PlannedSchedule]:
    """Draw some schedules.

    Args:
        chance: the random source of the plan.
        zone: the zone whose clocks change.
        until: when the last firing may be, unix seconds.
    """
    for number in range(chance.choice([1, 2, 3, 4])):
        fields: dict[str, Any] = {
            "timezone": zone if chance.random() < 0.8 else chance.choice(CHANGES)[0],
            "overlap": chance.choice(["skip", "queue", "cancel"]),
            "catch_up": chance.choice(["none", "last", "all"]),
            "end": datetime.fromtimestamp(int(until), UTC).isoformat(),
        }
        if chance.random() < 0.25:
            fields["every"] = chance.choice(["1m", "2m"])
        else:
            fields["cron"] = f"{chance.choice(_MINUTES)} {chance.choice(_HOURS)} * * *"
        if chance.random() < 0.3:
            fields["jitter"] = chance.choice(["10s", "50s"])
        lines = chance.choice([1, 1, 2, chance.randint(12, 40)])
        seconds = chance.choice([1, 3, 10, 80]) if lines < 3 else 1
        at = round(chance.uniform(0.5, 10), 3)
        yield PlannedSchedule(f"s{number + 1}", at, fields, lines, seconds)
