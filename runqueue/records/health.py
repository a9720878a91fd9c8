"""Whether an account submits, or why not: one line from its statistics, the same everywhere."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from runqueue.records.account import AccountStats
from runqueue.records.job import JobState
from runqueue.records.waits import SHARED_PLAN, in_words, utc

#: The states of open jobs.
_OPEN = tuple(state for state in JobState if not state.is_over)
#: What ready jobs wait for while nothing is amiss; see `waits.lua`.
_LIMITS = {"group_full", "key_full", "key_rate"}
#: Seconds without an answer to a read that are worth a word.
_UNREAD = 30.0
#: Seconds without a submission, though nothing holds them, that are worth a word; and how many
#: times as long as a limit has one job wait for the next.
_QUIET, _QUIET_TURNS = 45.0, 2


class HealthLevel(StrEnum):
    """How an account does."""

    #: It submits, or has nothing to.
    GOOD = "good"
    #: Slower than it might.
    BUSY = "busy"
    #: An operator has to act, or did.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """How an account does.

    Args:
        level: how well.
        words: in two or three words.
        reason: why.
        can_resume: whether a person can have it go on.
    """

    level: HealthLevel
    words: str
    reason: str
    can_resume: bool = False

    def __str__(self) -> str:
        return f"{self.words[0].lower()}{self.words[1:]}: {self.reason}"


def health_of(stats: AccountStats, silent_seconds: float = 0.0) -> AccountHealth:
    """Say whether an account submits, and if not, what keeps it from doing so.

    Args:
        stats: the account's statistics.
        silent_seconds: for how long nothing was accepted, as far as it was observed.
    """
    if stats.damage is not None:
        reason = f"its keys in Redis are damaged, other accounts go on: {stats.damage}"
        return AccountHealth(HealthLevel.STOPPED, "Standing still", reason)
    found = _of_readable(stats, silent_seconds)
    notes = [long_queued_of(stats)] if stats.long_queued else []
    notes += [quarantine_of(stats)] if stats.quarantined else []
    level = max(found.level, HealthLevel.BUSY, key=[*HealthLevel].index) if notes else found.level
    if stats.shares_capacity and stats.states.get(JobState.READY):
        notes.insert(0, others_of(stats))
    return replace(found, level=level, reason="; ".join((found.reason, *notes)))


def others_of(stats: AccountStats) -> str:
    """Say how many slots of a shared plan runs of others take."""
    cap = f"{stats.limits.get('concurrent_runs', 0):,.0f} slots"
    if stats.others is None:
        return f"runs by others are not known, so all {cap} count as ours"
    return f"{stats.others:,} run by others, which leaves {stats.slots:,} of {cap}"


def long_queued_of(stats: AccountStats) -> str:
    """Say how many runs Skyvern keeps queued for long, and why."""
    whose = "1 run has" if stats.long_queued == 1 else f"{stats.long_queued:,} runs have"
    return f"{whose} been `queued` at Skyvern for over two minutes: {SHARED_PLAN}"


def quarantine_of(stats: AccountStats) -> str:
    """Say which jobs of an account are quarantined."""
    n, ids = stats.quarantined, ", ".join(stats.quarantined_ids)
    more = ", …" if n > len(stats.quarantined_ids) else ""
    if n == 1:
        return f"1 job is quarantined, as its record cannot be read: {ids}"
    return f"{n:,} jobs are quarantined, as their records cannot be read: {ids}{more}"


def _of_readable(stats: AccountStats, silent_seconds: float) -> AccountHealth:
    """Say the same of all that is not quarantined."""
    if stats.hold_reason is not None:
        return _held(stats)
    if not stats.processes:
        return _unserved(stats)
    unread = _unread(stats)
    if unread and (_is_full(stats) or not stats.states.get(JobState.READY)):
        return AccountHealth(HealthLevel.STOPPED, "Runs are not followed", unread)
    if not stats.states.get(JobState.READY) and not stats.jobs_wait_for:
        return AccountHealth(HealthLevel.GOOD, "Nothing to submit", _idle(stats))
    return _of_waiting(stats, silent_seconds)


def _of_waiting(stats: AccountStats, silent_seconds: float) -> AccountHealth:
    """Say what ready jobs wait for, and those that were deferred for a budget."""
    if _is_full(stats):
        return _full(stats)
    if not any(stats.in_line.values()):
        return _of_none_in_line(stats)
    if stats.pace is not None:
        reason = f"the server answered 429: {stats.pace:.3g} submissions a second for now"
        return AccountHealth(HealthLevel.BUSY, "Submitting slowly", reason)
    if silent_seconds >= _quiet(stats.full_pace):
        reason = f"nothing holds it, yet nothing was accepted in {silent_seconds:.0f} s"
        return AccountHealth(
            HealthLevel.STOPPED, "Not submitting", f"{reason}: see the workers' logs"
        )
    return _submitting(stats)


def _of_none_in_line(stats: AccountStats) -> AccountHealth:
    """Say what jobs wait for of which none could be submitted now."""
    reason, n = in_words(stats.jobs_wait_for), stats.waited_for
    if not reason:
        at = f"{n:,} key{'s' if n > 1 else ''} or budget{'s' if n > 1 else ''}, or " if n else ""
        reason = f"the ready jobs wait for {at}their batches or groups"
    elif n > len(stats.jobs_wait_for):
        reason += f"; {n:,} keys or budgets have jobs that wait"
    if stats.jobs_wait_for and all(wait.needs_person for wait in stats.jobs_wait_for):
        return AccountHealth(HealthLevel.STOPPED, "Not submitting", reason)
    by_limits = [wait.kind in _LIMITS for wait in stats.jobs_wait_for]
    level = HealthLevel.GOOD if by_limits and all(by_limits) else HealthLevel.BUSY
    words = "Submitting as limits allow" if any(by_limits) else "Waiting"
    return AccountHealth(level, words, reason)


def _full(stats: AccountStats) -> AccountHealth:
    cap, unconfirmed = stats.slots, stats.states.get(JobState.UNCONFIRMED, 0)
    reason = f"all {cap:,} slots are taken"
    if 2 * unconfirmed < cap:
        return AccountHealth(HealthLevel.GOOD, "Submitting as runs end", reason)
    words = "Submitting slowly" if unconfirmed < cap else "Not submitting"
    return AccountHealth(HealthLevel.BUSY, words, f"{reason}, {unconfirmed:,} by unconfirmed jobs")


def _unread(stats: AccountStats) -> str:
    """Return why the state of the runs is not known; '' = it is known."""
    if (stats.reads_failing_seconds or 0.0) < _UNREAD:
        return ""
    failing = stats.reads_failing_seconds
    return f"Skyvern has answered no read for {failing:.0f} s ({stats.reads_why})"


def _quiet(rate: float) -> float:
    """Return after how many seconds without a submission something may be wrong."""
    return max(_QUIET, _QUIET_TURNS / rate) if rate else _QUIET


def _held(stats: AccountStats) -> AccountHealth:
    reason = stats.hold_reason or ""
    also = f"; also: {stats.also_waits_for}" if stats.also_waits_for else ""
    if stats.paused:
        why = reason.removeprefix("paused").lstrip(": ") or "no reason was given"
        return AccountHealth(HealthLevel.STOPPED, "Paused", f"{why}{also}", can_resume=True)
    if stats.hold_kind == "budget":
        return AccountHealth(HealthLevel.STOPPED, "Held by its budget", f"{reason}{also}")
    if stats.waits_for_a_person:
        words = "Held until you resume it"
    else:
        words = f"Held until {utc(datetime.now(UTC) + timedelta(seconds=stats.hold_seconds))}"
    can_resume = stats.waits_for_a_person or stats.may_be_resumed
    return AccountHealth(HealthLevel.STOPPED, words, f"{reason}{also}", can_resume)


def _unserved(stats: AccountStats) -> AccountHealth:
    reason = "no worker process serves this account"
    if any(stats.states.get(state) for state in _OPEN):
        return AccountHealth(HealthLevel.STOPPED, "Not submitting", f"{reason}: start one")
    return AccountHealth(HealthLevel.BUSY, "Nothing to submit", reason)


def _idle(stats: AccountStats) -> str:
    if scheduled := stats.states.get(JobState.SCHEDULED):
        return f"no job is ready; {scheduled:,} are scheduled"
    return f"no job is ready; {stats.live:,} are in flight" if stats.live else "no job is ready"


def _is_full(stats: AccountStats) -> bool:
    return 0 < stats.slots <= stats.live + stats.orphans_live


def _submitting(stats: AccountStats) -> AccountHealth:
    rate = stats.full_pace
    if rate and not stats.permits.get("submission", 1):
        return AccountHealth(
            HealthLevel.GOOD, "Submitting", f"at its limit of {rate:g} a second{_why(stats)}"
        )
    if not stats.permits.get("request", 1):
        calls = stats.limits.get("requests_per_second", 0)
        reason = f"calls are at their limit of {calls:g} a second"
        return AccountHealth(HealthLevel.BUSY, "Submitting slowly", reason)
    if unread := _unread(stats):
        return AccountHealth(HealthLevel.BUSY, "Submitting, and runs are not followed", unread)
    pace = f"up to {rate:g} a second{_why(stats)}" if rate else "without a limit"
    return AccountHealth(HealthLevel.GOOD, "Submitting", pace)


def _why(stats: AccountStats) -> str:
    """Return what the limit of submissions is, where it is not their own."""
    if stats.full_pace == stats.limits.get("submissions_per_second", 0):
        return ""
    return f" (70 % of {stats.limits.get('requests_per_second', 0):g} calls)"
