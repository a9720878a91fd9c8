"""An account's public view: its statistics, and how a script's reply gives them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from runqueue.records.as_json import json_object, json_value
from runqueue.records.delivery import DeliveryState
from runqueue.records.forecast import LONGEST_HOLD, Capacity, UsageStatistics, read_capacity
from runqueue.records.job import JobState, fields_of, text
from runqueue.records.limits import read_limits
from runqueue.records.times import Times, take_times
from runqueue.records.waits import Wait, in_words, read_waits
from runqueue.request.job_spec import Priority

#: What may hold an account's submissions.
HOLDS = ("person", "account", "breaker", "rate", "redis", "server", "budget")
#: Seconds for which a process is believed that its reads fail: its heartbeats come every 5.
_READS_VALID = 60.0
#: Seconds for which an archive's trouble is believed: a process tries again every 30; and after
#: which jobs that wait for it are late.
_TROUBLE_VALID, ARCHIVE_LATE_SECONDS = 60.0, 600.0
#: Fields that are no statistics, or shown otherwise.
_UNSHOWN = frozenset({"account", "seeded", "times", "capacity"})


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """How far an account's archive is.

    Args:
        id: the archive's; "" = none was reached yet.
        waiting: ended jobs that are not in it, about: entries of lists are counted.
        oldest_seconds: how long ago the first of them ended; 0 = none waits.
        aside: jobs that its database cannot store; they are tried again.
        trouble: why a process could not write to it in the last minute; "" = none failed.
        new_errors: groups of errors that are new and grow, as counted last: ids, jobs of an hour.
    """

    id: str
    waiting: int
    oldest_seconds: float
    aside: int
    trouble: str
    new_errors: dict[str, int]

    @property
    def is_amiss(self) -> bool:
        """Whether somebody has to look why it does not get all jobs."""
        return bool(self.trouble or self.is_late or self.aside)

    @property
    def is_late(self) -> bool:
        """Whether jobs have waited for so long that something is wrong."""
        return self.oldest_seconds > ARCHIVE_LATE_SECONDS

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return json_object(self)

    def words(self) -> str:
        """Say how far it is."""
        found = f"{self.waiting:,} jobs wait for the archive"
        found += f", the first for {self.oldest_seconds:,.0f} s" if self.oldest_seconds else ""
        found += f"; {self.aside:,} cannot be stored" if self.aside else ""
        return f"{found}; {self.trouble}" if self.trouble else found

    def errors_words(self) -> str:
        """Say how many groups of errors are new and grow; "" = none does."""
        n = len(self.new_errors)
        groups = "1 new group of errors grows" if n == 1 else f"{n:,} new groups of errors grow"
        return f"{groups}: {sum(self.new_errors.values()):,} jobs in the last hour" if n else ""


@dataclass(frozen=True, slots=True)
class AccountStats:
    """One account at a glance.

    Args:
        states: jobs by state; by_priority: the same, split.
        live: slots in use (submitting + unconfirmed + running).
        limits: the limits in force; overridden: those set live; seeded: the environment's.
        deliveries: the states of the webhooks of the jobs on record.
        totals: counts since ever (`enqueued`, `ended:completed`, `claims`, ...).
        oldest_ready_seconds: how long the longest-waiting job in line has waited; None = none does.
        orphans: runs of ours that no job owns; orphans_live: those that may still run (with a
            slot).
        pace: submissions a second, while the server says 429 to more; None = it does not.
        full_pace: submissions a second by the limits alone, 0 = no limit: calls have one, too, of
            which 30 % are kept for reads.
        clock_lost: seconds that the queue's clock makes up for, since that of Redis' host was set.
        permits: submissions (`submission`) and calls (`request`) that may go now, where limited.
        hold_reason: why nothing is submitted, until hold_seconds from now; None if nothing holds.
            Where nobody knows when that ends, hold_seconds is infinite, in JSON null.
        hold_kind: what holds it, of `HOLDS`, also while it is paused; None = nothing but a pause.
        waits_for: every reason why nothing of it is submitted: it is paused, it is held, no worker
            serves it, its budget is spent; what a person has to end first.
        times: how long things took, by what was timed; see `times.NAMES`.
        reads_failing_seconds: for how long Skyvern answered no read while runs were to be followed;
            None = it does. reads_why: what the reads fail with.
        paused: whether that is because a person paused the account, whatever else holds it.
        capacity: what the account can do by its limits and its last runs; see `seconds_for`.
        in_line: jobs that could be submitted now but for the limits, by priority: not of a batch
            that is held, nor of a group that is paused or at its cap. The line is checked in its
            first 128 lanes.
        claimable: how many of them the caps of their groups leave.
        jobs_wait_for: what its ready jobs, and those deferred for a budget, wait for, if none is
            in line: some of the groups, batches, keys and budgets.
        waited_for: keys, groups and batches at whose limits or budgets jobs wait.
        shares_capacity: whether live runs of others take slots; others: how many there are, None =
            no list of them was read lately, and all slots count as ours.
        long_queued: runs of ours that were still `queued` at Skyvern two minutes after they were
            accepted; at most 500 are counted.
        refused_lines: lines of the inbox and of Celery messages that were refused, and wait for a
            person (`runqueue inbox list`).
        paused_runs: runs that wait for a person.
        quarantined: jobs whose records cannot be read, while the account goes on with the others;
            quarantined_ids: the first ten of them.
        archive: how far its archive is; None = it has none.
        damage: why its statistics cannot be read, when every other number is 0; None = they can.
    """

    account: str
    states: dict[JobState, int]
    by_priority: dict[JobState, dict[Priority, int]]
    live: int
    limits: dict[str, float]
    overridden: dict[str, float]
    seeded: dict[str, float]
    deliveries: dict[DeliveryState, int]
    totals: dict[str, int]
    oldest_ready_seconds: float | None
    processes: int
    orphans: int
    orphans_live: int
    pace: float | None
    full_pace: float
    clock_lost: float
    permits: dict[str, int]
    hold_reason: str | None
    hold_seconds: float
    hold_kind: str | None
    times: dict[str, Times]
    capacity: Capacity
    in_line: dict[Priority, int]
    claimable: int
    waited_for: int
    shares_capacity: bool
    others: int | None
    long_queued: int
    refused_lines: int
    paused: bool
    reads_failing_seconds: float | None
    reads_why: str | None
    paused_runs: int
    quarantined: int
    quarantined_ids: tuple[str, ...]
    archive: ArchiveState | None
    damage: str | None
    waits_for: tuple[Wait, ...]
    jobs_wait_for: tuple[Wait, ...]

    def usage_statistics(self, unit: str) -> UsageStatistics:
        """Return the `steps`, or `credits`, that runs took."""
        names = (f"{unit}:runs", unit, f"{unit}:squares")
        return UsageStatistics(*(self.totals.get(name, 0) for name in names))

    @property
    def slots(self) -> int:
        """How many runs of ours may be live: the plan's, less those of others; 0 = no limit."""
        most = int(self.limits.get("concurrent_runs", 0))
        return max(1, most - (self.others or 0)) if most else 0

    @property
    def waits_for_a_person(self) -> bool:
        """Whether nothing is submitted until an operator resumes it."""
        is_budget = self.hold_kind == "budget" and not self.paused
        return self.hold_seconds > LONGEST_HOLD and not is_budget

    @property
    def also_waits_for(self) -> str:
        """What keeps it from submitting beside what `hold_reason` says, in words; '' = nothing."""
        held = "budget" if self.hold_kind == "budget" else "account_held"
        said = "account_paused" if self.paused else held if self.hold_reason else ""
        return in_words([wait for wait in self.waits_for if wait.kind != said])

    @property
    def may_be_resumed(self) -> bool:
        """Whether a person may have it go on now.

        Not while workers find out what Redis lost: to go on would skip that. A budget is raised
        instead.
        """
        return self.paused or self.hold_kind not in {None, "redis", "budget"}

    def ahead_of(self, priority: Priority) -> int:
        """Return how many jobs are in line before one of that priority that is enqueued now."""
        return sum(n for other, n in self.in_line.items() if other <= priority)

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return {
            **json_object(self, *(f.name for f in fields(self) if f.name not in _UNSHOWN)),
            "by_priority": {
                state.value: json_value({p: n for p, n in counts.items() if n})
                for state, counts in self.by_priority.items()
                if any(counts.values())
            },
            "in_line": json_value({p: n for p, n in self.in_line.items() if n}),
            "hold_seconds": None if self.hold_seconds > LONGEST_HOLD else self.hold_seconds,
            "mean_run_seconds": self.capacity.mean_run_seconds,
        }


