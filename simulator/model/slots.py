"""The account's slots for concurrent runs, given out lazily as the clock is read."""

import heapq
import math
from collections import deque
from collections.abc import Callable

from simulator.model.runs import Run


class Slots:
    """Start runs at once while a slot is free, the others in order as slots come free.

    Args:
        limit: how many work at once; 0 means no limit.
        start: starts a run at a time, which fixes its end.
        on_change: called with each run that has just been started or put to wait.
    """

    def __init__(
        self, limit: int, start: Callable[[Run, float], None], on_change: Callable[[Run], None]
    ) -> None:
        self._limit = limit
        self._start_run = start
        self._on_change = on_change
        self._occupied = 0
        self._waiting: deque[Run] = deque()
        # (end, order, run); an entry whose end is no longer the run's was overtaken by a cancel.
        self._ends: list[tuple[float, int, Run]] = []
        self._order = 0

    def admit(self, run: Run) -> None:
        """Start a new run, or let it wait."""
        if not self._limit:
            self._start(run, run.created)
            return
        self.advance(run.created)
        if self._occupied < self._limit:
            self._start(run, run.created)
        else:
            self._waiting.append(run)
            self._on_change(run)

    def advance(self, now: float) -> None:
        """Pass on every slot that has come free by now."""
        while self._ends and self._ends[0][0] <= now:
            freed, _, run = heapq.heappop(self._ends)
            if run.ended != freed:
                continue
            self._occupied -= 1
            while self._waiting:
                following = self._waiting.popleft()
                if not following.canceled:
                    self._start(following, freed)
                    break

    def cancel(self, run: Run, now: float) -> None:
        """End a run now and free its slot, if it has one."""
        has_place = not math.isinf(run.started)
        run.cancel(now)
        if self._limit and has_place:
            self._note_end(run)
            self.advance(now)

    def approve(self, run: Run, now: float) -> None:
        """Have a paused run go on, which fixes its end."""
        run.approve(now)
        if self._limit:
            self._note_end(run)

    def next_start(self) -> float:
        """When the next waiting run will start; infinite if none waits."""
        return self._ends[0][0] if self._waiting and self._ends else math.inf

    def _start(self, run: Run, at: float) -> None:
        self._start_run(run, at)
        if self._limit:
            self._occupied += 1
            self._note_end(run)
        self._on_change(run)

    def _note_end(self, run: Run) -> None:
        self._order += 1
        heapq.heappush(self._ends, (run.ended, self._order, run))
