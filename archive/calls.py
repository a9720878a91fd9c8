"""The calls that read what an archive lacks, record what it has, and drop what it alone needs."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from archive.rows import EndedJob
from runqueue.records.job import fields_of, text
from runqueue.store.replies import flat, rows
from runqueue.store.scripts import Argument, ScriptCall, load

#: Fields of a job in the reply of `unarchived.lua`.
_PER_JOB = 7


class Use(NamedTuple):
    """What uses an archive.

    Args:
        process: a name that no other process has.
        archive_id: the archive's; "" = it is not known yet.
        host: this machine; "" = many may write to the archive.
        lease_us: for how long a process that died keeps the others from archiving.
    """

    process: str
    archive_id: str
    host: str
    lease_us: int


class DueJob(NamedTuple):
    """A job to be archived.

    Args:
        due: by when it was to be read again; "" = it was not.
        again: by when it is to be read again after this; "" = its record is final.
    """

    ended: EndedJob
    due: str
    again: str


class Read(NamedTuple):
    """What is to be archived next.

    Args:
        state: ok, busy (another process archives), refused or trouble.
        why: it is refused, in words.
        more: whether there is more than this.
        position, then: how far archiving is, and how far behind these jobs.
    """

    now_us: int
    state: str
    why: str = ""
    more: bool = False
    position: str = ""
    then: str = ""
    jobs: tuple[DueJob, ...] = ()


class Kept(NamedTuple):
    """A job whose record says what became of it in the archive.

    Args:
        due, again: as in `DueJob`.
        why: the database cannot store it, in words; "" = it has it.
    """

    job_id: str
    due: str
    again: str
    why: str


def unarchived(
    account: str, use: Use, start: str, limit: int, allowed_bytes: int
) -> ScriptCall[Read]:
    """Read jobs that are not archived; see `unarchived.lua`.

    Args:
        account: whose.
        use: by what.
        start: "" = from archiving's position; else the second one of an earlier reply.
        limit: entries to read.
        allowed_bytes: of one reply.
    """

    def parse(reply: list[Any]) -> Read:
        now, state = int(reply[0]), reply[1].decode()
        if state != "ok":
            return Read(now, state, text(reply[2]) or "" if len(reply) > 2 else "")
        jobs = tuple(_due(account, row) for row in rows(reply, 5, _PER_JOB))
        return Read(now, state, "", bool(reply[2]), reply[3].decode(), reply[4].decode(), jobs)

    arguments = [*_of(use), "", start, limit, allowed_bytes]
    return ScriptCall(load("unarchived"), account, arguments, parse)


def trouble(account: str, use: Use, words: str) -> ScriptCall[list[Any]]:
    """Record what keeps a process from archiving."""
    return ScriptCall(load("unarchived"), account, [*_of(use), words, "", 0, 0], list)


def new_errors(account: str, process: str, groups: Iterable[tuple[int, int]]) -> ScriptCall[bool]:
    """Record groups of errors that are new and grow: their ids, and their jobs of the last hour."""
    words = " ".join(f"{error}:{jobs}" for error, jobs in groups)
    return ScriptCall(load("new_errors"), account, [process, words], bool)


def archived(
    account: str, process: str, read: Read, written: int, kept: Iterable[Kept], *, leaves: bool
) -> ScriptCall[bool]:
    """Record what the archive has; False = another process, or another position, was faster.

    Args:
        account: whose.
        process: that has the lease.
        read: the positions.
        written: how many jobs were written.
        kept: jobs of which more may come, or whose more has come.
        leaves: whether the process gives its lease up.
    """
    head: list[Argument] = [process, read.position, read.then, written, int(leaves)]
    return ScriptCall(load("archived"), account, [*head, *flat(kept)], bool)


def drop_archived(
    account: str, process: str, position: int | str, held: Iterable[tuple[str, int, str]]
) -> ScriptCall[tuple[int, int] | None]:
    """Drop what the archive has; see `drop_archived.lua`.

    Args:
        account, process: whose, and who has the lease.
        position: the key up to which all was dropped; "" = as it is.
        held: ids, when the jobs ended (microseconds), and by when they were to be read again.

    Returns:
        The position, and the time before which nothing is left in Redis; None = without the lease.
    """

    def parse(reply: list[Any]) -> tuple[int, int] | None:
        return (int(reply[0] or 0), int(reply[1])) if reply else None

    arguments = [process, position, *flat(held)]
    return ScriptCall(load("drop_archived"), account, arguments, parse)


def _of(use: Use) -> list[str | int]:
    return [use.process, use.lease_us, use.archive_id, use.host]


def _due(account: str, row: Sequence[Any]) -> DueJob:
    job_id, due, again, record, body, result, metadata = row
    ended = EndedJob(
        account,
        job_id.decode(),
        fields_of(record),
        body,
        result,
        orjson.loads(metadata or b"{}"),
        is_final=not again,
    )
    return DueJob(ended, due.decode(), again.decode())
