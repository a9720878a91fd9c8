"""What the parts of a simulation report as it happens. Here nobody listens; a world judges it."""

from dataclasses import dataclass
from typing import Any

from simulation.processes import SimulatedProcess
from simulator.model.runs import Run


class Outcome:
    """What the process that sent a submission knows of it."""

    UNKNOWN, ANSWERED, NOT_SENT = "unknown", "answered", "not sent"


@dataclass(slots=True)
class SentSubmission:
    """A submission, as the network saw it.

    Args:
        number: its job's.
        at: when it was written, simulated seconds.
        outcome: of `Outcome`.
        status: of the answer; 0 = none came.
    """

    number: int
    at: float
    outcome: str = Outcome.UNKNOWN
    status: int = 0


class Observer:
    """Is told of calls of Redis and of Skyvern."""

    def on_spinning(self, process: str, script: str) -> None:
        """A process calls a script without a pause."""

    def on_claim(self, process: SimulatedProcess) -> None:
        """A process is about to have the answer to a claim."""

    def on_reply(
        self, process: SimulatedProcess, script: str, arguments: list[Any], reply: Any
    ) -> None:
        """A script was called: by whom, with what after the time, and its reply."""

    def kills(self, process: SimulatedProcess, content: bytes) -> bool:
        """Say whether a process dies of a submission before it sends it."""
        del process, content
        return False

    def on_submitted(self, process: SimulatedProcess, content: bytes) -> SentSubmission | None:
        """A submission is written; returns its record."""

    def on_arrived(self, content: bytes) -> None:
        """A submission arrives."""

    def on_limited(self, seconds: float) -> None:
        """A submission is answered with a `Retry-After`."""

    def on_run_created(self, run: Run) -> None:
        """A run is made."""
