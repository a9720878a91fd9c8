"""Submitting a file over HTTP: checked here, sent as it is read, accepted at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

from runqueue.cli.shared.input_lines import Row, Source, Unreadable
from runqueue.cli.shared.queues import home_of
from runqueue.cli.submit.line_checker import CheckedInput, read
from runqueue.cli.submit.submit_file import UploadOptions
from runqueue.producer.chunks import Packet
from runqueue.producer.upload_report import KnownIn, UploadReport

if TYPE_CHECKING:
    from runqueue.remote.queue import RemoteQueue


class _LineRefused(Exception):  # noqa: N818 - it ends the sending
    """A line is bad: the upload is aborted, and the gateway discards it."""


class _Sending:
    """The good lines of a file, each under its number: a gap becomes blank lines.

    Args:
        source: the file.
        skip_invalid: whether bad lines are skipped.
    """

    def __init__(self, source: Source, *, skip_invalid: bool) -> None:
        #: The account of the jobs; known with the first line.
        self.account = ""
        self._rows = source.rows
        self._skip_invalid = skip_invalid
        #: The lines that were read and not sent yet, by their numbers.
        self._read: dict[int, bytes] = {}

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the source, and keep the lines among them."""
        for number, row in self._rows:
            if isinstance(row, bytes):
                self._read[number] = row
            yield number, row

    def lines(self, found: CheckedInput) -> Iterator[bytes]:
        """Yield the lines of the file as it is checked."""
        last, blocks = 0, found.packets()
        for packets in blocks:
            if found.checker.bad_lines and not self._skip_invalid:
                for _ in blocks:  # so that every bad line is reported
                    self._read.clear()
                raise _LineRefused
            self._check_account(found, packets)
            for number in sorted(number for packet in packets for number in packet.positions):
                yield from repeat(b"", number - last - 1)
                yield self._read[number]
                last = number
            self._read.clear()

    def _check_account(self, found: CheckedInput, packets: list[Packet]) -> None:
        for packet in packets:
            self.account = self.account or packet.account
            if packet.account != self.account:
                said = f"expected account {self.account!r}, as before: a gateway takes one a file"
                number = packet.positions[0]
                found.step.say(f"{found.source.name}:{number}: account: {said}")
                raise Unreadable(number, said)


def submit_remotely(
    queue: RemoteQueue, source: Source, options: UploadOptions
) -> tuple[CheckedInput, UploadReport | None]:
    """Submit a file over HTTP; as `submit_file.submit_file`.

    The gateway does not report the batches of known jobs.
    """
    sending = _Sending(source, skip_invalid=options.skip_invalid)
    rows = replace(source, rows=sending.rows())
    with read(rows, options.namespace, set(queue.accounts()), home=home_of(queue)) as found:
        try:
            return found, _upload(queue, sending, sending.lines(found), options)
        except _LineRefused:
            return found, None


def _upload(
    queue: RemoteQueue, sending: _Sending, lines: Iterator[bytes], options: UploadOptions
) -> UploadReport:
    first = next(lines, None)
    if first is None:
        return UploadReport()
    taken = queue.upload(
        chain([first], lines),
        name=options.name,
        account=sending.account,
        namespace=options.namespace,
        skip_invalid=options.skip_invalid,
        rules=options.rules,
        metadata=options.metadata,
    )
    outcome = UploadReport(conflicts=taken.conflict)
    outcome.shown_conflicts = [
        one._replace(custom_id=one.custom_id or "") for one in taken.conflicts
    ]
    batch = taken.batch_id
    if taken.is_new and batch:
        outcome.batches[sending.account] = batch
        outcome.new[batch] = taken.new
    if taken.known:
        where = None if taken.is_new else batch
        since = queue.get_batch(where).created_at if where else None
        outcome.known[where or ""] = KnownIn(taken.known, since)
    return outcome
