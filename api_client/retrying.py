"""When a typed call is made again, split into small questions: may I, how long, give up.

A read may be made again after anything transient. A submission or a cancel may be made again only
when it is known that nothing came of it; after a lost answer the caller is told, and decides.
"""

import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.stop import stop_after_attempt, stop_before_delay

from api_client.errors import (
    AnswerLostError,
    ApiError,
    BodyTooLargeError,
    NotSentError,
    RateLimitError,
    ServerError,
)

#: Retries after the first attempt, unless `request_options.max_retries` says otherwise.
DEFAULT_MAX_RETRIES = 2

#: Seconds for all attempts of one call and the pauses between them.
TOTAL_DEADLINE = 120.0

#: Seconds. The pause before retry n is random between 0 and min(MAX_PAUSE, FIRST_PAUSE * 2^(n-1)).
FIRST_PAUSE = 0.5
MAX_PAUSE = 8.0

_Result = TypeVar("_Result")


def may_read_again(error: BaseException) -> bool:
    """Say whether a read that failed like this may go better the next time."""
    if isinstance(error, BodyTooLargeError):
        return False
    if isinstance(error, ApiError):
        return error.status_code in {408, 425, 429} or error.status_code >= 500
    return isinstance(error, NotSentError | AnswerLostError)


def may_write_again(error: BaseException) -> bool:
    """Say whether it is known that nothing came of the call that failed like this."""
    if isinstance(error, ServerError):
        return error.status_code == 503 and "no run was created" in str(error).lower()
    return isinstance(error, NotSentError | RateLimitError)


def pause(attempt: int, error: BaseException | None, dice: Callable[[], float]) -> float:
    """Return how many seconds to wait before the next attempt: full jitter, over Retry-After.

    Args:
        attempt: the attempt that failed, counted from 1.
        error: what it failed with.
        dice: gives a number from 0 to 1.
    """
    jitter = dice() * min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** (attempt - 1))
    asked = getattr(error, "retry_after", None) or 0.0
    return float(asked) + jitter


async def call_with_retries(
    call: Callable[[float], Awaitable[_Result]],
    *,
    may_again: Callable[[BaseException], bool],
    attempt_timeout: float,
    max_retries: int = DEFAULT_MAX_RETRIES,
    deadline: float = TOTAL_DEADLINE,
) -> _Result:
    """Make a call until it succeeds, may not be made again, or time or retries run out.

    Args:
        call: takes the seconds this attempt may last.
        may_again: `may_read_again` or `may_write_again`.
        attempt_timeout: seconds for one attempt.
        max_retries: attempts after the first.
        deadline: seconds for all of it; never less than one attempt.

    Raises:
        The last attempt's error.
    """
    budget = max(deadline, attempt_timeout)
    end = time.monotonic() + budget

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return pause(state.attempt_number, error, random.random)

    async for attempt in AsyncRetrying(
        retry=retry_if_exception(may_again),
        stop=stop_after_attempt(max_retries + 1) | stop_before_delay(budget),
        wait=wait,
        reraise=True,
    ):
        with attempt:
            return await call(min(attempt_timeout, end - time.monotonic()))
    raise AssertionError("tenacity ends by returning or raising")
