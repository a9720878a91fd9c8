"""When faults lasted: judges excuse what a fault explains, and the time that it took."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from simulation.plan import OF_SKYVERN


@dataclass(slots=True)
class FaultTime:
    """When one fault lasted.

    Args:
        kind: one of `FAULTS`.
        share: as `Fault` has it.
        start, end: simulated seconds; infinite while it goes on.
    """

    kind: str
    share: float
    start: float
    end: float = math.inf


class FaultTimes:
    """Records when faults lasted.

    Args:
        clock: simulated seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: list[FaultTime] = []

    def begin(self, kind: str, share: float = 1.0) -> FaultTime:
        """Note that a fault starts."""
        fault_time = FaultTime(kind, share, self._clock())
        self._times.append(fault_time)
        return fault_time

    def end(self, fault_time: FaultTime) -> None:
        """Note that a fault ends."""
        fault_time.end = self._clock()

    def hindered(self, since: float, until: float, *kinds: str) -> bool:
        """Return whether a fault whose kind begins with one of some words lasted in a time."""
        return any(
            one.kind.startswith(kinds) and one.start <= until and one.end >= since
            for one in self._times
        )

    def is_calm(self, since: float, until: float, but: tuple[str, ...] = OF_SKYVERN) -> bool:
        """Return whether there was no fault between two times.

        Args:
            since, until: simulated seconds.
            but: the beginnings of kinds that do not matter.
        """
        return not any(
            one.start <= until and one.end >= since and not one.kind.startswith(but)
            for one in self._times
        )

    def calm_since(self, until: float, but: tuple[str, ...] = OF_SKYVERN) -> float:
        """Return since when there was no fault, infinite if there is one at a time.

        Args:
            until: that time, simulated seconds.
            but: the beginnings of kinds that do not matter.
        """
        ends = (
            one.end if one.end <= until else math.inf
            for one in self._times
            if one.start <= until and not one.kind.startswith(but)
        )
        return max(ends, default=0.0)

    def due(self, since: float, seconds: float) -> float:
        """Return when something must be done that takes at most so many seconds without faults."""
        for one in sorted(self._times, key=lambda one: one.start):
            if not one.kind.startswith("a person") and one.start < since + seconds:
                since = max(since, one.end)
        return since + seconds

    def times_of(self, kind: str, share: float) -> list[tuple[float, float]]:
        """Return when each fault of a kind and share started and ended, simulated seconds."""
        return [
            (one.start, one.end) for one in self._times if one.kind == kind and one.share == share
        ]
