"""All runs of the simulated account."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

from simulator.model.options import Options
from simulator.model.plan import Plan, Planner
from simulator.model.runs import Run, SubmittedRun
from simulator.model.sessions import BrowserSessions
from simulator.model.slots import Slots
from simulator.model.tags import Tags

Clock = Callable[[], float]

#: Seconds between two walks through the live runs: with 100,000 of them one takes 10 ms, and a list
#: of theirs has 100 pages.
_TIDY_SECONDS = 1.0

#: Numbers that one run takes: its own, that of its row in the list, that of the run beneath it.
_IDS_A_RUN = 3


class Store:
    """Create runs, find them by id, cancel them.

    Attributes:
        sessions: the browser sessions that they use.

    Args:
        options: how long runs take and how many work at once.
        clock: unix seconds.
        on_change: called with each run that was created, started, approved or canceled.
    """

    def __init__(self, options: Options, clock: Clock, on_change: Callable[[Run], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._planner = Planner(options)
        self._credits_per_step = options.credits_per_step
        self.sessions = BrowserSessions(options.session_release)
        self._slots = Slots(options.max_concurrent, self._start, on_change)
        # Ids never repeat, not even those of a simulator that was started again.
        self._numbers = itertools.count(int(time.time() * 1000) * 1_000_000, _IDS_A_RUN)
        self._runs: dict[str, Run] = {}
        self._live: list[Run] = []
        self._tidied = 0.0

    def create(self, submission: SubmittedRun, api_key: str) -> Run:
        """Take a submission and plan its run.

        Raises:
            PlanError: the request forces a plan that does not exist; nothing was created.
        """
        run = Run(
            run_id=f"{submission.id_prefix}{next(self._numbers)}",
            submission=submission,
            api_key=api_key,
            plan=self._planner.plan(submission.forced, _own_plan(submission)),
            created=self._clock(),
            tags=Tags(dict(submission.tags)) if submission.tags else None,
            credits_per_step=self._credits_per_step,
        )
        self._runs[run.run_id] = run
        self._live.append(run)
        self._slots.admit(run)
        return run

    def _start(self, run: Run, at: float) -> None:
        self.sessions.begin(run, at)
        run.start(at)

    def get(self, run_id: str) -> Run | None:
        """Find a run by its id, or a 2.0 task by that of the workflow run beneath it."""
        self.advance()
        run = self._runs.get(run_id)
        if run is None and run_id.startswith("wr_") and run_id[3:].isdecimal():
            run = self._runs.get(f"tsk_v2_{int(run_id[3:]) - 2}")
        return run

    def cancel(self, run: Run, *, report: bool = True) -> None:
        """End a live run now.

        Args:
            report: False if the caller sends its webhook.
        """
        self._slots.cancel(run, self._clock())
        if report:
            self._on_change(run)

    def remove(self, run: Run) -> None:
        """Forget a run that is over, as if its rows were deleted."""
        del self._runs[run.run_id]

    def approve(self, run: Run) -> None:
        """Have a paused run go on."""
        self._slots.approve(run, self._clock())
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
        """The runs that are not over, and some that ended just now."""
        self.advance()
        now = self._clock()
        if abs(now - self._tidied) >= _TIDY_SECONDS:
            self._tidied = now
            self._live = [run for run in self._live if not run.is_over(now)]
        return reversed(self._live)

    def advance(self) -> None:
        """Give the slots that have come free to waiting runs."""
        self._slots.advance(self._clock())

    def next_start(self) -> float:
        """When the next waiting run will start; infinite if none waits."""
        return self._slots.next_start()


def _own_plan(submission: SubmittedRun) -> Plan | None:
    """The plan of a workflow whose blocks, or parameters, decide its end."""
    if submission.unreadable is not None:
        # Nor can the server read them when it runs it.
        return Plan("never", 1.0)
    workflow = submission.workflow
    if workflow is None:
        return None
    if workflow.seconds is not None:
        return Plan("completed", workflow.seconds, pause=workflow.pause)
    return Plan("failed", 0.1) if workflow.fails else None
