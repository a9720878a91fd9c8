"""Handing a file in over HTTP: checked here, sent as it is read, accepted at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Protocol

from runqueue.cli.follow.job_id_store import JobList
from runqueue.cli.results.live_file import Results
from runqueue.cli.shared.result_lines import ResultLine
from runqueue.cli.submit.batch_upload import Conflict, HandedIn, KnownIn
from runqueue.cli.submit.input_lines import Row, Source, Unreadable
from runqueue.cli.submit.line_checker import CheckedInput
from runqueue.cli.submit.submit_file import Wish, read
from runqueue.producer.chunks import Packet
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch, BatchRules, JobPage
from runqueue.records.job import JobState

if TYPE_CHECKING:
    from runqueue.remote.upload import Uploaded


class Gateway(Protocol):
    """What is asked of a gateway."""

    def accounts(self) -> list[str]:
        """Return the names of the accounts that the token is for."""

    def home(self) -> str:
        """Return the account of what names none."""

    def stats(self) -> dict[str, AccountStats]:
        """Read the figures of every account."""

    def get_batch(self, batch: str) -> Batch:
        """Read a batch."""

    def list_jobs(
        self,
        state: JobState | str | None = None,
        *,
        account: str = "default",
        cursor: str = "",
        limit: int = 100,
    ) -> JobPage:
        """Read a page of jobs."""

    def lines(self, batch: str, *, errors: bool, after: str | None) -> Iterator[list[ResultLine]]:
        """Go through the ended jobs of a batch."""

    def upload(
        self,
        lines: Iterator[bytes],
        *,
        name: str,
        account: str,
        namespace: str,
        skip_invalid: bool,
        rules: BatchRules,
    ) -> Uploaded:
        """Hand in a batch of any length."""


class _LineRefused(Exception):  # noqa: N818 - it ends the sending
    """A line is bad: the upload breaks off, and the gateway gives it up."""


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
    """The good lines of a file, each where it stands in it: a gap becomes blank lines.

    Args:
        found: the file, as it is read and checked.
        passing: its rows.
        skip_invalid: whether bad lines are passed over.
    """

    def __init__(self, found: CheckedInput, passing: _Passing, *, skip_invalid: bool) -> None:
        #: Whose the jobs are; known with the first line.
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
        """Read on, so that all that is bad is told."""
        for _ in self._blocks:
            self._passing.take()


class FarQueue:
    """A gateway in the place of a queue, for a file that is handed in and followed.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.accounts, self.stats = gateway.accounts, gateway.stats
        self.get_batch, self.list_jobs = gateway.get_batch, gateway.list_jobs
        self._gateway = gateway
        #: When a job was first seen to be unconfirmed.
        self._since: dict[str, float] = {}

    def hand_in(
        self, source: Source, wish: Wish, jobs: JobList, *, keep_all: bool
    ) -> tuple[CheckedInput, HandedIn | None]:
        """Hand in a file; as `handing.hand_in`.

        Nobody says in which batches jobs were known, so `jobs` takes none.
        """
        del jobs, keep_all
        passing = _Passing(source.rows)
        rows = replace(source, rows=iter(passing))
        known, home = set(self.accounts()), self._gateway.home()
        with read(rows, wish.namespace, known, home=home) as found:
            sending = _Sending(found, passing, skip_invalid=wish.skip_invalid)
            try:
                return found, self._upload(sending, wish)
            except _LineRefused:
                sending.check_rest()
                return found, None

    def _upload(self, sending: _Sending, wish: Wish) -> HandedIn:
        lines = iter(sending)
        first = next(lines, None)
        if first is None:
            return HandedIn()
        taken = self._gateway.upload(
            chain([first], lines),
            name=wish.name,
            account=sending.account,
            namespace=wish.namespace,
            skip_invalid=wish.skip_invalid,
            rules=wish.rules,
        )
        return self._handed(sending.account, taken)

    def _handed(self, account: str, taken: Uploaded) -> HandedIn:
        handed = HandedIn(conflicts=taken.conflict, warnings=taken.warnings)
        handed.shown_conflicts = [
            Conflict(one.line, one.custom_id or "", one.job_id, one.error)
            for one in taken.conflicts
        ]
        batch = taken.batch_id
        if taken.is_new and batch:
            handed.batches[account] = batch
            handed.new[batch] = taken.new
        if taken.known:
            where = None if taken.is_new else batch
            since = self.get_batch(where).created_at if where else None
            handed.known[where or ""] = KnownIn(taken.known, since)
        return handed

    def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Return for how long jobs were seen to be unconfirmed."""
        now = time.monotonic()
        return [
            (JobState.UNCONFIRMED, now - self._since.setdefault(job_id, now)) for job_id in job_ids
        ]

    def write_results(self, batches: Mapping[str, int], results: Results) -> None:
        """Write the rows of batches that are over, in the order of the file."""
        for batch in batches:
            for lines in self._gateway.lines(batch, errors=False, after=None):
                results.append([line.text for line in lines])
