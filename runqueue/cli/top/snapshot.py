"""A snapshot of everything that `runqueue top` shows, and what happened between two."""

import time
from dataclasses import dataclass, field

from runqueue.producer.queue import RunQueue
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.store.groups import Group
from runqueue.store.live_processes import Process

#: Batches read, the newest: those under way are among them.
_BATCHES = 100


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    Args:
        at: when, in seconds on a clock that only goes on.
        stats: the figures by account.
        groups, batches, processes: of all accounts; of the batches those that are under way.
    """

    at: float
    stats: dict[str, AccountStats]
    groups: list[Group] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)


def look(queue: RunQueue) -> Look:
    """Read everything: four script calls an account.

    Raises:
        QueueUnavailable: Redis cannot be reached.
    """
    seen = Look(time.monotonic(), queue.stats())
    for account in seen.stats:
        seen.groups.extend(queue.groups(account))
        found = queue.list_batches(account, limit=_BATCHES).batches
        seen.batches.extend(batch for batch in found if not batch.status.is_final)
        seen.processes.extend(one for one in queue.workers(account) if one.alive)
    return seen


def rate(before: Look | None, now: Look, account: str, *totals: str) -> float | None:
    """Return how often something happened a second, between two snapshots.

    Args:
        before, now: the snapshots; None = there was none before.
        account: whose totals.
        totals: their names, added up; one that ends with ':' means all that begin so.

    Returns:
        None while it is unknown: a Redis that lost writes may count less than before, too.
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
