"""What monitoring reads beside an account's stats: heartbeats, busy groups, new batches."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from runqueue.records.job import fields_of
from runqueue.store.scripts import ScriptCall, load

#: Groups that are named, batches that are checked: a scrape's bounds.
GROUPS, BATCHES = 20, 200
#: What the groups that are not named are called together.
OTHER = "other"
#: The statuses of a batch.
STATUSES = ("validating", "in_progress", "held", "finished")


class GroupLoad(NamedTuple):
    """How many jobs of a group are ready, and how many take a slot."""

    group: str
    waiting: int
    live: int


@dataclass(frozen=True, slots=True)
class Figures:
    """One account, as monitoring sees it.

    Args:
        heartbeats: seconds since the last one of each of two processes whose leases hold:
            `oldest`, `newest`; empty where there is none.
        ticked: seconds since any worker's last tick; None = there never was one.
        inbox: lines of the inbox: waiting, taken, refused.
        groups: the busiest ones; the last, `OTHER`, is all others together.
        batches: the newest ones by status, of `STATUSES`.
        batch_jobs: jobs of those of them that are not finished: open, ended.
        keys: those for which jobs wait.
        key_wait: seconds for which the first job has waited of those that wait for 100 of these.
        schedules: how many are active, and paused.
        schedule_late: seconds for which the one that is most overdue has waited for a worker.
    """

    heartbeats: Mapping[str, float]
    ticked: float | None
    inbox: Mapping[str, int]
    groups: tuple[GroupLoad, ...]
    batches: Mapping[str, int]
    batch_jobs: Mapping[str, int]
    keys: int
    key_wait: float
    schedules: Mapping[str, int]
    schedule_late: float


def read_figures(account: str) -> ScriptCall[Figures]:
    """Read an account's statistics; bounded, whatever there is. See `figures.lua`."""
    return ScriptCall(load("figures"), account, [GROUPS, BATCHES], _parse)


def _parse(reply: list[Any]) -> Figures:
    read: dict[str, Any] = {**fields_of(reply)}
    beats = {which: _seconds(read[which]) for which in ("oldest", "newest")}
    statuses, jobs = _batches(read["batches"])
    return Figures(
        heartbeats={which: age for which, age in beats.items() if age is not None},
        ticked=_seconds(read["ticked"]),
        inbox=dict(zip(("waiting", "taken", "refused"), map(int, read["inbox"]), strict=True)),
        groups=_groups(read["groups"], int(read["ready"]), int(read["live"])),
        batches=statuses,
        batch_jobs=jobs,
        keys=int(read["keys"]),
        key_wait=int(read["key_wait"]) / 1e6,
        schedules=dict(zip(("active", "paused"), map(int, read["schedules"]), strict=True)),
        schedule_late=int(read["schedule_late"]) / 1e6,
    )


def _seconds(raw: bytes) -> float | None:
    return int(raw) / 1e6 if raw != b"-1" else None


def _groups(reply: list[Any], ready: int, live: int) -> tuple[GroupLoad, ...]:
    """Read the busiest groups, and put what is left of the whole under `OTHER`."""
    named = []
    for i in range(0, len(reply), 3):
        load, slots = int(reply[i + 1]), max(0, int(reply[i + 2]))
        # A group of that name is counted among the others: a number must not be reported twice.
        if (group := reply[i].decode()) != OTHER:
            named.append(GroupLoad(group, max(0, load - slots), slots))
    waiting = ready - sum(group.waiting for group in named)
    taken = live - sum(group.live for group in named)
    return (*named, GroupLoad(OTHER, max(0, waiting), max(0, taken)))


def _batches(reply: list[Any]) -> tuple[dict[str, int], dict[str, int]]:
    statuses, jobs = Counter(dict.fromkeys(STATUSES, 0)), {"open": 0, "ended": 0}
    for i in range(0, len(reply), 5):
        sealed, held, finished = (bool(part) for part in reply[i : i + 3])
        status = "in_progress"
        if finished:
            status = "finished"
        elif sealed and reply[i] == b"0":
            status = "validating"
        elif held:
            status = "held"
        statuses[status] += 1
        if not finished:
            jobs["open"] += int(reply[i + 3])
            jobs["ended"] += int(reply[i + 4])
    return dict(statuses), jobs
