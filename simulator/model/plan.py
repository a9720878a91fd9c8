"""The future of a run, decided when it is created."""

import math
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, cast, get_args

from simulator.model.options import Options

#: `flap` fails, is queued and run again, and completes under the same id; `never` has no end.
End = Literal["completed", "failed", "terminated", "timed_out", "flap", "never"]

#: The keys that force a run's plan: in the query of a task's URL, or as workflow parameters.
FORCED_KEYS = ("sim_end", "sim_seconds", "sim_output_bytes")
#: The output of a run whose plan names none: a text that names the run.
SIMULATED: Final = object()


class PlanError(ValueError):
    """A forced plan that cannot be followed.

    Args:
        key: which of `FORCED_KEYS`.
        reason: what was expected there.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Plan:
    """One run's future.

    Args:
        end: how it ends.
        seconds: from leaving the account's queue to its end.
        output_bytes: length of the filler in its output.
        output: what it brings.
        reason: why it ends badly; '' = as runs with that end say.
        pause: after how many seconds of work it waits for a person; None = it does not.
    """

    end: End
    seconds: float
    output_bytes: int = 0
    output: object = SIMULATED
    reason: str = ""
    pause: float | None = None

    @property
    def status(self) -> str:
        """The status it ends with."""
        return "completed" if self.end == "flap" else self.end


class Planner:
    """Draws the plan of each run, the same ones each time for the same options."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._random = Random(options.seed)

    def plan(self, forced: dict[str, object], own: Plan | None = None) -> Plan:
        """Plan the next run.

        Args:
            forced: the request's values, by `FORCED_KEYS`; those that it leaves out are drawn.
            own: its plan if the request forces none; None: that is drawn, too.

        Raises:
            PlanError: it forces something that does not exist.
        """
        # Both are always drawn, so that a forced plan does not shift those that follow.
        end, seconds = self._draw_end(), self._draw_seconds()
        if own is not None:
            end, seconds = own.end, own.seconds
        if not forced:
            return Plan(end, seconds, pause=own.pause if own else None)
        return Plan(
            end=_forced_end(forced.get("sim_end", end)),
            seconds=_forced_number("sim_seconds", forced.get("sim_seconds", seconds)),
            output_bytes=int(_forced_number("sim_output_bytes", forced.get("sim_output_bytes", 0))),
        )

    def _draw_end(self) -> End:
        options, draw = self._options, self._random.random()
        if draw < options.failed:
            return "failed"
        if draw < options.failed + options.terminated:
            return "terminated"
        if draw < options.failed + options.terminated + options.timed_out:
            return "timed_out"
        return "completed"

    def _draw_seconds(self) -> float:
        spread = self._options.duration_spread
        return self._options.duration * (1 + spread * (2 * self._random.random() - 1))


def _forced_end(value: object) -> End:
    if value not in get_args(End):
        raise PlanError("sim_end", f"one of {', '.join(get_args(End))}")
    return cast("End", value)


def _forced_number(key: str, value: object) -> float:
    try:
        number = float(cast("str", value))
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise PlanError(key, "a number that is not negative")
    return number
