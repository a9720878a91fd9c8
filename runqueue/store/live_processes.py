"""What people see beside the statistics: the worker processes, and the longest lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from runqueue.store.replies import rows
from runqueue.store.scripts import ScriptCall, load

#: The stages of a worker, as its tasks (`runqueue.<stage>`) and the keys `active_consumers:<stage>`
#: name them.
STAGES: Final = (
    *("submit", "poll", "cancel", "reconcile", "webhooks"),
    *("callbacks", "inbox", "list", "others", "details"),
)
#: Seconds that a lease holds from its heartbeat on; a test compares it with the worker's.
LEASE_SECONDS: Final = 15.0
#: Groups that one call reads: a careful one, and one that is repeated every few seconds.
ALL_GROUPS, SOME_GROUPS = 1_000, 250
#: Processes that one call reads, and lanes of each group and priority.
_PROCESSES, _LANES = 200, 8


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process as the queue sees it.

    Args:
        name: host, process id, and chance.
        account: which account it serves under this name.
        heartbeat_seconds: how long ago its last heartbeat came.
        alive: whether its lease holds.
        submitting: submissions that it has under way.
        stages: the stages that it works on now.
    """

    name: str
    account: str
    heartbeat_seconds: float
    alive: bool
    submitting: int
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group's line of ready jobs that could be claimed.

    Args:
        length: jobs in it.
        live: slots that the group takes.
        max_concurrent: its cap, None = none.
    """

    group: str
    length: int
    live: int
    max_concurrent: int | None
    paused: bool


def processes(account: str) -> ScriptCall[list[Process]]:
    """Read the worker processes, the one last heard of first."""

    def parse(reply: list[Any]) -> list[Process]:
        now = int(reply[0])
        return [_process(account, now, row) for row in rows(reply, 1, 4)]

    return ScriptCall(load("list_processes"), account, [_PROCESSES, " ".join(STAGES)], parse)


def _process(account: str, now: int, row: Sequence[Any]) -> Process:
    name, deadline, submitting, stages = row
    left = (float(deadline) - now) / 1e6
    return Process(
        name.decode(errors="replace"),
        account,
        max(0.0, LEASE_SECONDS - left),
        left > 0,
        int(submitting),
        tuple(stages.decode().split()),
    )


def longest_lines(
    account: str, count: int, groups: int = ALL_GROUPS
) -> ScriptCall[tuple[int, list[GroupLine]]]:
    """Read how many groups have a line, and the longest, of eight lanes of each and priority.

    Args:
        account: whose.
        count: lines, at most.
        groups: groups that are checked, at most.
    """

    def parse(reply: list[Any]) -> tuple[int, list[GroupLine]]:
        return int(reply[0]), [
            GroupLine(name.decode(), length, live, cap or None, bool(paused))
            for name, length, live, cap, paused in rows(reply, 1, 5)
        ]

    return ScriptCall(load("longest_lines"), account, [groups, _LANES, count], parse)
