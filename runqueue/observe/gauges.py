"""The gauges of the queue: its present state."""

from collections.abc import Callable, Iterator

from runqueue.observe.family import AccountSample, Family, Sample, one, pairs
from runqueue.records.account import HOLDS, ArchiveState


def _jobs(seen: AccountSample) -> Iterator[Sample]:
    for state, counts in seen.stats.by_priority.items():
        for priority, n in counts.items():
            yield (state.value, priority.name.lower()), n


def _groups(seen: AccountSample) -> Iterator[Sample]:
    for group in seen.figures.groups:
        yield (group.group, "waiting"), group.waiting
        yield (group.group, "live"), group.live


def _group_credits(seen: AccountSample) -> Iterator[Sample]:
    for group in seen.groups:
        yield (group.group, "all"), group.credits
        yield (group.group, "cached"), group.cached_credits
        yield (group.group, "estimated"), group.credits_estimated


def _budgets(seen: AccountSample) -> Iterator[Sample]:
    for use in seen.budgets:
        of = (use.scope, use.target, use.budget.unit)
        yield (*of, "limit"), use.budget.amount
        yield (*of, "spent"), use.spent
        yield (*of, "committed"), use.committed


def _settings(seen: AccountSample) -> Iterator[Sample]:
    for limit, value in seen.stats.seeded.items():
        yield (limit, "environment"), value
    for limit, value in seen.stats.overridden.items():
        yield (limit, "live"), value


def _pace(seen: AccountSample) -> float:
    return seen.stats.full_pace if seen.stats.pace is None else seen.stats.pace


def _hold(seen: AccountSample) -> Iterator[Sample]:
    for kind in HOLDS:
        yield (kind,), float(seen.stats.hold_kind == kind)
    yield ("paused",), float(seen.stats.paused)


def _of_archive(value: Callable[[ArchiveState], float]) -> Callable[[AccountSample], float | None]:
    """Return what reads a value of the archive; an account without one has none."""

    def read(seen: AccountSample) -> float | None:
        return value(seen.stats.archive) if seen.stats.archive else None

    return read


