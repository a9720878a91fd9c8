"""The worker processes, as people see them."""

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
    *("callbacks", "inbox", "list", "others", "details", "schedules"),
)
#: Seconds that a lease holds from its heartbeat on; a test compares it with the worker's.
LEASE_SECONDS: Final = 15.0
#: Processes that one call reads.
_PROCESSES = 200


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
