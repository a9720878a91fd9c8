"""May a call be made again, and after how long: each decision by itself, without a client."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_client import (
    AnswerLostError,
    ApiError,
    BodyTooLargeError,
    CallKind,
    NotFoundError,
    NotSentError,
    NotSupported,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SkyvernError,
    WaitTimeoutError,
)
from api_client.call import Call
from api_client.retrying import RetryBudget, may_again, pause
from tests.api_client.twins import Clock

DOCUMENTED = {200, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 429}
DOCUMENTED |= {500, 502, 503, 504, 599}
STATUSES = sorted(DOCUMENTED | set(random.Random(7).sample(range(100, 1000), 100)))
#: The last is what the test takes for an answer that says so; the words themselves do not count.
WORDS = ["", "Database temporarily unavailable", "No run was created", "nothing came of it"]

every_kind = pytest.mark.parametrize("call", list(CallKind))


def refusal(status: int, words: str = "", retry_after: float | None = None) -> ApiError:
    if status == 429:
        return RateLimitError(words, status_code=status, retry_after=retry_after)
    if status >= 500:
        error = ServerError(words, status_code=status, retry_after=retry_after)
        error.came_to_nothing = words.startswith("nothing")
        return error
    return ApiError(words, status_code=status)


@pytest.mark.parametrize(
    ("error", "read", "other"),
    [
        (NotSentError("refused"), True, True),
        (AnswerLostError("reset"), True, False),
        (BodyTooLargeError("large"), False, False),
        (NotSupported("no such call"), False, False),
        (NotFoundError("no run", status_code=404), False, False),
        (WaitTimeoutError("still running"), False, False),
        (SkyvernError("of tomorrow"), False, False),
        (TimeoutError(), False, False),
        (KeyboardInterrupt(), False, False),
    ],
    ids=lambda value: type(value).__name__,
)
@every_kind
def test_an_error_without_an_answer_is_judged_by_what_it_proves(
    call: CallKind, error: BaseException, read: bool, other: bool
) -> None:
    assert may_again(call, error) is (read if call is CallKind.READ else other)


@settings(deadline=None)
@given(
    st.integers(1, 10**9),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0, 1),
    st.none() | st.floats(0, 3600),
)
def test_a_pause_is_full_jitter_over_what_the_server_asks(
    attempt: int, first: float, longest: float, dice: float, asked: float | None
) -> None:
    policy = RetryPolicy(min_backoff=first, max_backoff=longest)
    error = RateLimitError(status_code=429, retry_after=asked)
    seconds = pause(policy, attempt, error, lambda: dice)
    assert (asked or 0.0) <= seconds <= (asked or 0.0) + longest
    if attempt <= 60:
        bound = min(longest, first * 2.0 ** (attempt - 1))
        assert seconds == (asked or 0.0) + dice * bound


@pytest.mark.parametrize("name", ["max_retries", "min_backoff", "max_backoff", "deadline"])
def test_a_policy_takes_no_negative_number(name: str) -> None:
    wrong: dict[str, Any] = {name: -1}
    with pytest.raises(ValueError, match=f"{name}: expected 0 or more, got -1"):
        RetryPolicy(**wrong)
    wrong[name] = 0
    RetryPolicy(**wrong)


@pytest.mark.parametrize("retries", [1.5, 2.0, float("inf"), True])
def test_a_policy_s_retries_are_a_whole_number(retries: Any) -> None:
    with pytest.raises(ValueError, match="max_retries: expected a whole number, got"):
        RetryPolicy(max_retries=retries)


def budget(timeout: float = 60, call: CallKind = CallKind.READ, **options: Any) -> RetryBudget:
    policy = RetryPolicy(max_retries=2, deadline=120)
    return RetryBudget(policy, Call(call, "p", lambda _: None, options=options or None), timeout)  # type: ignore[arg-type]


def test_an_attempt_may_take_its_timeout_or_what_is_left_of_the_deadline(clock: Clock) -> None:
    one = budget(timeout=50)
    assert one.left() == 50
    clock.now += 70
    assert one.left() == 50
    clock.now += 10
    assert one.left() == 40
    clock.now += 50
    assert one.left() <= 0


def test_the_deadline_is_never_less_than_one_attempt_may_take(clock: Clock) -> None:
    one = budget(timeout_in_seconds=300)
    clock.now += 100
    assert one.left() == 200


def test_a_limit_bounds_a_call_s_attempts_and_all_of_them(clock: Clock) -> None:
    call: Call[None] = Call(CallKind.READ, "p", lambda _: None, limit=9)
    policy = RetryPolicy(deadline=120)
    one = RetryBudget(policy, call, 60)
    assert one.left() == 9
    clock.now += 5
    assert one.left() == 4
    call.limit = 600
    assert RetryBudget(policy, call, 60).left() == 60


@pytest.mark.parametrize(("given_", "again"), [(None, True), (0, False), (1, True)])
def test_a_call_s_own_retries_go_before_the_policy_s(given_: int | None, again: bool) -> None:
    assert budget(max_retries=given_).may_again(AnswerLostError()) is again
    assert not budget(call=CallKind.SUBMISSION, max_retries=given_).may_again(AnswerLostError())
