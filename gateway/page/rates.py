"""The rates of an account, by the points of its history."""

from dataclasses import dataclass

from gateway.state.sampler import Sample
from runqueue.records.account import AccountStats
from runqueue.records.job import JobState

#: Seconds of the history by which rates are shown.
RATE_OVER = 120.0


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of an account, per minute; None = not known yet.

    Args:
        over: seconds of history that they cover.
        seconds_left: until all jobs that are ready or live now have ended, at this rate; None also
            while jobs wait for keys or budgets, or none of the ready ones was submitted.
    """

    submitted: float | None = None
    ended: float | None = None
    over: float = 0.0
    seconds_left: float | None = None

    @property
    def silent_seconds(self) -> float:
        """Seconds for which nothing was accepted; 0 = something was, or unknown."""
        return self.over if self.submitted == 0 else 0.0


def rates(stats: AccountStats, history: list[Sample]) -> Rates:
    """Return the rates of an account, by the last two minutes."""
    if len(history) < 2:
        return Rates()
    last = history[-1]
    first = next((one for one in history if last.at - one.at <= RATE_OVER), last)
    over = last.at - first.at
    if over < 1 or last.ended < first.ended:
        return Rates()
    submitted = (last.accepted - first.accepted) / over
    ended = (last.ended - first.ended) / over
    waiting = stats.states[JobState.READY] + stats.live
    has_ready = bool(stats.states[JobState.READY]) or bool(stats.jobs_wait_for)
    goes_on = not has_ready or (submitted and any(stats.in_line.values()) and not stats.waited_for)
    left = waiting / ended if ended and waiting and goes_on else None
    return Rates(60 * submitted, 60 * ended, over, left)
