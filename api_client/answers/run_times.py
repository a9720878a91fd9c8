"""How long a run waited and ran, by what Skyvern's answers say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from api_client.answers.parts import unix_time


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
    started = unix_time(run.get("started_at"))
    if started is None:
        return RunTimes(steps=_steps(run.get("step_count")))
    queued = unix_time(run.get("queued_at")) or unix_time(run.get("created_at"))
    return RunTimes(
        None if queued is None else _between(queued, started),
        _between(started, unix_time(run.get("finished_at"))),
        _steps(run.get("step_count")),
    )


def ended_ago(run: Mapping[str, Any], now: float | None) -> float | None:
    """Return how many seconds ago a run ended, by the server's clock; None = it is not reported.

    Args:
        run, now: as in `attempt_age`.
    """
    finished = unix_time(run.get("finished_at"))
    return None if finished is None or now is None else now - finished


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
        moment
        for one in shown
        if isinstance(one, Mapping)
        for moment in (unix_time(one.get("started_at")), unix_time(one.get("next_attempt_at")))
        if moment is not None
    ]
    return now - max(begun) if begun else None


def _between(start: float, end: float | None) -> float | None:
    seconds = None if end is None else round(end - start, 6)
    return None if seconds is None or seconds < 0 else seconds


def _steps(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000
    return int(value) if is_count else None  # type: ignore[call-overload]
