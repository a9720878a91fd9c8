"""What Skyvern's answers say about time: how long a run waited and ran, and the server's clock."""

from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple


class RunTimes(NamedTuple):
    """The times of a run that is over, each None where the answer does not say.

    Attributes:
        queued: seconds from its acceptance until it started.
        ran: seconds from its start to its end.
        steps: steps that it took.
    """

    queued: float | None = None
    ran: float | None = None
    steps: int | None = None


#: Of an answer that reports nothing.
NO_TIMES = RunTimes()


def run_times(run: Mapping[str, Any]) -> RunTimes:
    """Read the times of a run from its body. Never raises.

    Args:
        run: the answer of a GET, or a webhook.
    """
    started = _moment(run.get("started_at"))
    if started is None:
        return RunTimes(steps=_steps(run.get("step_count")))
    queued = _moment(run.get("queued_at")) or _moment(run.get("created_at"))
    return RunTimes(
        _between(queued, started),
        _between(started, _moment(run.get("finished_at"))),
        _steps(run.get("step_count")),
    )


def ended_ago(run: Mapping[str, Any], now: float | None) -> float | None:
    """Return how many seconds ago a run ended, by the server's clock; None = it is not reported.

    Args:
        run, now: as in `attempt_age`.
    """
    finished = _moment(run.get("finished_at"))
    return None if finished is None or now is None else now - _in_utc(finished).timestamp()


def attempt_age(run: Mapping[str, Any], now: float | None) -> float | None:
    """Return for how many seconds a run's current attempt has been going on.

    A workflow with a `retry_policy` makes further attempts within one run: `started_at` is then
    that of the current one, null until it has begun, and `next_attempt_at` when the next is due.
    So it is counted from the latest of these, also of those in `attempts`
    (`tests/real/test_run_ends.py`); a negative age is an attempt that is still to come.

    Args:
        run: the answer of a GET.
        now: the server's clock, unix seconds.

    Returns:
        None: no attempt has begun, or the answer does not say.
    """
    if now is None:
        return None
    attempts = run.get("attempts")
    shown = [run, *(attempts if isinstance(attempts, list) else ())]
    begun = [
        _in_utc(moment).timestamp()
        for one in shown
        if isinstance(one, Mapping)
        for moment in (_moment(one.get("started_at")), _moment(one.get("next_attempt_at")))
        if moment is not None
    ]
    return now - max(begun) if begun else None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _between(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    if (start.tzinfo is None) != (end.tzinfo is None):
        start, end = _in_utc(start), _in_utc(end)
    seconds = (end - start).total_seconds()
    return seconds if seconds >= 0 else None


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _steps(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000
    return int(value) if is_count else None  # type: ignore[call-overload]


# The server's clock, by which an old answer from a cache is recognised.

#: Seconds by which an answer may seem old and be fresh: `Date` has whole seconds, and the servers
#: behind one address have clocks of their own.
_TOLERANCE: Final = 5.0
#: Seconds by which a date confirms what is known, and for which that is believed unconfirmed: the
#: server's clock may have been set back.
_CONFIRMS: Final = 2.0
_BELIEVED: Final = 600.0


class ServerClock:
    """Knows how late it is at the server, at least.

    An answer that is dated before its own request was sent came from a cache (RFC 9111). A
    cache that says so sends `Age`, too; some do not.
    """

    def __init__(self) -> None:
        #: By how many seconds the server's clock is ahead of `monotonic`, at least.
        self._ahead = float("-inf")
        self._confirmed = float("-inf")

    def learn(self, date: float | None) -> None:
        """Take note of the date of an answer that was just read; None = it has none."""
        if date is None:
            return
        now = monotonic()
        ahead = date - now
        if now - self._confirmed > _BELIEVED:
            self._ahead = ahead
        if ahead >= self._ahead - _CONFIRMS:
            self._ahead = max(self._ahead, ahead)
            self._confirmed = now

    def age(self, date: float | None, sent: float) -> float:
        """Return for how many seconds an answer was in a cache, at least; 0 = it was not.

        Args:
            date: the answer's date (unix seconds); None = it has none.
            sent: when its request was sent (`monotonic` seconds).
        """
        behind = 0.0 if date is None else self._ahead + sent - date
        return behind if behind > _TOLERANCE else 0.0