#: What `stats.lua` says of an account of which nothing is known.
_EMPTY: Final[Mapping[str, Any]] = {
    **dict.fromkeys(
        ("now", "oldest_ready", "processes", "orphans", "orphans_live", "full_pace"), 0
    ),
    **dict.fromkeys(("claimable", "waited_for", "refused_lines"), 0),
    **dict.fromkeys(("long_queued", "paused_runs"), 0),
    **dict.fromkeys(("counters", "limits", "meta", "waits_for", "jobs_wait_for", "archive"), ()),
    "pace": b"",
    "permitted": (-1, -1),
    "capacity": (0, 0, 0),
    "in_line": (0,) * len(Priority),
    "quarantined": (0,),
}


def read_stats(account: str, reply: list[Any]) -> AccountStats:
    """Read an account's statistics as `stats.lua` gives them."""
    read: dict[str, Any] = {**_EMPTY, **fields_of(reply)}
    now, oldest = int(read["now"]), int(read["oldest_ready"])
    counters = {name: int(value) for name, value in fields_of(read["counters"]).items()}
    limits, meta = read_limits(account, read["limits"]), fields_of(read["meta"])
    is_shared = fields_of(read["limits"]).get("env:share_capacity") == b"1"
    is_shared = is_shared and limits.in_force["concurrent_runs"] > 0
    by_priority = {
        state: {p: counters.pop(f"{state.value}:{p.value}", 0) for p in Priority}
        for state in JobState
    }
    live = counters.pop("live", 0)
    times = take_times(counters)
    deliveries: dict[DeliveryState, int] = {
        state: counters.pop(f"delivery:{state.value}", 0)
        for state in DeliveryState
        if state is not DeliveryState.NONE
    }
    failing = _reads_failing(meta, now) if live else None
    waits_for = read_waits(account, read["waits_for"], now)
    by_kind = {wait.kind: wait for wait in waits_for}
    paused, held = by_kind.get("account_paused"), by_kind.get("account_held")
    holds = held or by_kind.get("budget")
    held_for, reason, kind = 0.0, None, None
    if holds:
        held_for = math.inf if holds.until is None else _seconds(holds.until, now)
        reason, kind = (holds.reason, holds.name) if held else (holds.words, "budget")
    if paused:
        held_for, reason = math.inf, f"paused{': ' if paused.reason else ''}{paused.reason}"
    return AccountStats(
        account=account,
        states={state: sum(counts.values()) for state, counts in by_priority.items()},
        by_priority=by_priority,
        live=live,
        limits=limits.in_force,
        overridden=limits.live,
        seeded=limits.environment,
        deliveries=deliveries,
        totals=dict(sorted(counters.items())),
        oldest_ready_seconds=(now - oldest) / 1e6 if oldest else None,
        processes=int(read["processes"]),
        orphans=int(read["orphans"]),
        orphans_live=int(read["orphans_live"]),
        pace=float(read["pace"]) if read["pace"] else None,
        full_pace=float(read["full_pace"]),
        clock_lost=float(meta.get("clock_lost", 0)) / 1e6,
        permits={
            name: int(left)
            for name, left in zip(("submission", "request"), read["permitted"], strict=True)
            if int(left) >= 0
        },
        hold_reason=reason,
        hold_seconds=held_for,
        hold_kind=kind if kind in {None, *HOLDS} else "person",
        times=times,
        capacity=read_capacity(read["capacity"], held_for),
        in_line=dict(zip(Priority, map(int, read["in_line"]), strict=True)),
        claimable=int(read["claimable"]),
        waited_for=int(read["waited_for"]),
        shares_capacity=is_shared,
        others=int(meta["others"])
        if is_shared and int(meta.get("others_until", 0)) > now
        else None,
        long_queued=int(read["long_queued"]),
        refused_lines=int(read["refused_lines"]),
        paused=paused is not None,
        reads_failing_seconds=failing,
        reads_why=text(meta.get("reads_why")) if failing is not None else None,
        paused_runs=int(read["paused_runs"]),
        quarantined=int(read["quarantined"][0]),
        quarantined_ids=tuple(found.decode(errors="replace") for found in read["quarantined"][1:]),
        archive=_archive(read["archive"], now),
        damage=None,
        waits_for=waits_for,
        jobs_wait_for=read_waits(account, read["jobs_wait_for"], now),
    )


