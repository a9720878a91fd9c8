"""Submitting a file over HTTP: checked here, sent as it is read, accepted at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

from runqueue.cli.shared.queues import home_of
from runqueue.cli.submit.input_lines import Row, Source, Unreadable
from runqueue.cli.submit.line_checker import CheckedInput
from runqueue.cli.submit.submit_file import UploadOptions, read
from runqueue.producer.chunks import Packet
from runqueue.producer.upload_report import KnownIn, UploadReport

if TYPE_CHECKING:
    from runqueue.remote.queue import RemoteQueue


class _LineRefused(Exception):  # noqa: N818 - it ends the sending
    """A line is bad: the upload is aborted, and the gateway discards it."""


class _Passing:
    """The rows of a source, kept until they are known to be good.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._passed: list[tuple[int, bytes]] = []

    def __iter__(self) -> Iterator[Row]:
        for number, row in self._rows:
            if isinstance(row, bytes):
                self._passed.append((number, row))
            yield number, row

    def take(self) -> list[tuple[int, bytes]]:
        """Return what has passed since the last call."""
        passed, self._passed = self._passed, []
        return passed


class _Sending:
    """The good lines of a file, each under its number: a gap becomes blank lines.

    Args:
        found: the file, as it is read and checked.
        passing: its rows.
        skip_invalid: whether bad lines are skipped.
    """

    def __init__(self, found: CheckedInput, passing: _Passing, *, skip_invalid: bool) -> None:
        #: The account of the jobs; known with the first line.
        self.account = ""
        self._found = found
        self._blocks = found.packets()
        self._passing = passing
        self._skip_invalid = skip_invalid

    def __iter__(self) -> Iterator[bytes]:
        last = 0
        for packets in self._blocks:
            if self._found.checker.bad_lines and not self._skip_invalid:
                raise _LineRefused
            good = self._good(packets)
            for number, raw in self._passing.take():
                if number in good:
                    yield from repeat(b"", number - last - 1)
                    yield raw
                    last = number

    def _good(self, packets: list[Packet]) -> set[int]:
        """Return the numbers of the good lines."""
        for packet in packets:
            self.account = self.account or packet.account
            if packet.account != self.account:
                said = f"expected account {self.account!r}, as before: a gateway takes one a file"
                number = packet.positions[0]
                self._found.step.say(f"{self._found.source.name}:{number}: account: {said}")
                raise Unreadable(number, said)
        return {number for packet in packets for number in packet.positions}

    def check_rest(self) -> None:
        """Read on, so that every bad line is reported."""
        for _ in self._blocks:
            self._passing.take()


def submit_remotely(
    queue: RemoteQueue, source: Source, options: UploadOptions
) -> tuple[CheckedInput, UploadReport | None]:
    """Submit a file over HTTP; as `submit_file.submit_file`.

    The gateway does not report the batches of known jobs.
    """
    passing = _Passing(source.rows)
    rows = replace(source, rows=iter(passing))
    with read(rows, options.namespace, set(queue.accounts()), home=home_of(queue)) as found:
        sending = _Sending(found, passing, skip_invalid=options.skip_invalid)
        try:
            return found, _upload(queue, sending, options)
        except _LineRefused:
            sending.check_rest()
            return found, None


def _upload(queue: RemoteQueue, sending: _Sending, options: UploadOptions) -> UploadReport:
    lines = iter(sending)
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
    )
    outcome = UploadReport(conflicts=taken.conflict, warnings=taken.warnings)
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
