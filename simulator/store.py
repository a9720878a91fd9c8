"""All runs of the simulated account."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

from simulator.options import Options
from simulator.plan import Planner
from simulator.runs import Run, Submission
from simulator.slots import Slots

Clock = Callable[[], float]

#: Seconds between two walks through the live runs: with 100,000 of them one takes 10 ms, and a list
#: of theirs has 100 pages.
_TIDY_SECONDS = 1.0


class Store:
    """Create runs, find them by id, cancel them.

    Args:
        options: how long runs take and how many work at once.
        clock: unix seconds.
        on_change: told of each run that was created, started or canceled.
    """

    def __init__(self, options: Options, clock: Clock, on_change: Callable[[Run], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._planner = Planner(options)
        self._slots = Slots(options.max_concurrent, on_change)
        # Ids never repeat, not even those of a simulator that was started again.
        self._numbers = itertools.count(int(time.time() * 1000) * 1_000_000)
        self._runs: dict[str, Run] = {}
        self._live: list[Run] = []
        self._tidied = 0.0

    def create(self, submission: Submission, api_key: str) -> Run:
        """Take a submission and plan its run.

        Raises:
            PlanError: the request forces a plan that does not exist; nothing was created.
        """
        run = Run(
            run_id=f"{submission.id_prefix}{next(self._numbers)}",
            submission=submission,
            api_key=api_key,
            plan=self._planner.plan(submission.forced),
            created=self._clock(),
        )
        self._runs[run.run_id] = run
        self._live.append(run)
        self._slots.admit(run)
        return run

    def get(self, run_id: str) -> Run | None:
        """Find a run by its id."""
        self.advance()
        return self._runs.get(run_id)

    def cancel(self, run: Run, *, report: bool = True) -> None:
        """End a live run now.

        Args:
            report: False where the caller sees to its webhook.
        """
        self._slots.cancel(run, self._clock())
        if report:
            self._on_change(run)

    def oldest_first(self) -> Iterable[Run]:
        """Every run ever created."""
        self.advance()
        return self._runs.values()

    def newest_first(self) -> Iterable[Run]:
        """Every run ever created."""
        self.advance()
        return reversed(self._runs.values())

    def live_newest_first(self) -> Iterable[Run]:
        """The runs that are not over, and some that ended just now, not all that ever were."""
        self.advance()
        now = self._clock()
        if abs(now - self._tidied) >= _TIDY_SECONDS:
            self._tidied = now
            self._live = [run for run in self._live if not run.is_over(now)]
        return reversed(self._live)

    def advance(self) -> None:
        """Let waiting runs have the places that have come free."""
        self._slots.advance(self._clock())

    def next_start(self) -> float:
        """When the next waiting run will start; infinite if none waits."""
        return self._slots.next_start()
