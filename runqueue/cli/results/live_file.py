"""The results file: one line of JSON for each job, as the jobs end."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from runqueue.cli.follow.batch_counts import GONE
from runqueue.cli.results.line_file import LineFile, busy_words, side_of
from runqueue.producer.queue import RunQueue


class ResultsError(Exception):
    """The results file cannot be written; the jobs go on."""

    def __init__(self, path: Path, reason: OSError | str) -> None:
        why = reason if isinstance(reason, str) else reason.strerror or reason
        super().__init__(f"cannot write results to {path}: {why}")


class Results:
    """Rows go to `<path>.part`, in whole lines; the file is renamed when all are there.

    A path that is no plain file (a pipe, /dev/stdout) is written to as it is; of a link, the file
    it points to is replaced.

    Args:
        path: the results file; one that exists is replaced, at the end.

    Raises (from every method): `ResultsError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failed = False
        # The target of /dev/stdout belongs to the process that opened it, even a plain file.
        special = path.parts[:2] == ("/", "dev") or (path.exists() and not path.is_file())
        target = path if special else path.resolve()
        self._target = target
        self.part = target if special else target.with_name(f"{target.name}.part")
        try:
            self._file = LineFile(self.part, as_it_is=special)
            if not special:
                # `runqueue results` may have left this; it would append to these rows.
                side_of(self.part).unlink(missing_ok=True)
            self._file.cut(0, 0)
        except BlockingIOError:
            raise ResultsError(path, busy_words(self.part)) from None
        except OSError as error:
            raise ResultsError(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError as error:
            # After an error, this is the same one again.
            if exc is None and not self._failed:
                raise ResultsError(self.path, error) from None

    def write(self, queue: RunQueue, job_ids: Sequence[str]) -> None:
        """Write the rows of some jobs; if they cannot be read, none."""
        rows = [
            job.as_row() if job else {"job_id": job_id, "state": GONE}
            for job_id, job in zip(job_ids, queue.get_many(job_ids), strict=True)
        ]
        self.append([orjson.dumps(row) + b"\n" for row in rows])

    def finish(self) -> None:
        """Give the file its name, once it is safe on the disk."""
        try:
            if self.part != self._target:
                self._file.sync()
                self.part.replace(self._target)
        except OSError as error:
            raise ResultsError(self.path, error) from None

    def append(self, lines: Sequence[bytes]) -> None:
        """Write whole lines; if the disk is full, none is left half written."""
        try:
            self._file.append(lines)
        except OSError as error:
            self._failed = True
            raise ResultsError(self.path, error) from None
