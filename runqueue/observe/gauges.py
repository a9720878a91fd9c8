"""The gauges of the queue: its present state."""

from collections.abc import Iterator

from runqueue.observe.family import AccountSample, Family, Sample, one, pairs
from runqueue.observe.statistics import STATUSES
from runqueue.records.account import HOLDS
from runqueue.records.job import JobState
from runqueue.request.job_spec import Priority


def _jobs(seen: AccountSample) -> Iterator[Sample]:
    for state, counts in seen.stats.by_priority.items():
        for priority, n in counts.items():
            yield (state.value, priority.name.lower()), n


def _groups(seen: AccountSample) -> Iterator[Sample]:
    for group in seen.figures.groups:
        yield (group.group, "waiting"), group.waiting
        yield (group.group, "live"), group.live


def _budgets(seen: AccountSample) -> Iterator[Sample]:
    for use in seen.budgets:
        yield (use.scope, use.target, "limit"), use.budget.steps
        yield (use.scope, use.target, "spent"), use.spent
        yield (use.scope, use.target, "committed"), use.committed


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


GAUGES: tuple[Family, ...] = (
    Family(
        "jobs",
        f"Jobs on record, by state ({', '.join(JobState)}) and priority"
        f" ({', '.join(p.name.lower() for p in Priority)}).",
        _jobs,
        ("state", "priority"),
    ),
    Family(
        "group_jobs",
        "Jobs of the 20 groups with most of them, and of all others together (`other`):"
        " waiting (ready), or live (taking a slot).",
        _groups,
        ("group", "state"),
    ),
    Family(
        "keys_waited_for",
        "Keys at whose limits or budgets jobs wait.",
        one(lambda seen: seen.figures.keys),
    ),
    Family(
        "key_wait_seconds",
        "How long the longest-waiting job has waited of those that wait for keys. Of 100 keys, so"
        " one may have waited longer; 0 = none waits.",
        one(lambda seen: seen.figures.key_wait),
    ),
    Family(
        "budget_steps",
        "Steps of the 20 budgets of which the largest shares are spent: their limit, what is spent"
        " of it in its day or month, and what is committed to live runs.",
        _budgets,
        ("scope", "budget", "part"),
    ),
    Family(
        "claimable_jobs",
        "Ready jobs that may be submitted: not of a batch that is held, nor of a group that is"
        " paused or at its cap, and not waiting for a key or a budget. Of the first 128 lanes, so"
        " there may be more; fewer where canceled ones are among them that no claim has met.",
        one(lambda seen: seen.stats.claimable),
    ),
    Family(
        "oldest_ready_seconds",
        "How long the longest-waiting ready job has waited, of those not of a batch that is"
        " held, nor of a group that is paused or at its cap. Of the first 128 lanes, shared by the"
        " priorities, so one may have waited longer; 0 = none was found that waits.",
        one(lambda seen: seen.stats.oldest_ready_seconds or 0.0),
    ),
    Family(
        "in_flight",
        "Jobs that take a slot: submitting, unconfirmed and running.",
        one(lambda seen: seen.stats.live),
    ),
    Family(
        "reads_failing_seconds",
        "For how long Skyvern has answered no read, while there are runs to follow; 0 = it does.",
        one(lambda seen: seen.stats.reads_failing_seconds or 0.0),
    ),
    Family(
        "slots_taken",
        "Slots taken: jobs in flight, and orphan runs that may still run. The limit is"
        ' runqueue_limit{limit="concurrent_runs"}.',
        one(lambda seen: seen.stats.live + seen.stats.strays_live),
    ),
    Family(
        "strays",
        "Runs of ours that no job owns, of the last week.",
        one(lambda seen: seen.stats.strays),
    ),
    Family(
        "quarantined_jobs",
        "Jobs whose records cannot be read: the account goes on with the others.",
        one(lambda seen: seen.stats.quarantined),
    ),
    Family(
        "limit",
        "Limits in force, 0 = none: dispatches_per_second, burst_size, concurrent_runs,"
        " requests_per_second, webhooks_per_second, waiting_jobs, waiting_bytes.",
        pairs(lambda seen: seen.stats.limits),
        ("limit",),
    ),
    Family(
        "limit_setting",
        "The same limits by where they are set: environment (of the worker that started last), or"
        " live (by a person; wins).",
        _settings,
        ("limit", "source"),
    ),
    Family(
        "permits",
        "Calls that may go now, of the limiters that are on: dispatch, request.",
        pairs(lambda seen: {name: float(n) for name, n in seen.stats.permits.items()}),
        ("limiter",),
    ),
    Family(
        "pace",
        "Submissions per second that may go now, 0 = no limit: dispatches_per_second, or 70 % of"
        " requests_per_second where that is less; still less while the server answers 429.",
        one(_pace),
    ),
    Family(
        "slowed_down",
        "1 while submissions go slower than the limits let them, since the server answered 429.",
        one(lambda seen: float(seen.stats.pace is not None)),
    ),
    Family(
        "held",
        "1 while nothing is submitted, by what holds it: paused (by an operator, beside any of"
        " the others), person (an operator has to check and resume),"
        " account (key, balance or URL), breaker (many failures or refusals in a row), rate (the"
        " server asked to wait), redis (another server answers: runs are listed first), server"
        " (cannot be reached, or is busy), budget (it is spent or committed).",
        _hold,
        ("kind",),
    ),
    Family(
        "worker_processes",
        "Worker processes whose lease holds.",
        one(lambda seen: seen.stats.processes),
    ),
    Family(
        "worker_heartbeat_age_seconds",
        "Since the last heartbeat, of the process whose is oldest and of the one whose is newest;"
        " one comes every 5 s. Nothing where no lease holds.",
        pairs(lambda seen: seen.figures.heartbeats),
        ("which",),
    ),
    Family(
        "last_tick_age_seconds",
        "Since a worker last searched for work, which one does once a second. Nothing where none"
        " ever did.",
        one(lambda seen: seen.figures.ticked),
    ),
    Family(
        "webhooks",
        "Webhooks of jobs on record: pending, delivered, gave_up or unknown.",
        pairs(lambda seen: {d.value: float(n) for d, n in seen.stats.deliveries.items()}),
        ("state",),
    ),
    Family(
        "batches",
        f"The 200 newest batches by status: {', '.join(STATUSES)}. Held is what is paused,"
        " waits for its canary, was aborted or is being canceled.",
        pairs(lambda seen: seen.figures.batches),
        ("status",),
    ),
    Family(
        "batch_jobs",
        "Jobs of those of the 200 newest batches that are not finished: open or ended.",
        pairs(lambda seen: seen.figures.batch_jobs),
        ("state",),
    ),
    Family(
        "inbox_lines",
        "Lines of the inbox: waiting, taken by a worker, or refused.",
        pairs(lambda seen: seen.figures.inbox),
        ("state",),
    ),
    Family(
        "clock_correction_seconds",
        "What the queue's clock makes up for, since that of Redis' host was set.",
        one(lambda seen: seen.stats.clock_lost),
    ),
)
