"""Celery by name: lines of jobs in a message that any Celery app may send.

The message is acknowledged once its jobs are in the queue. One that comes twice, since a worker
died over it, makes no second job: each line has a key. One that cannot be accepted now waits, and
goes back after a while, so that neither a thread nor the message is held for long.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import structlog

from runqueue import RunQueue
from runqueue.connection.redis_errors import damage_of
from runqueue.errors import QuotaReached
from runqueue.ids import DEFAULT
from runqueue.producer.chunks import Packet
from runqueue.producer.inbox import (
    Checked,
    InboxLine,
    celery_key,
    check_lines,
    message_name,
    not_before,
)
from runqueue.store.inbox_calls import CELERY, inbox_done
from runqueue.store.job_calls import CHUNK
from runqueue.tracing import continuing

log = structlog.get_logger()

T = TypeVar("T")

#: Seconds that a message is tried for before it goes back to the broker. Below the time after which
#: the broker hands an unacknowledged message to another worker (worker/app.py).
PATIENCE_SECONDS = 20.0
#: Seconds between two tries.
PAUSE_SECONDS = 1.0
#: Seconds that a message holds its thread where keys of its account are damaged, or its quota is
#: reached: thousands may be ahead of one for another account. The pause is made when one comes
#: round again.
PASSING_SECONDS = 0.05
#: Such messages that are remembered since the last pause.
MOST_PASSED = 50_000
#: Where lines without a custom_id get one.
NAMESPACE = CELERY


class NotNow(Exception):  # noqa: N818 - no error of the message's
    """The queue took not all of it: the message has to come again."""


class Intake:
    """Enqueues what Celery messages bring; called from pool threads.

    Args:
        url: the queue's Redis.
        stopping: set when the worker ends.
    """

    def __init__(self, url: str, stopping: threading.Event) -> None:
        self._queue = RunQueue(url)
        self._stopping = stopping
        self._passed: set[str] = set()

    def close(self) -> None:
        """Close the connections."""
        self._queue.close()

    def accept(
        self,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        traceparent: str | None = None,
        run_at: object = None,
    ) -> None:
        """Enqueue the lines of one message; what is wrong with one is kept with it.

        Args:
            task_id: the message's.
            args, kwargs: its arguments: one list of lines.
            traceparent: that of the message, for lines that name none themselves.
            run_at: the message's ETA (ISO 8601, UTC unless it has a zone), for such lines too.

        Raises:
            NotNow: some of them are not in the queue.
        """
        task_id = message_name(task_id)
        give_up = time.monotonic() + PATIENCE_SECONDS
        raw = _lines_of(args, kwargs)
        if run_at is not None:
            eta = _with_zone(str(run_at))
            raw = [not_before(line, eta) for line in raw]
        lines = [InboxLine(line, celery_key(task_id, n)) for n, line in enumerate(raw)]
        refused = 0
        for start in range(0, len(lines), CHUNK):
            some = lines[start : start + CHUNK]
            with continuing(traceparent):
                refused += self._patiently(partial(self._enqueue_lines, some), task_id, give_up)
        if refused:
            log.warning("lines_refused", task_id=task_id, lines=refused)

    def _enqueue_lines(self, lines: Sequence[InboxLine]) -> int:
        known = self._queue.accounts()
        checked = check_lines(lines, NAMESPACE, known)
        stopped: Exception | None = None
        for packet in checked.packets:
            try:
                self._send(checked, packet)
            except Exception as error:
                if not _is_of_one_account(error):
                    raise
                stopped = error  # the lines of other accounts need not wait for this one
        if stopped is not None:
            raise stopped
        self._refuse(checked, known)
        return len(checked.refused)

    def _send(self, checked: Checked, packet: Packet) -> None:
        """Enqueue a packet; where it is more than may wait, as much of it as may."""
        try:
            checked.learn(packet, self._queue.send(packet.call(None)))
        except QuotaReached:
            count = len(packet.positions)
            if count == 1:
                raise
            for half in packet.cut((count + 1) // 2):
                self._send(checked, half)

    def _refuse(self, checked: Checked, known: Sequence[str]) -> None:
        """Keep what was refused, with the account that it names, else with `default`."""
        by_account: dict[str, list[tuple[str, bytes]]] = {}
        at_us = time.time_ns() // 1000
        for position in sorted(checked.refused):
            raw = checked.lines[position].raw
            account = raw.get("account") if isinstance(raw, Mapping) else None
            owner = account if isinstance(account, str) and account in known else DEFAULT
            by_account.setdefault(owner, []).append(("", checked.kept(position, at_us)))
        for account, some in by_account.items():
            self._queue.send(inbox_done(account, some))

    def _patiently(self, act: Callable[[], T], task_id: str, give_up: float) -> T:
        """Act, again and again while the queue is away or full."""
        while True:
            if self._stopping.is_set():
                raise NotNow
            try:
                return act()
            except Exception as error:  # whatever it is, the message must not be lost
                log.warning("message_waits", task_id=task_id, error=str(error))
                is_of_one = _is_of_one_account(error)
                if is_of_one:  # it stays, and messages for other accounts need the thread
                    self._stopping.wait(self._pass(task_id))
                if is_of_one or time.monotonic() > give_up:
                    raise NotNow from error
            self._stopping.wait(PAUSE_SECONDS)

    def _pass(self, task_id: str) -> float:
        """Return how long a message waits that goes back for the sake of one account."""
        if task_id not in self._passed and len(self._passed) < MOST_PASSED:
            self._passed.add(task_id)
            return PASSING_SECONDS
        self._passed = {task_id}
        return PAUSE_SECONDS


def _is_of_one_account(error: Exception) -> bool:
    """Say whether an error keeps back one account alone: damaged keys, or a quota."""
    return isinstance(error, QuotaReached) or damage_of(error) is not None


def _with_zone(eta: str) -> str:
    """Return a time with its zone; what is no time stays as it is, and is refused with its line."""
    try:
        found = datetime.fromisoformat(eta)
    except ValueError:
        return eta
    return eta if found.tzinfo else found.replace(tzinfo=UTC).isoformat()


def _lines_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
    """Return the lines in a message's arguments; anything else is one line, and refused."""
    given = [*args, *kwargs.values()] if kwargs.keys() <= {"lines"} else []
    if len(given) != 1:
        return [{"args": list(args), "kwargs": dict(kwargs)}]
    (lines,) = given
    return lines if isinstance(lines, list | tuple) else [lines]
