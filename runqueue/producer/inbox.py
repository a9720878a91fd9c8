"""Lines whose producer gets no answer: pushed to an inbox, or sent in a Celery message.

What is wrong with one cannot be reported to its producer, so it is kept beside the line, in the
account's list `inbox:invalid`, for an operator (`runqueue inbox`). Such a line may come twice
(a worker dies between making the job and forgetting the line), so one without a custom_id gets a
key that it has again when it comes again.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from runqueue.errors import FieldError, IdempotencyConflict, InvalidJob
from runqueue.producer.chunks import Packet
from runqueue.records.job import Enqueued, EnqueueStatus, moment
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES, JobSpec, parse_line

#: Characters of a Celery task's id beyond which it is called by a digest.
MAX_TASK_ID = 200
#: Characters of a line beyond which only its beginning is kept: no job has that many.
_MAX_CHARS = 8 * MAX_PAYLOAD_BYTES
_BEGINNING = 1000


class InboxLine(NamedTuple):
    """A line as it came.

    Args:
        raw: an object, or JSON text.
        key: its custom_id, if it has none itself.
    """

    raw: Any
    key: str


@dataclass(slots=True)
class Checked:
    """Lines after the check: packets of jobs to enqueue, and what is wrong with the others.

    Args:
        refused: the errors of a line, by its position.
    """

    lines: Sequence[InboxLine] = field(repr=False)
    namespace: str
    packets: list[Packet] = field(default_factory=list)
    refused: dict[int, list[FieldError]] = field(default_factory=dict)

    def learn(self, packet: Packet, answers: list[Enqueued]) -> None:
        """Take note of the lines whose keys or files were used before for others."""
        for position, answer in zip(packet.positions, answers, strict=True):
            if answer.fault is not None:
                self.refused[position] = [answer.fault]
            elif answer.status is EnqueueStatus.CONFLICT:
                conflict = IdempotencyConflict(answer.custom_id or "", answer.job_id)
                self.refused[position] = [FieldError("custom_id", str(conflict))]

    def kept(self, position: int, at_us: int) -> bytes:
        """Return what is kept of a refused line.

        Args:
            position: the line's.
            at_us: the time, microseconds since 1970.
        """
        raw, key = self.lines[position]
        text, at = _text(raw), moment(at_us)
        record: dict[str, Any] = {
            "line": text,
            "error": [{"field": e.field, "message": e.message} for e in self.refused[position]],
            "at": at.isoformat(timespec="seconds") if at else "",
            "key": key,
            "namespace": self.namespace,
        }
        if len(text) > _MAX_CHARS:
            record |= {"line": text[:_BEGINNING], "cut": True}
        # The standard library's: bytes that are no UTF-8 are kept as halves of surrogate pairs.
        return json.dumps(record).encode()


def inbox_key(account: str, number: str, line: bytes) -> str:
    """Return the key of a line of an account's inbox.

    The digest keeps two lines apart to which a Redis that lost writes gave the same number.
    """
    return f"{account}-{number}-{blake2b(line, digest_size=8).hexdigest()}"


def message_name(task_id: str) -> str:
    """Return what a Celery message is called, whatever its producer called the task."""
    if 0 < len(task_id) <= MAX_TASK_ID and task_id.isprintable():
        return task_id
    return blake2b(task_id.encode(errors="replace"), digest_size=16).hexdigest()


def celery_key(task_id: str, index: int) -> str:
    """Return the key of a line of a Celery message."""
    return f"{message_name(task_id)}-{index}"


def not_before(raw: Any, run_at: str) -> Any:
    """Return a line with a `run_at`, unless it has a time of its own or cannot be read.

    Args:
        raw: an object, or JSON text.
        run_at: ISO 8601 with a zone.
    """
    if isinstance(raw, Mapping):
        has_own = any(raw.get(name) is not None for name in ("run_at", "delay"))
        return raw if has_own else {**raw, "run_at": run_at}
    try:
        has_own = parse_line(raw).run_at is not None
    except Exception:  # noqa: BLE001 - `check_lines` says what is wrong with it
        return raw
    # Text stays text: parsed and written again it might hold other numbers.
    line = raw.encode() if isinstance(raw, str) else bytes(raw)
    return raw if has_own else line.rstrip()[:-1] + b"," + orjson.dumps({"run_at": run_at})[1:]


def check_lines(
    lines: Sequence[InboxLine],
    namespace: str,
    accounts: Collection[str],
    *,
    default: str = "default",
    other_account: str = "unknown account",
) -> Checked:
    """Check lines; never raises for what is in one.

    Args:
        lines: the lines.
        namespace: where those without a custom_id get theirs.
        accounts: those that a line may name.
        default: the account of a line that names none.
        other_account: what is said of a line that names another.
    """
    checked = Checked(lines, namespace)
    filling: dict[str, Packet] = {}
    for position, line in enumerate(lines):
        try:
            spec = _spec(line, namespace, default)
        except InvalidJob as error:
            checked.refused[position] = error.errors
            continue
        except Exception as error:  # noqa: BLE001 - one line that we misread must not hold up the rest
            said = f"it cannot be read ({type(error).__name__})"
            checked.refused[position] = [FieldError("line", said)]
            continue
        if spec.account not in accounts:
            said = f"{other_account} {spec.account!r}"
            checked.refused[position] = [FieldError("account", said)]
            continue
        packet = filling.setdefault(spec.account, Packet(spec.account))
        packet.add(position, spec)
        if packet.is_full:
            checked.packets.append(filling.pop(spec.account))
    checked.packets += filling.values()
    return checked


def _spec(line: InboxLine, namespace: str, default: str) -> JobSpec:
    spec = parse_line(line.raw, default)
    if spec.custom_id is not None:
        return spec
    return replace(spec, custom_id=line.key, namespace=namespace)


def _text(raw: Any) -> str:
    """Return a line as text that gives its bytes back (see `refused_lines.line_again`)."""
    if isinstance(raw, bytes):
        return raw.decode(errors="surrogateescape")
    if isinstance(raw, str):
        return raw
    try:
        return json.dumps(raw, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, or one too many levels
        return repr(raw)
