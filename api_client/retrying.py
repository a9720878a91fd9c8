"""The retry policy of the typed clients, in small questions: may I, how long, give up.

A GET is retried after any transient error. A POST is retried only if no run was created (not sent,
429, a 5xx that says so): Skyvern has no idempotency key, so a second POST is a second paid run.
After a lost answer the caller gets the error, and decides. The worker's `RawClient` never retries.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from tenacity import RetryCallState, retry_if_exception
from tenacity.stop import stop_after_attempt, stop_before_delay

from api_client.arguments import is_whole
from api_client.call import Call, CallKind
from api_client.errors import (
    RATE_LIMITED,
    AnswerLostError,
    ApiError,
    BodyTooLargeError,
    LocalLimitError,
    NotSentError,
    RateLimitError,
    ServerError,
)
from api_client.http.messages import ANSWER_SECONDS

_logger = logging.getLogger("api_client")

#: Statuses below 500 after which a read is tried again.
_LATER = RATE_LIMITED | {408, 425}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is made again, where that is safe.

    Args:
        max_retries: attempts after the first; `request_options` may say otherwise.
        min_backoff: seconds. The pause before retry n is random between 0 and
            min(max_backoff, min_backoff * 2^(n-1)) ("full jitter"), on top of any Retry-After.
        max_backoff: seconds.
        deadline: seconds for all attempts and pauses; never less than one attempt may take.

    Raises:
        ValueError: a negative number, or `max_retries` that is no whole one.
    """

    max_retries: int = 2
    min_backoff: float = 0.5
    max_backoff: float = 8.0
    deadline: float = 120.0

    def __post_init__(self) -> None:
        for name in ("max_retries", "min_backoff", "max_backoff", "deadline"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)!r}")
        if not is_whole(self.max_retries):
            raise ValueError(f"max_retries: expected a whole number, got {self.max_retries!r}")


def may_again(kind: CallKind, error: BaseException) -> bool:
    """Say whether a call of this kind that failed like this may be made again.

    Args:
        kind: what the call does.
        error: what it failed with.
    """
    return _may_read_again(error) if kind is CallKind.READ else _came_to_nothing(error)


def _may_read_again(error: BaseException) -> bool:
    if isinstance(error, BodyTooLargeError):
        return False
    if isinstance(error, ApiError):
        return error.status_code in _LATER or error.status_code >= 500
    return _was_not_sent(error) or isinstance(error, AnswerLostError)


def _came_to_nothing(error: BaseException) -> bool:
    if isinstance(error, ServerError):
        return error.came_to_nothing
    return _was_not_sent(error) or isinstance(error, RateLimitError)


def _was_not_sent(error: BaseException) -> bool:
    """Say whether nothing was sent; what our own limiter refused, it would refuse again."""
    return isinstance(error, NotSentError) and not isinstance(error, LocalLimitError)


def pause(
    policy: RetryPolicy, attempt: int, error: BaseException | None, dice: Callable[[], float]
) -> float:
    """Return how many seconds to wait before the next attempt: full jitter, over Retry-After.

    Args:
        policy: the bounds.
        attempt: the attempt that failed, counted from 1.
        error: what it failed with.
        dice: gives a number from 0 to 1.
    """
    # Above 2^60 the power alone would overflow; the bound was reached long before.
    longest = min(policy.max_backoff, policy.min_backoff * 2.0 ** min(attempt - 1, 60))
    retry_after = getattr(error, "retry_after", None) or 0.0
    return float(retry_after) + dice() * longest


class RetryBudget:
    """The attempts and the time that one call has.

    Args:
        policy: the client's.
        call: the call.
        timeout: seconds one attempt may take; the call's own option goes before it.
    """

    def __init__(self, policy: RetryPolicy, call: Call[Any], timeout: float) -> None:
        options = call.options or {}
        own = options.get("timeout_in_seconds")
        retries = options.get("max_retries")
        self._policy = policy
        self._kind = call.kind
        self._attempt_timeout = timeout if own is None else own
        self._retries = policy.max_retries if retries is None else retries
        if call.once:
            self._retries = 0
        seconds = max(policy.deadline, self._attempt_timeout)
        if call.limit is not None:
            seconds = min(seconds, call.limit)
            self._attempt_timeout = min(self._attempt_timeout, call.limit)
        self._end = monotonic() + seconds
        is_read = call.kind is CallKind.READ
        self._reserve = 0.0 if is_read else min(self._attempt_timeout, ANSWER_SECONDS)

    def left(self) -> float:
        """Return the seconds that the next attempt may take; 0 or less = none."""
        return min(self._attempt_timeout, self._end - monotonic())

    def for_waiting(self) -> float:
        """Return the seconds that may be waited before an attempt.

        A submission keeps back the time for its answer: one cut off after a moment would be
        unconfirmed.
        """
        return min(self._attempt_timeout, self._end - self._reserve - monotonic())

    def may_again(self, error: BaseException) -> bool:
        """Say whether another attempt is safe and allowed after this error."""
        return self._retries > 0 and may_again(self._kind, error)

    def _log(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        _logger.info("again in %.1f s, after %s", state.upcoming_sleep, error)

    def retrying(self) -> dict[str, Any]:
        """Return tenacity's arguments for all attempts, the first one that has failed included."""

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return pause(self._policy, state.attempt_number, error, random.random)

        return {
            "retry": retry_if_exception(self.may_again),
            "stop": stop_after_attempt(self._retries + 1)
            | stop_before_delay(max(0.0, self._end - self._reserve - monotonic())),
            "wait": wait,
            "before_sleep": self._log,
            "reraise": True,
        }
