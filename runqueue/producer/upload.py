"""Checking an upload of any length while it is read: lines in, packets of jobs and bad lines out.

It knows nothing of files, of HTTP or of Redis. Memory is bounded by one block of lines.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import orjson

from runqueue.errors import FieldError, InvalidJob
from runqueue.ids import DEFAULT
from runqueue.producer.chunks import Handed, Packet, check, placed
from runqueue.producer.dedup import KeyedLine, Repeats
from runqueue.request.job_options import RECORDED, When
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES, JobSpec, parse_line
from runqueue.request.requests import RunRequest
from runqueue.request.time_range import from_microseconds
from runqueue.store import job_calls

#: Bytes of a line: more cannot hold a body that is accepted, see `job_spec.py`.
MAX_LINE = 8 * MAX_PAYLOAD_BYTES
#: Bad lines, or lines in conflict, that are reported of one upload.
MOST_REPORTED = 100
#: Lines, and bytes of them, that are checked before their packets are sent.
BLOCK, BLOCK_BYTES = job_calls.CHUNK, 4 * 1024 * 1024


def read_line(raw: bytes, account: str = DEFAULT) -> JobSpec:
    """Check one job.

    Args:
        raw: the job, as a line of a batch file.
        account: whose it is if it does not say so itself.

    Raises:
        InvalidJob: it names every field at fault.
    """
    try:
        return parse_line(raw, account)
    except RecursionError:
        raise InvalidJob([FieldError("line", "expected JSON, got deeper nesting")]) from None


class BadLine(NamedTuple):
    """One reason why a line is not accepted."""

    number: int
    field: str
    message: str


class _Good(NamedTuple):
    number: int
    account: str
    kind: str
    key: str | None
    encoded: job_calls.EncodedJob


@dataclass(slots=True)
class Block:
    """Some lines of an upload, checked.

    Args:
        packets: the jobs, by account; their positions are the lines' numbers.
        bad: why the other lines are bad, in their order.
    """

    packets: list[Packet]
    bad: list[BadLine]


@dataclass(slots=True)
class Checker:
    """Checks the lines of one upload; a job that is in it twice is there once.

    Args:
        repeats: remembers what was seen.
        namespace: the namespace of lines that name none.
        accounts: those that jobs are taken for; None = of any.
        account: the one account of all lines, and of those that name none; None = each names its
            own, or is of `default`.
        traceparent: the trace of jobs that name none themselves; '' = none.
        jobs: how many jobs of an account were found.
        kinds: how many of each kind of request.
        bad_lines: how many lines cannot be accepted.
        repeated: how many lines repeat an earlier line's job.
        without_id: how many have no custom_id: enqueued again they are new jobs.
        home: the account of lines that name none.
    """

    repeats: Repeats
    namespace: str = ""
    accounts: Container[str] | None = None
    account: str | None = None
    traceparent: str = ""
    jobs: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0
    repeated: int = 0
    without_id: int = 0
    home: str = DEFAULT
    _good: list[_Good] = field(default_factory=list)
    _bad: list[BadLine] = field(default_factory=list)
    _lines: int = 0
    _bytes: int = 0

    def take(self, number: int, raw: bytes) -> Block | None:
        """Check one line; returns what gathered, once that is a block.

        Args:
            number: the line's, as people count.
            raw: the line; not blank.
        """
        try:
            spec = self._checked(raw)
        except InvalidJob as error:
            return self.refuse(number, error.errors)
        encoded = job_calls.encode_job(spec, self.traceparent)
        self._good.append(_Good(number, spec.account, spec.kind, spec.custom_id, encoded))
        return self._grown(encoded.size)

    def refuse(self, number: int, errors: list[FieldError]) -> Block | None:
        """Note a line that cannot even be read; otherwise as `take`."""
        self.bad_lines += 1
        self._bad += (BadLine(number, fault.field, fault.message) for fault in errors)
        return self._grown(0)

    def end(self) -> Block:
        """Return what has gathered since the last block."""
        self._refuse_repeats()
        block = Block(self._packets(), sorted(self._bad, key=lambda line: line.number))
        self._good, self._bad, self._lines, self._bytes = [], [], 0, 0
        return block

    def blocks(self, lines: Iterable[bytes]) -> Iterator[Block]:
        """Check lines, and yield what gathers."""
        for number, raw in enumerate(lines, 1):
            if raw.strip() and (block := self.take(number, raw)):
                yield block
        yield self.end()

    def _grown(self, size: int) -> Block | None:
        self._lines += 1
        self._bytes += size
        return self.end() if self._lines >= BLOCK or self._bytes >= BLOCK_BYTES else None

    def _checked(self, raw: bytes) -> JobSpec:
        spec = read_line(raw, self.account or self.home)
        spec.namespace = spec.namespace or self.namespace
        if self.account is not None and spec.account != self.account:
            said = f"expected {self.account!r}, the batch's account, or none, got {spec.account!r}"
            raise InvalidJob([FieldError("account", said)])
        if self.accounts is not None and spec.account not in self.accounts:
            said = f"unknown account {spec.account!r}: no worker has served it yet"
            raise InvalidJob([FieldError("account", f"{said} (docs/settings.md)")])
        return spec

    def _refuse_repeats(self) -> None:
        """Take the lines out that name an earlier line's job; another body is a fault."""
        repeats = self.repeats.remember(
            [
                KeyedLine(line.encoded.job_id, line.encoded.digest, line.number)
                for line in self._good
                if line.key is not None
            ]
        )
        if not repeats:
            return
        for line in self._good:
            first = repeats.get(line.number)
            if first is None:
                continue
            if first.digest == line.encoded.digest:
                self.repeated += 1
                continue
            self.bad_lines += 1
            said = f"{line.key!r} names another job at line {first.number}, with another body"
            self._bad.append(BadLine(line.number, "custom_id", said))
        self._good = [line for line in self._good if line.number not in repeats]

    def _packets(self) -> list[Packet]:
        filling: dict[str, Packet] = {}
        full: list[Packet] = []
        for line in self._good:
            packet = filling.get(line.account)
            if packet is None:
                packet = Packet(line.account, traceparent=self.traceparent)
                filling[line.account] = packet
            packet.put(line.number, line.key, line.encoded)
            if packet.is_full:
                full.append(filling.pop(line.account))
            self.jobs[line.account] += 1
            self.kinds[line.kind] += 1
            self.without_id += line.key is None
        return [*full, *filling.values()]