GAUGES: tuple[Family, ...] = (
    Family("jobs", "Jobs on record.", _jobs, ("state", "priority")),
    Family(
        "group_jobs",
        "Waiting and live jobs of the 20 largest groups; the others are `other`.",
        _groups,
        ("group", "state"),
    ),
    Family(
        "group_credits",
        "Credits of the 20 groups that took most: all, and of these the cached, estimated ones.",
        _group_credits,
        ("group", "which"),
    ),
    Family(
        "keys_waited_for",
        "Keys at whose limit or budget jobs wait.",
        one(lambda seen: seen.figures.keys),
    ),
    Family(
        "key_wait_seconds",
        "Longest wait for one of 100 keys.",
        one(lambda seen: seen.figures.key_wait),
    ),
    Family(
        "budget",
        "Limit, spent and committed steps or credits of the 20 most spent budgets.",
        _budgets,
        ("scope", "budget", "unit", "part"),
    ),
    Family(
        "claimable_jobs",
        "Ready jobs that nothing holds, of the first 128 lanes.",
        one(lambda seen: seen.stats.claimable),
    ),
    Family(
        "oldest_ready_seconds",
        "Longest wait of a ready job that no batch or group holds, of the first 128 lanes.",
        one(lambda seen: seen.stats.oldest_ready_seconds or 0.0),
    ),
    Family("in_flight", "Jobs that take a slot.", one(lambda seen: seen.stats.live)),
    Family(
        "reads_failing_seconds",
        "How long Skyvern has answered no read; 0 = it answers.",
        one(lambda seen: seen.stats.reads_failing_seconds or 0.0),
    ),
    Family(
        "slots_taken",
        "Slots of jobs in flight and of live orphan runs.",
        one(lambda seen: seen.stats.live + seen.stats.orphans_live),
    ),
    Family(
        "others_runs",
        "Live runs of others that take slots; none is given while they are not known.",
        one(lambda seen: seen.stats.others),
    ),
    Family(
        "long_queued_runs",
        "Runs of ours that Skyvern has kept queued for over two minutes.",
        one(lambda seen: seen.stats.long_queued),
    ),
    Family("orphans", "Orphan runs of the last week.", one(lambda seen: seen.stats.orphans)),
    Family("paused_runs", "Runs that wait for a person.", one(lambda seen: seen.stats.paused_runs)),
    Family(
        "quarantined_jobs",
        "Jobs whose records cannot be read.",
        one(lambda seen: seen.stats.quarantined),
    ),
    Family(
        "archive_waiting_jobs",
        "Ended jobs that are not in the archive.",
        one(_of_archive(lambda archive: archive.waiting)),
    ),
    Family(
        "archive_oldest_seconds",
        "How long ago the first of them ended; 0 = none waits.",
        one(_of_archive(lambda archive: archive.oldest_seconds)),
    ),
    Family(
        "archive_failing",
        "1 if a process could not write to the archive in the last minute.",
        one(_of_archive(lambda archive: float(bool(archive.trouble)))),
    ),
    Family(
        "archive_aside_jobs",
        "Jobs that the archive's database cannot store.",
        one(_of_archive(lambda archive: archive.aside)),
    ),
    Family(
        "archive_new_errors",
        "Groups of errors first seen within 24 hours that have ten jobs within one.",
        one(_of_archive(lambda archive: len(archive.new_errors))),
    ),
    Family(
        "limit", "Limits in force; 0 = none.", pairs(lambda seen: seen.stats.limits), ("limit",)
    ),
    Family(
        "limit_setting",
        "Limits by source: environment, or live, which wins.",
        _settings,
        ("limit", "source"),
    ),
    Family(
        "permits",
        "Calls that may go now: submission, request.",
        pairs(lambda seen: {name: float(n) for name, n in seen.stats.permits.items()}),
        ("limiter",),
    ),
    Family("pace", "Submissions per second that may go now; 0 = any number.", one(_pace)),
    Family(
        "slowed_down",
        "1 while 429s slow submissions down.",
        one(lambda seen: float(seen.stats.pace is not None)),
    ),
    Family("held", "1 while a hold of this kind stops submissions.", _hold, ("kind",)),
    Family(
        "worker_processes", "Worker processes with a lease.", one(lambda seen: seen.stats.processes)
    ),
    Family(
        "worker_heartbeat_age_seconds",
        "Age of the oldest and the newest heartbeat.",
        pairs(lambda seen: seen.figures.heartbeats),
        ("which",),
    ),
    Family(
        "last_tick_age_seconds",
        "Age of the last tick; one or two come a second.",
        one(lambda seen: seen.figures.ticked),
    ),
    Family(
        "webhooks",
        "Webhooks of jobs on record: pending, delivered, abandoned, unknown.",
        pairs(lambda seen: {d.value: float(n) for d, n in seen.stats.deliveries.items()}),
        ("state",),
    ),
    Family(
        "batches", "The 200 newest batches.", pairs(lambda seen: seen.figures.batches), ("status",)
    ),
    Family(
        "batch_jobs",
        "Open and ended jobs of the unfinished batches.",
        pairs(lambda seen: seen.figures.batch_jobs),
        ("state",),
    ),
    Family(
        "inbox_lines",
        "Lines of the inbox: waiting, taken, refused.",
        pairs(lambda seen: seen.figures.inbox),
        ("state",),
    ),
    Family(
        "schedules",
        "Schedules: active, paused.",
        pairs(lambda seen: seen.figures.schedules),
        ("state",),
    ),
    Family(
        "schedule_late_seconds",
        "How long no worker has looked at the schedule that is most overdue; 0 = none is.",
        one(lambda seen: seen.figures.schedule_late),
    ),
    Family(
        "clock_correction_seconds",
        "Correction for steps of Redis' clock.",
        one(lambda seen: seen.stats.clock_lost),
    ),
)