def _archive(reply: Sequence[Any], now_us: int) -> ArchiveState | None:
    """Read the state of an archive as `archive.lua` gives it."""
    if not reply:
        return None
    fields = fields_of(reply[0])
    at, _, words = (text(fields.get("trouble")) or "0  ").split(" ", 2)
    groups = (text(fields.get("new_errors")) or "").split()
    return ArchiveState(
        id=text(fields.get("id")) or "",
        waiting=int(reply[1]),
        oldest_seconds=max(0.0, (now_us - int(reply[2])) / 1e6) if int(reply[2]) else 0.0,
        aside=int(reply[3]),
        trouble=words if (now_us - int(at)) / 1e6 < _TROUBLE_VALID else "",
        # An archive that is away does not say that they are rare.
        new_errors={error: int(jobs) for error, _, jobs in (one.partition(":") for one in groups)},
    )


def unreadable(account: str, damage: str) -> AccountStats:
    """Return the statistics of an account that has none, for its keys cannot be read."""
    return replace(read_stats(account, []), damage=damage)


def _seconds(until: datetime, now_us: int) -> float:
    """Return the seconds until a time."""
    return round(until.timestamp() * 1e6 - now_us) / 1e6


def _reads_failing(meta: dict[str, bytes], now: int) -> float | None:
    """Return for how long no read was answered; None = they are, or none is sent any more."""
    since, failed = meta.get("reads_failing"), meta.get("reads_failed")
    if since is None or failed is None or (now - int(failed)) / 1e6 > _READS_VALID:
        return None
    return (now - int(since)) / 1e6