def line_of(spec: JobSpec) -> bytes:
    """Return a checked job as a line of a batch file."""
    line: dict[str, Any] = {
        "custom_id": spec.custom_id,
        "kind": spec.kind,
        "body": orjson.Fragment(spec.canonical),
        "priority": spec.priority.name.lower(),
        "group": spec.group,
        "run_at": _when(spec.run_at),
        "deadline": _when(spec.deadline),
        "account": spec.account,
        "namespace": spec.namespace,
        **{name: getattr(spec, name) for name in RECORDED},
        "metadata": orjson.Fragment(spec.metadata) if spec.metadata else None,
        "traceparent": spec.traceparent,
        "max_run_seconds": spec.max_run_seconds,
        "keys": spec.keys or None,
    }
    if spec.retry is not None:
        retry = spec.retry
        line["retry"] = {one.name: getattr(retry, one.name) for one in fields(retry)}
    return orjson.dumps({name: value for name, value in line.items() if value not in (None, "")})


def _when(when: When | None) -> float | str | None:
    if when is None:
        return None
    if when.relative:
        return when.microseconds / 1e6
    return from_microseconds(when.microseconds).isoformat()


def as_line(job: Handed, number: int) -> bytes:
    """Return a job as a line of the upload; the gateway checks what is in it.

    Args:
        job: as `enqueue_many` takes it.
        number: the line's, from 1.

    Raises:
        InvalidJob: JSON cannot carry it, or a fault is found while it is sent.
    """
    if isinstance(job, str):
        job = job.encode(errors="surrogatepass")  # half a pair is no JSON, as the gateway says
    if isinstance(job, bytes):
        line = job.strip()
        return _on_one_line(line) if b"\n" in line else line
    if isinstance(job, Mapping):
        with suppress(orjson.JSONEncodeError):
            return orjson.dumps(job)
    try:
        spec = check(job)
    except InvalidJob as error:
        raise placed(error, f"line {number}: ") from None
    if isinstance(job, RunRequest):  # it names no account: that of the upload is meant
        return orjson.dumps({"kind": spec.kind, "body": orjson.Fragment(spec.canonical)})
    return line_of(spec)


def _on_one_line(text: bytes) -> bytes:
    """Return JSON that is spread over several lines as one; what is no JSON stays one bad line."""
    try:
        return orjson.dumps(orjson.loads(text))
    except ValueError:
        return text.replace(b"\n", b" ")
