"""Whether an account submits, and if not, why: one line from its figures, the same everywhere."""

from dataclasses import dataclass
from enum import StrEnum

from runqueue.job import JobState
from runqueue.stats import AccountStats

#: What is open: somebody waits for it.
_OPEN = tuple(state for state in JobState if not state.is_over)


class Level(StrEnum):
    """How an account does."""

    OK = "ok"
    #: Work waits, and a limit or a setting of ours is why.
    WAITS = "waits"
    #: Somebody has to do something.
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Health:
    """How an account does, in words."""

    level: Level
    words: str


def health_of(stats: AccountStats) -> Health:
    """Say whether an account submits, and if not, what keeps it from doing so."""
    if stats.hold_reason:
        return Health(Level.STUCK, f"held: {stats.hold_reason}")
    is_open = any(stats.states.get(state, 0) for state in _OPEN)
    if not stats.processes:
        if is_open:
            return Health(Level.STUCK, "no worker process serves it: start one")
        return Health(Level.WAITS, "nothing to do; no worker process serves it")
    ready = stats.states.get(JobState.READY, 0)
    if not ready:
        is_due = "nothing is due" if stats.states.get(JobState.SCHEDULED) else "nothing to do"
        return Health(Level.OK, "follows its runs" if stats.live else is_due)
    return _of_waiting(stats, ready)


def _of_waiting(stats: AccountStats, ready: int) -> Health:
    """Say what ready jobs wait for."""
    slots = stats.limits.get("concurrent_runs", 0)
    if stats.oldest_ready_seconds is None:
        return Health(Level.WAITS, f"{ready:,} ready, all of paused or held batches and groups")
    if slots and stats.live + stats.strays_live >= slots:
        return Health(Level.OK, f"all {slots:g} slots are in use")
    if stats.pace is not None:
        return Health(Level.WAITS, f"slowed to {stats.pace:.3g}/s, for the server said 429")
    rate = stats.limits.get("dispatches_per_second", 0)
    if rate and not stats.permits.get("dispatch", 1):
        return Health(Level.OK, f"submits at its limit of {rate:g}/s")
    if not stats.permits.get("request", 1):
        calls = stats.limits.get("requests_per_second", 0)
        return Health(Level.WAITS, f"calls are at their limit of {calls:g}/s")
    return Health(Level.OK, "submits")
