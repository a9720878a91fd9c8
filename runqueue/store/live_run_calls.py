"""The worker's calls about the list of live runs: who reads it, and what it showed.

Pure functions, one for each script, as in `worker_calls.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from runqueue.records.claim_items import Taken
from runqueue.store.replies import codes, flat, permit, records, rows, taken, texts
from runqueue.store.scripts import Argument, ScriptCall, load


class ListReading(NamedTuple):
    """The list is to be read now, by this process.

    Args:
        began_us: when it was taken, by the queue's clock.
        mean_us, floor_us: how long runs took, and the shortest of late; 0 = not known.
        ended_us: when a run was last seen to be over; 0 = never.
        orphans: runs that no job owns, and that may still run.
        is_useful: False = lists are no help any more: few runs are left, or they take too short.
    """

    began_us: int
    mean_us: int
    floor_us: int
    ended_us: int
    orphans: Sequence[str] = ()
    is_useful: bool = True


class Joined(NamedTuple):
    """A run that is left to the list; joined_us = since when."""

    job_id: str
    run_id: str
    run_status: str
    started_us: int
    joined_us: int


class Shown(NamedTuple):
    """What the list showed of a run; job_id is '' when no job owns it."""

    job_id: str
    run_id: str
    run_status: str


def lists_claim(
    account: str, process: str, limit: int, tick_us: int, lease_us: int, *, least_us: int
) -> ScriptCall[Taken[ListReading]]:
    """Take the reading of the list, if it is due; see `lists_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[ListReading]:
        return taken(reply, map(_reading, [reply] if len(reply) > 4 and reply[4] else []))

    arguments: list[Argument] = [process, limit, tick_us, lease_us, least_us]
    return ScriptCall(load("lists_claim"), account, arguments, parse)


def _reading(reply: list[Any]) -> ListReading:
    began, _, _, is_useful, mean, floor, ended = map(int, reply[1:8])
    return ListReading(began, mean, floor, ended, texts(reply[8:]), is_useful == 1)


def lists_joined(account: str, start: str, limit: int) -> ScriptCall[tuple[list[Joined], bool]]:
    """Read which runs joined the lists, and whether there are more; see `lists_joined.lua`."""

    def parse(reply: list[Any]) -> tuple[list[Joined], bool]:
        return records(Joined, rows(reply, 1, 5)), bool(reply[0])

    return ScriptCall(load("lists_joined"), account, [start, limit], parse)


def lists_permit(account: str, process: str, lease_us: int) -> ScriptCall[tuple[int, float]]:
    """Take a permit and renew the lease: 1 granted, 0 not yet, -1 another process reads.

    The second is how many seconds to wait before the next try.
    """
    return ScriptCall(load("lists_permit"), account, [process, lease_us], permit)


def lists_missing(
    account: str, runs: Sequence[tuple[str, str]], began_us: int, settle_us: int, poll_lease_us: int
) -> ScriptCall[list[int]]:
    """Have runs (job, run; job '' = an orphan) polled that the list did not show.

    Each reply: 1 = it is polled, 2 = it is too new, 0 = it is not the lists' any more.
    """
    arguments: list[Argument] = [began_us, settle_us, poll_lease_us, *flat(runs)]
    return ScriptCall(load("lists_missing"), account, arguments, codes)


def lists_seen(
    account: str,
    shown: Sequence[Shown],
    orphan_after_us: int,
    max_run_us: int,
    max_workflow_us: int,
) -> ScriptCall[int]:
    """Record what the list showed that is worth a write; see `lists_seen.lua`."""
    arguments: list[Argument] = [orphan_after_us, max_run_us, max_workflow_us, *flat(shown)]
    return ScriptCall(load("lists_seen"), account, arguments, int)


def lists_done(
    account: str, process: str, next_us: int, *, failed: bool = False, reach_us: int = 0
) -> ScriptCall[int]:
    """Say when the next list is due, and how many failed in a row (-1: another reads it).

    Args:
        reach_us: the list shows none that was begun before; 0 = it shows all.
    """
    return ScriptCall(load("lists_done"), account, [process, next_us, int(failed), reach_us], int)


def others_claim(
    account: str, process: str, limit: int, tick_us: int, lease_us: int
) -> ScriptCall[Taken[int]]:
    """Take the reading of the list that shows runs of others: when, by the queue's clock."""

    def parse(reply: list[Any]) -> Taken[int]:
        return taken(reply, [int(reply[1])] if len(reply) > 4 and reply[4] else [])

    return ScriptCall(load("others_claim"), account, [process, limit, tick_us, lease_us], parse)


def others_done(
    account: str, next_us: int, until_us: int, began_us: int, runs: Sequence[tuple[str, int]]
) -> ScriptCall[list[int]]:
    """Record how many live runs are of others, and read which surely are; see `others_done.lua`."""
    arguments: list[Argument] = [next_us, until_us, began_us, *flat(runs)]
    return ScriptCall(load("others_done"), account, arguments, codes)


def lists_end(account: str, off_us: int) -> ScriptCall[int]:
    """Have runs polled one by one again; see `lists_end.lua`."""
    return ScriptCall(load("lists_end"), account, [off_us], int)
