"""Limits on how often a client calls, kept on this side: GCRA, a leaky bucket as one number.

Source: the generic cell rate algorithm (ITU-T I.371): the time at which the next call would be on
schedule is all the state there is, and a call may come early by what the burst allows.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from api_client.call import CallKind


class Limiter(Protocol):
    """Lets a client's calls pass one by one. It may be shared by clients and threads."""

    def reserve(self, kind: CallKind, at_most: float) -> float | None:
        """Take leave for one call.

        Args:
            kind: what the call does.
            at_most: seconds the caller can wait.

        Returns:
            Seconds to wait before the call; None = longer than `at_most`, and nothing was taken.
        """

    def hold(self, seconds: float) -> None:
        """Let no call start for so many seconds: the server said that there were too many."""


class RateLimiter:
    """A limiter for one process; threads and event loops may share it.

    Args:
        max_submissions_per_second: run submissions a second; 0 = no limit.
        max_burst_size: submissions that may come at once after a rest.
        max_requests_per_second: calls of any kind a second, which may come at once; 0 = no limit.
        clock: seconds, monotonic.

    Raises:
        ValueError: a negative rate, or a burst below 1.
    """

    def __init__(
        self,
        *,
        max_submissions_per_second: float = 0.0,
        max_burst_size: int = 1,
        max_requests_per_second: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not max_burst_size >= 1:
            raise ValueError(f"max_burst_size: expected 1 or more, got {max_burst_size!r}")
        self._clock = clock
        self._lock = threading.Lock()
        self._held_until = 0.0
        self._submissions = _Gcra(
            "max_submissions_per_second", max_submissions_per_second, max_burst_size
        )
        self._calls = _Gcra(
            "max_requests_per_second", max_requests_per_second, max(1.0, max_requests_per_second)
        )

    def reserve(self, kind: CallKind, at_most: float) -> float | None:
        """Take leave for one call, of both limits if it is a submission."""
        with self._lock:
            now = self._clock()
            start = go = max(now, self._held_until, self._calls.earliest)
            if kind is CallKind.SUBMISSION:
                go = max(start, self._submissions.earliest)
            if go - now > at_most:
                return None
            # Not at `go`: submissions that wait for their own rate would hold up reads.
            self._calls.take(start)
            if kind is CallKind.SUBMISSION:
                self._submissions.take(go)
            return go - now

    def hold(self, seconds: float) -> None:
        """Let no call start for so many seconds."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)


class _Gcra:
    def __init__(self, name: str, per_second: float, burst: float) -> None:
        if not per_second >= 0:
            raise ValueError(f"{name}: expected 0 (no limit) or more, got {per_second!r}")
        self._interval = 1.0 / per_second if per_second else 0.0
        self._early = (burst - 1.0) * self._interval
        self._on_schedule = 0.0
        #: When the next call may come, by the limiter's clock.
        self.earliest = -self._early

    def take(self, at: float) -> None:
        self._on_schedule = max(self._on_schedule, at) + self._interval
        self.earliest = self._on_schedule - self._early
