"""What the doctor checks in the queue: holds, workers, limits; and on this machine."""

import resource
from collections.abc import Iterator, Mapping
from dataclasses import replace

from config.settings import Account, Settings, account_prefix
from runqueue import RunQueue
from runqueue.cli.shared.account_holds import hold_words
from runqueue.records.account import AccountStats, ArchiveState
from runqueue.records.health import HealthLevel, health_of, quarantine_of
from runqueue.store.live_processes import STAGES, Process
from worker.doctor.findings import Finding, FindingLevel, ok, warning, wrong
from worker.process.lease import BEAT_SECONDS

_START = "start one: runqueue up, or runqueue worker"
#: Seconds that a heartbeat may be late without being news.
_LATE_SECONDS = 3.0
#: Descriptors of a worker that are no call: Redis, the broker, libraries, metrics.
_OTHER_FILES = 300
#: Stages whose capacity is connections of HTTP: the inbox calls nobody, those that read lists few.
_CALLING = len({*STAGES} - {"inbox", "list", "others", "details", "schedules"})


def check_account(
    queue: RunQueue,
    name: str,
    stats: AccountStats | None,
    account: Account | None,
    *,
    has_settings: bool = True,
) -> Iterator[Finding]:
    """Yield what is to be said of one account in the queue.

    Args:
        queue: the queue.
        name: the account.
        stats: its figures; None = no worker has ever served it.
        account: its settings here; None = it has none.
        has_settings: whether the settings could be read at all.
    """
    if account is None and has_settings:
        yield warning(
            f"account {name}",
            "the queue knows it, and there are no settings for it here",
            f"set {account_prefix(name)}API_KEY, unless other workers serve it",
        )
    if stats is None:
        return
    if stats.damage is not None:
        yield damaged(name, stats.damage)
        return
    found = health(replace(stats, quarantined=0))
    yield found
    if stats.quarantined:
        do = "see docs/runbooks.md, RunqueueQuarantinedJobs"
        yield warning(f"records {name}", quarantine_of(stats), do)
    if stats.archive:
        yield archive(name, stats.archive)
    living = [one for one in queue.workers(name) if one.alive]
    if living or found.level is not FindingLevel.WRONG:
        yield heartbeats(name, living)
    if account is not None:
        yield from limits(stats, account.for_queue())
    if ended := queue.ended_holders(name):
        first = f"{ended[0].of} by {ended[0].holder}"
        said = f"{len(ended):,} held by what has ended, such as {first}: jobs may wait for it"
        yield warning(f"keys {name}", said, "runqueue keys repair")
    if stats.clock_lost:
        yield warning(
            f"clock {name}",
            f"Redis' clock was set: the queue makes up for {stats.clock_lost:.1f} s",
            "times of day given as run_at or deadline are off by as much; a new account is not",
        )


def archive(name: str, state: ArchiveState) -> Finding:
    """Judge how far the archive is."""
    check = f"archive {name}"
    if state.is_amiss:
        return warning(check, state.words(), "see docs/runbooks.md, RunqueueArchiveWaits")
    return ok(check, state.words())


def damaged(name: str, found: str) -> Finding:
    """Say that an account's keys are not as they should be."""
    said = f"what needs them stands still, its keys are damaged: {found}"
    do = "restore the key, or delete it; and see what else writes to this Redis"
    return wrong(f"account {name}", said, do)


def health(stats: AccountStats) -> Finding:
    """Judge whether an account submits."""
    check, found = f"account {stats.account}", health_of(stats)
    if stats.hold_reason:
        return _hold(check, stats)
    if found.level is HealthLevel.STOPPED and not stats.processes:
        return wrong(check, str(found), _START)
    if found.level is not HealthLevel.GOOD and stats.processes:
        return warning(check, str(found), "it goes on once that has ended: `runqueue top` shows it")
    return ok(check, str(found))


def _hold(check: str, stats: AccountStats) -> Finding:
    """Judge a hold: one is wrong that needs a person, and that no person began."""
    said = hold_words(stats).removeprefix(f"{check}: ")
    if stats.paused and not stats.hold_kind:
        return warning(check, said, "somebody paused it: ask who and why (the page's Audit tells)")
    if stats.hold_kind not in {"account", "person"}:
        return warning(check, said, "it goes on by itself; see to what it says if it comes again")
    return wrong(check, said, "see to what it says, then `runqueue resume`")


def heartbeats(name: str, processes: list[Process]) -> Finding:
    """Judge whether workers live."""
    check = f"workers {name}"
    if not processes:
        do = _START
        return warning(check, "no process has a lease", do)
    ages = {process.name: process.heartbeat_seconds for process in processes}
    late = sorted(who for who, age in ages.items() if age > BEAT_SECONDS + _LATE_SECONDS)
    count = f"{len(processes)} process{'' if len(processes) == 1 else 'es'}"
    if late:
        said = f"{count}; no heartbeat for {max(ages.values()):.0f} s of {', '.join(late[:5])}"
        return warning(check, said, "see whether they hang, or were just killed")
    return ok(check, f"{count}, the last heartbeat {max(0.0, min(ages.values())):.0f} s ago")


def limits(stats: AccountStats, here: Mapping[str, float]) -> Iterator[Finding]:
    """Judge the limits in force against those of this environment."""
    check = f"limits {stats.account}"
    if not stats.seeded and not stats.overridden:
        yield ok(check, "none yet: the first worker writes those it has")
        return
    differ = {name: value for name, value in here.items() if stats.limits.get(name) != value}
    if not differ:
        yield ok(check, ", ".join(f"{name} {value:g}" for name, value in here.items()))
    for name, value in differ.items():
        if name in stats.overridden:
            yield warning(
                check,
                f"{name} was set live to {stats.overridden[name]:g}, and is {value:g} here",
                "reset it, or change the environment, once it is to stay",
            )
        else:
            yield warning(
                check,
                f"{name} is {stats.limits.get(name, 0):g} in the queue, and {value:g} here",
                "the worker that starts last decides: give all of them one value, and start one",
            )


def credits_read(settings: Settings) -> Iterator[Finding]:
    """Warn where credits have a price, and those of some runs are not read."""
    if settings.price_per_credit is not None and settings.run_details != "all":
        said = (
            "those of completed runs whose webhook does not say them are not read: costs lack them"
        )
        yield warning("credits", said, "RUNQUEUE_RUN_DETAILS=all")


def open_files(settings: Settings) -> Finding:
    """Judge how many connections a worker that is started from here may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    accounts = len(settings.all_accounts())
    needed = accounts * _CALLING * settings.max_open_calls + _OTHER_FILES
    said = f"{'unlimited' if soft == resource.RLIM_INFINITY else f'{soft:,}'} here"
    said = f"{said}; a worker needs up to {needed:,}"
    if soft != resource.RLIM_INFINITY and soft < needed:
        do = f"ulimit -n {needed} (systemd: LimitNOFILE), or a smaller RUNQUEUE_MAX_OPEN_CALLS"
        return warning("file descriptors", said, do)
    return ok("file descriptors", said)
