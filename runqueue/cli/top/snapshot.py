"""A snapshot of everything that `runqueue top` shows, and the rates between two."""

import time
from dataclasses import dataclass, field

from runqueue.cli.shared.queues import Queue
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.store.groups import Group
from runqueue.store.live_processes import Process

#: The newest batches that are read; those under way are among them.
_BATCHES = 100


@dataclass(frozen=True, slots=True)
class TopView:
    """A snapshot.

    Args:
        at: when, in seconds on a monotonic clock.
        stats: the statistics by account.
        groups, batches, processes: of all accounts; of the batches those that are under way.
    """

    at: float
    stats: dict[str, AccountStats]
    groups: list[Group] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)


def take_snapshot(queue: Queue) -> TopView:
    """Read everything: four calls an account.

    Raises:
        QueueUnavailable: the queue cannot be reached.
    """
    seen = TopView(time.monotonic(), queue.stats())
    for account in seen.stats:
        seen.groups.extend(queue.groups(account))
        found = queue.list_batches(account, limit=_BATCHES).batches
        seen.batches.extend(batch for batch in found if not batch.status.is_final)
        seen.processes.extend(one for one in queue.workers(account) if one.alive)
    return seen


def rate(before: TopView | None, now: TopView, account: str, *totals: str) -> float | None:
    """Return how often something happened a second, between two snapshots.

    Args:
        before, now: the snapshots; None = there was none before.
        account: whose totals.
        totals: their names, added up; one that ends with ':' is a prefix.

    Returns:
        None while unknown, also after Redis lost writes and counts less than before.
    """
    if before is None or account not in before.stats or now.at <= before.at:
        return None
    grown = _sum(now.stats[account], totals) - _sum(before.stats[account], totals)
    return grown / (now.at - before.at) if grown >= 0 else None


def _sum(stats: AccountStats, totals: tuple[str, ...]) -> int:
    return sum(
        n
        for name, n in stats.totals.items()
        for wanted in totals
        if name == wanted or (wanted.endswith(":") and name.startswith(wanted))
    )
