"""The calls about batches that run: hold them, list them, find what ended badly in them.

How one is opened, filled and sealed stands in `job_calls.py`.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from runqueue.errors import FieldError, InvalidRequest
from runqueue.records.batch import Batch, BatchPage
from runqueue.records.batch_records import read_batch
from runqueue.records.forecast import Capacity, read_capacity
from runqueue.records.job import JobState
from runqueue.store.damage import RECORD_UNREAD
from runqueue.store.operator_calls import Seen
from runqueue.store.replies import page, rows
from runqueue.store.scripts import ScriptCall, load

#: Batches of a page, at most.
MOST = 1000
_CURSOR = re.compile(r"\d{1,16} [a-z2-7]{24}")


def hold_batch(account: str, batch: str, what: str, seen: str = "") -> ScriptCall[str | None]:
    """Pause or resume a batch; returns what holds it now ('' = nothing), None = no such batch.

    Args:
        account, batch: whose it is, and its id.
        what: `pause` or `resume`.
        seen: what held it when a person decided to resume it.
    """

    def parse(reply: bytes | None) -> str | None:
        return None if reply is None else reply.decode()

    return ScriptCall(load("hold_batch"), account, [batch, what, seen], parse)


def list_batches(
    account: str, cursor: str, count: int, *, sound_only: bool = False
) -> ScriptCall[BatchPage]:
    """Read a page of batches, the newest first.

    Args:
        account, cursor, count: whose, from where on, and how many.
        sound_only: leave out what cannot be read, and name it (`unread`); else it fails the page.

    Raises:
        InvalidRequest: a cursor that is none, or a limit out of its range.
    """
    if not 1 <= count <= MOST:
        raise InvalidRequest([FieldError("limit", f"expected 1 to {MOST}, got {count}")])
    if cursor and not _CURSOR.fullmatch(cursor):
        raise InvalidRequest([FieldError("cursor", "expected one that a page of batches gave")])

    def parse(reply: list[Any]) -> BatchPage:
        seen = (int(reply[1]), read_capacity(reply[2]))
        unread: list[str] | None = [] if sound_only else None
        batches = list(_batches(account, reply[3:], seen, unread))
        return BatchPage(batches, reply[0].decode(), tuple(unread or ()))

    return ScriptCall(load("list_batches"), account, [cursor, count], parse)


def _sound(record: list[Any] | bytes) -> list[Any]:
    if isinstance(record, bytes):  # what is wrong with it
        raise ResponseError(record.decode(errors="replace"))
    return record


def _batches(
    account: str, flat: list[Any], seen: tuple[int, Capacity], unread: list[str] | None
) -> Iterator[Batch]:
    for name, record, jobs, paused in rows(flat, 0, 4):
        try:
            found = read_batch(
                account, name.decode(), _sound(record), int(jobs), seen, paused=paused.decode()
            )
        except RECORD_UNREAD:
            if unread is None:
                raise
            unread.append(name.decode(errors="replace"))
            continue
        if found is not None:
            yield found


class EndedBadly(NamedTuple):
    """A job that is dead, failed or canceled, as it was seen; reason is '' if it has none."""

    seen: Seen
    state: JobState
    reason: str


def ended_badly(
    account: str, batch: str, start: int, count: int
) -> ScriptCall[tuple[int, list[EndedBadly]]]:
    """Find the dead, failed and canceled jobs of a page; returns the page's length and these."""

    def parse(reply: list[Any]) -> tuple[int, list[EndedBadly]]:
        return int(reply[0]), [
            EndedBadly(
                (name.decode(), int(n), int(at)),
                JobState(state.decode()),
                reason.decode(errors="replace"),
            )
            for name, n, at, state, reason in rows(reply, 1, 5)
        ]

    return ScriptCall(load("ended_badly"), account, [batch, start, count], parse)


def page_ended(
    account: str, state: str, cursor: str, count: int, looks: int
) -> ScriptCall[tuple[str, list[str]]]:
    """Read a page of the jobs that ended in a state; returns the next cursor ('' = the last page).

    Args:
        account: whose jobs.
        state: completed, failed or canceled.
        cursor: '' = from the newest end on.
        count: jobs, at most.
        looks: ends to read, at most.
    """
    return ScriptCall(load("page_ended"), account, [state, cursor, count, looks], page)


def remove_given_up(account: str, batch: str, limit: int) -> ScriptCall[int]:
    """Remove jobs of an upload that was given up.

    Args:
        account, batch: whose it is, and its id.
        limit: how many at most.

    Returns:
        How many were read: as many as the limit, or more = there is more to do.
    """
    return ScriptCall(load("expire_batches"), account, ["", limit, batch], int)
