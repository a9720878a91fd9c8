"""Handing in a checked file: one batch for each account, accepted when all of it is there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from runqueue import calls
from runqueue.cli.lines import Checked, Line
from runqueue.errors import BatchNotFound
from runqueue.job import Enqueued, EnqueueStatus
from runqueue.queue import RunQueue

#: Lines handed in between two signs of progress; the queue sends them 1,000 at a time.
_STEP = 10_000
#: Lines, and bytes of them, that one call surely takes in one piece, so that it opens no batch.
_PIECE, _PIECE_BYTES = calls.CHUNK, calls.CHUNK_BYTES // 2


@dataclass(slots=True)
class KnownIn:
    """Jobs that were known before: how many of one batch (None: of no batch), and since when."""

    jobs: int
    since: datetime


@dataclass(slots=True)
class HandedIn:
    """What became of a file's jobs.

    Args:
        batches: the new batches, by account; none where nothing was new.
        job_ids: every job of the file, by account, those in conflict left out.
        known: the jobs known before, by batch.
        conflicts: lines whose custom_id was used earlier for another body, and the job that has it.
    """

    batches: dict[str, str] = field(default_factory=dict)
    job_ids: dict[str, list[str]] = field(default_factory=dict)
    new: int = 0
    known: dict[str | None, KnownIn] = field(default_factory=dict)
    conflicts: list[tuple[Line, str]] = field(default_factory=list)

    def note(self, account: str, line: Line, answer: Enqueued) -> None:
        """Count one answer."""
        if answer.status is EnqueueStatus.CONFLICT:
            self.conflicts.append((line, answer.job_id))
            return
        self.job_ids.setdefault(account, []).append(answer.job_id)
        if answer.status is EnqueueStatus.NEW:
            self.new += 1
            return
        known = self.known.setdefault(answer.batch, KnownIn(0, answer.created_at))
        known.jobs += 1
        known.since = min(known.since, answer.created_at)


def hand_in(queue: RunQueue, checked: Checked, told: Callable[[int], None]) -> HandedIn:
    """Hand in every good line of a file; nothing runs before all of it is there.

    An upload killed half-way leaves a batch that was never accepted; handing in the same file again
    takes its jobs over.

    Args:
        queue: the queue.
        checked: the file.
        told: given the number of lines after each step.
    """
    handed = HandedIn()
    for account, lines in checked.accounts.items():
        known = _all_known(queue, checked, lines)
        if known is None:
            _upload(queue, checked, account, handed, told)
            continue
        told(len(lines))
        for line, answer in zip(lines, known, strict=True):
            handed.note(account, line, answer)
    for batch in handed.batches.values():
        queue.seal_batch(batch)
    handed.conflicts.sort()
    return handed


def _upload(
    queue: RunQueue,
    checked: Checked,
    account: str,
    handed: HandedIn,
    told: Callable[[int], None],
) -> None:
    batch = handed.batches[account] = queue.open_batch(checked.name, account=account)
    lines = checked.accounts[account]
    for start in range(0, len(lines), _STEP):
        some = lines[start : start + _STEP]
        answers = queue.enqueue_many(checked.specs(some), batch=batch)
        for line, answer in zip(some, answers, strict=True):
            handed.note(account, line, answer)
        told(len(some))


def _all_known(queue: RunQueue, checked: Checked, lines: list[Line]) -> list[Enqueued] | None:
    """Return the answers if every job is in an accepted batch already, so that none is opened."""
    answers: list[Enqueued] = []
    for some in _pieces(lines):
        job_ids = [line.job_id for line in some if line.job_id is not None]
        if len(job_ids) < len(some) or any(state is None for state, _ in queue.states(job_ids)):
            return None
        # Only looked up: an unfinished upload's jobs would be taken over piece by piece, and run.
        answers += queue.look_up(checked.specs(some))
    if any(answer.status is EnqueueStatus.NEW for answer in answers):
        return None
    batches = {answer.batch for answer in answers if answer.batch is not None}
    return answers if all(_is_accepted(queue, batch) for batch in batches) else None


def _pieces(lines: list[Line]) -> Iterator[list[Line]]:
    piece: list[Line] = []
    size = 0
    for line in lines:
        if piece and (len(piece) >= _PIECE or size + len(line.raw) > _PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line.raw)
    if piece:
        yield piece


def _is_accepted(queue: RunQueue, batch: str) -> bool:
    try:
        return queue.get_batch(batch).sealed
    except BatchNotFound:  # its jobs outlived it
        return True
