"""The operator's calls: what people do to jobs; those of producers are in `job_calls.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from runqueue.records.job import Orphan
from runqueue.request.time_range import from_microseconds, in_microseconds
from runqueue.store.replies import OfItems, codes, flat, of_ids, of_items, page, records, rows
from runqueue.store.scripts import Argument, ScriptCall, load


def adopt(account: str, job_id: str, attempt: int, run_id: str) -> ScriptCall[int]:
    """Give an unconfirmed job its run; the codes are in `mark_running.lua`."""
    arguments: list[Argument] = [0, job_id, attempt, run_id, "created", 0]
    return ScriptCall(load("mark_running"), account, arguments, lambda codes: int(codes[0]))


#: A job as a person saw it: id, attempt, and when it ended (µs since 1970; 0 = it had not).
Seen = tuple[str, int, int]


def settle(
    account: str, jobs: Sequence[Seen], what: str, reason: str = ""
) -> ScriptCall[list[int]]:
    """Decide on unconfirmed jobs, `resubmit` or `fail`; see `settle.lua`."""
    arguments = [what, reason, *flat(job[:2] for job in jobs)]
    return ScriptCall(load("settle"), account, arguments, codes)


#: Have the runs of paused jobs approved; the codes are in `approve.lua`.
approve = of_ids("approve", codes)
#: Have ended jobs done again; the codes are in `replay.lua`.
replay: OfItems[Seen, list[int]] = of_items("replay", codes)


def put_back(
    account: str, job_id: str, record: Mapping[str, bytes], body: bytes, result: bytes
) -> ScriptCall[int]:
    """Give a job what the archive has of it back; see `put_back.lua`."""
    arguments: list[Argument] = [job_id, record["ended"], body, result, *flat(record.items())]
    return ScriptCall(load("put_back"), account, arguments, int)


#: Remove dead jobs: per id 1 removed, 0 not dead, -1 unknown.
discard = of_ids("discard", codes)
#: Have orphans canceled: per run 1 it will be, -1 no such orphan.
cancel_orphans = of_ids("cancel_orphans", codes)


def page_jobs(
    account: str, index: str, after: str, count: int
) -> ScriptCall[tuple[str, list[str]]]:
    """Read a page of job ids of an index; returns the next cursor ('' = the last page) and ids."""
    return ScriptCall(load("page_jobs"), account, [index, after, count], page)


def list_orphans(account: str, cursor: str, count: int) -> ScriptCall[tuple[str, list[Orphan]]]:
    """Read a page of orphans; returns the next cursor ('0' = that was all) and orphans."""

    def parse(reply: list[bytes]) -> tuple[str, list[Orphan]]:
        pairs = zip(reply[1::2], reply[2::2], strict=True)
        return reply[0].decode(), [_orphan(account, run_id, record) for run_id, record in pairs]

    return ScriptCall(load("list_orphans"), account, [cursor, count], parse)


def _orphan(account: str, run_id: bytes, record: bytes) -> Orphan:
    job_id, attempt, since, _, why = record.decode(errors="replace").split(" ", 4)
    return Orphan(
        run_id.decode(), account, job_id, int(attempt), from_microseconds(int(since)), why
    )


@dataclass(frozen=True, slots=True)
class CancelCounts:
    """What a cancel came to, in jobs.

    Args:
        at_once: had not been submitted, and are canceled now.
        asked: may have a run, which will be canceled.
        over: had ended already, or are gone.
    """

    at_once: int = 0
    asked: int = 0
    over: int = 0

    @property
    def jobs(self) -> int:
        """How many there were."""
        return self.at_once + self.asked + self.over

    def __add__(self, other: "CancelCounts") -> "CancelCounts":
        """Return what both came to."""
        return CancelCounts(
            self.at_once + other.at_once, self.asked + other.asked, self.over + other.over
        )


def cancel_batch(account: str, batch: str) -> ScriptCall[CancelCounts | None]:
    """Cancel a batch; returns what it came to, None if there is no such batch."""

    def parse(reply: list[int]) -> CancelCounts | None:
        if reply[0] < 0:
            return None
        jobs, waiting, live = reply
        return CancelCounts(waiting, live, jobs - waiting - live)

    return ScriptCall(load("cancel_batch"), account, [batch], parse)


class OurRun(NamedTuple):
    """A run that a job got.

    Args:
        accepted_us: when, microseconds since 1970; 0 = not known: it is an earlier run of the job.
    """

    run_id: str
    job_id: str
    accepted_us: int


def list_runs(
    account: str, cursor: str, keys: int, since: datetime, until: datetime
) -> ScriptCall[tuple[str, list[OurRun]]]:
    """Search all keys for runs that jobs got in a time; cursor and keys as in `open_jobs`."""

    def parse(reply: list[Any]) -> tuple[str, list[OurRun]]:
        return reply[0].decode(), records(OurRun, rows(reply, 1, 3))

    arguments: list[Argument] = [cursor, keys, in_microseconds(since), in_microseconds(until)]
    return ScriptCall(load("list_runs"), account, arguments, parse)


def open_jobs(
    account: str, cursor: str, keys: int, which: str = "open"
) -> ScriptCall[tuple[str, list[str]]]:
    """Search all keys for jobs; returns the next cursor ('0' = that was all) and ids.

    Args:
        account: whose jobs.
        cursor: '0' = from the start.
        keys: how many to read.
        which: `open` (those that have not ended), `any`, or a state.
    """
    return ScriptCall(load("open_jobs"), account, [cursor, keys, which], page)
