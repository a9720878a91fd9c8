"""The line at the top of the page: is the account submitting, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from gateway.page_feed import Sample, Snapshot
from runqueue.job import JobState
from runqueue.stats import AccountStats

Level = Literal["good", "busy", "stopped"]

#: Seconds; a hold that long waits for a person.
_A_YEAR = 365 * 86_400
#: Seconds of the history by which rates are told.
RATE_OVER = 120.0
#: Seconds without a submission, though nothing holds them, that are worth a word.
_QUIET = 45.0


@dataclass(frozen=True, slots=True)
class Health:
    """What the line says.

    Args:
        level: good (it submits, or has nothing to), busy (slower than it might), stopped.
        words: in two or three words.
        reason: why.
        can_resume: whether a person can have it go on.
    """

    level: Level
    words: str
    reason: str
    can_resume: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast it goes, per minute; None = not known yet.

    Args:
        over: seconds that this was seen over.
        seconds_left: until all that is ready or scheduled now has ended, at this rate.
    """

    submitted: float | None = None
    ended: float | None = None
    over: float = 0.0
    seconds_left: float | None = None


def health(found: Snapshot, seen: Rates) -> Health:
    """Return whether an account submits, and if not, why.

    Args:
        found: the account.
        seen: how fast it goes.
    """
    stats = found.stats
    if stats.hold_reason is not None:
        return _held(stats)
    if not any(process.alive for process in found.processes):
        return Health("stopped", "Not submitting", "no worker process serves this account")
    if not stats.states[JobState.READY]:
        return Health("good", "Nothing to submit", _idle(stats))
    if not any(stats.in_line.values()) and not _is_full(stats):
        return Health(
            "stopped",
            "Not submitting",
            "every ready job is in a batch that is held, or in a group that is paused or full",
        )
    return _submitting(stats, seen)


def _held(stats: AccountStats) -> Health:
    reason = stats.hold_reason or ""
    if stats.paused:
        return Health("stopped", "Paused", reason.removeprefix("paused").lstrip(": "), True)
    if stats.hold_seconds > _A_YEAR:
        return Health("stopped", "Held until you resume it", reason, True)
    until = datetime.now(UTC) + timedelta(seconds=stats.hold_seconds)
    # Going on at once would skip what is being found out: whether claims were lost.
    by_hand = not reason.startswith("Redis was restarted")
    return Health("stopped", f"Held until {until:%H:%M:%S} UTC", reason, by_hand)


def _idle(stats: AccountStats) -> str:
    scheduled = stats.states[JobState.SCHEDULED]
    return f"no job is ready; {scheduled:,} are scheduled" if scheduled else "no job is ready"


def _is_full(stats: AccountStats) -> bool:
    cap = stats.limits["concurrent_runs"]
    return cap > 0 and stats.live + stats.strays_live >= cap


def _submitting(stats: AccountStats, seen: Rates) -> Health:
    if _is_full(stats):
        cap = stats.limits["concurrent_runs"]
        return Health("good", "Submitting as runs end", f"all {cap:,.0f} slots are taken")
    if stats.pace is not None:
        reason = f"the server answered 429: {stats.pace:.3g} submissions a second for now"
        return Health("busy", "Submitting slowly", reason)
    if seen.submitted == 0 and seen.over >= _QUIET:
        reason = f"nothing holds it, yet nothing was accepted in {seen.over:.0f} s"
        return Health("stopped", "Not submitting", f"{reason}: see the workers' logs")
    rate = stats.limits["dispatches_per_second"]
    return Health("good", "Submitting", f"up to {rate:g} a second" if rate else "without a limit")


def rates(stats: AccountStats, history: list[Sample]) -> Rates:
    """Return how fast an account goes, by the last two minutes."""
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
    left = waiting / ended if ended and waiting else None
    return Rates(60 * submitted, 60 * ended, over, left)
