"""Reading a batch file: every line checked, before anything is handed in."""

import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from runqueue import wire
from runqueue.calls import job_id_of
from runqueue.errors import FieldError, InvalidJob
from runqueue.spec import JobSpec, parse_line

_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that passed every check; kept as it came, since bytes cost the least memory.

    Args:
        job_id: the id its custom_id stands for; None without one.
    """

    number: int
    raw: bytes
    custom_id: str | None
    job_id: str | None


class BadLine(NamedTuple):
    """One reason why a line is not accepted."""

    number: int
    field: str
    message: str


@dataclass(slots=True)
class Checked:
    """A whole file, checked.

    Args:
        name: the file's name, as messages show it.
        namespace: the namespace of lines that name none.
        accounts: the good lines by account; a job that stands in the file twice is there once.
        bad: why the other lines are bad.
        repeated: lines that repeat an earlier line's job.
    """

    name: str
    namespace: str = ""
    accounts: dict[str, list[Line]] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    repeated: int = 0

    @property
    def jobs(self) -> int:
        """How many jobs the file names."""
        return sum(map(len, self.accounts.values()))

    @property
    def bad_lines(self) -> int:
        """How many lines are not accepted."""
        return len({line.number for line in self.bad})

    @property
    def without_id(self) -> int:
        """How many lines have no custom_id: handed in again they are new jobs."""
        return sum(line.job_id is None for lines in self.accounts.values() for line in lines)

    def specs(self, lines: Iterable[Line]) -> Iterator[JobSpec]:
        """Yield lines as jobs."""
        return (_spec(line.raw, self.namespace) for line in lines)

    def refuse_accounts(self, known: Collection[str]) -> None:
        """Move the lines of accounts that nobody serves to the bad ones."""
        for account in sorted(self.accounts.keys() - set(known)):
            said = f"unknown account {account!r}: no worker has served it yet (README: Settings)"
            self.bad += (
                BadLine(line.number, "account", said) for line in self.accounts.pop(account)
            )
        self.bad.sort()


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open a batch file; `-` is stdin."""
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def check(name: str, lines: Iterable[bytes], namespace: str = "") -> Checked:
    """Check every line of a file.

    Args:
        name: the file's name, for messages.
        lines: its lines; blank ones are skipped.
        namespace: the namespace of lines that name none.
    """
    checked = Checked(name, namespace)
    seen: dict[str, tuple[bytes, int]] = {}
    for number, text in enumerate(lines, start=1):
        raw = (text.removeprefix(_BOM) if number == 1 else text).strip()
        if not raw:
            continue
        try:
            spec = _spec(raw, namespace)
            job_id = None if spec.custom_id is None else job_id_of(spec)
            if job_id is not None and not _is_first(job_id, spec, number, seen):
                checked.repeated += 1
                continue
        except InvalidJob as error:
            checked.bad += (BadLine(number, fault.field, fault.message) for fault in error.errors)
            continue
        kept = checked.accounts.setdefault(spec.account, [])
        kept.append(Line(number, raw, spec.custom_id, job_id))
    return checked


def _spec(raw: bytes, namespace: str) -> JobSpec:
    spec = parse_line(raw)
    spec.namespace = spec.namespace or namespace
    return spec


def _is_first(job_id: str, spec: JobSpec, number: int, seen: dict[str, tuple[bytes, int]]) -> bool:
    """Tell whether no earlier line has this job.

    Raises:
        InvalidJob: one has its key, with another body.
    """
    digest, _ = wire.pack(spec)
    earlier, first = seen.setdefault(job_id, (digest, number))
    if earlier != digest:
        said = f"{spec.custom_id!r} names another job at line {first}, with another body"
        raise InvalidJob([FieldError("custom_id", said)])
    return first == number
