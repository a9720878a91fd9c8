"""The rate limiter, on a clock that is told the time; and the clients that ask it."""

import itertools
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_client import (
    CallKind,
    Limiter,
    NotSentError,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
    SkyvernError,
)
from tests.api_client.twins import TASK, Clock, FakeTransport, Kind, answer, both, twin

SUBMISSION, READ, CANCEL, WEBHOOK, CHANGE = CallKind
FOR_EVER = float("inf")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def waits(limiter: Limiter, kind: CallKind, times: int) -> list[float | None]:
    """The wait of each of so many calls that come at once, rounded."""
    given_ = [limiter.reserve(kind, FOR_EVER) for _ in range(times)]
    return [None if wait is None else round(wait, 6) for wait in given_]


def test_submissions_are_spaced_by_the_rate(time: Time) -> None:
    limiter = RateLimiter(max_submissions_per_second=4, clock=time)
    assert waits(limiter, SUBMISSION, 4) == [0.0, 0.25, 0.5, 0.75]
    time.now = 0.5
    assert waits(limiter, SUBMISSION, 1) == [0.5]


def test_a_burst_comes_at_once_and_again_after_a_rest(time: Time) -> None:
    limiter = RateLimiter(max_submissions_per_second=2, max_burst_size=3, clock=time)
    assert waits(limiter, SUBMISSION, 5) == [0.0, 0.0, 0.0, 0.5, 1.0]
    time.now = 100.0
    assert waits(limiter, SUBMISSION, 4) == [0.0, 0.0, 0.0, 0.5]


@pytest.mark.parametrize("kind", [READ, CANCEL, WEBHOOK, CHANGE])
def test_the_submission_rate_limits_nothing_but_submissions(time: Time, kind: CallKind) -> None:
    limiter = RateLimiter(max_submissions_per_second=0.1, clock=time)
    waits(limiter, SUBMISSION, 5)
    assert waits(limiter, kind, 100) == [0.0] * 100


@pytest.mark.parametrize("kind", list(CallKind))
def test_the_request_rate_limits_every_call(time: Time, kind: CallKind) -> None:
    limiter = RateLimiter(max_requests_per_second=2, clock=time)
    assert waits(limiter, kind, 4) == [0.0, 0.0, 0.5, 1.0]


def test_a_wait_longer_than_there_is_time_takes_nothing(time: Time) -> None:
    limiter = RateLimiter(
        max_submissions_per_second=1, max_requests_per_second=50, max_burst_size=1, clock=time
    )
    assert limiter.reserve(SUBMISSION, 0.0) == 0.0
    for _ in range(100):
        assert limiter.reserve(SUBMISSION, 0.9) is None
    assert limiter.reserve(SUBMISSION, 1.0) == 1.0


def test_a_hold_lets_nothing_start_until_it_is_over(time: Time) -> None:
    limiter = RateLimiter(clock=time)
    limiter.hold(5)
    limiter.hold(2)
    assert [limiter.reserve(kind, FOR_EVER) for kind in CallKind] == [5.0] * len(CallKind)
    assert limiter.reserve(READ, 4.9) is None
    time.now = 5.0
    assert waits(limiter, READ, 2) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"max_submissions_per_second": -1},
            r"max_submissions_per_second: expected 0 \(no limit\)",
        ),
        ({"max_requests_per_second": -0.1}, r"max_requests_per_second: expected 0 \(no limit\)"),
        ({"max_burst_size": 0}, "max_burst_size: expected 1 or more, got 0"),
    ],
)
def test_a_limit_that_is_none_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RateLimiter(**wrong)


@settings(deadline=None)
@given(
    st.just(0.0) | st.floats(0.1, 100),
    st.integers(1, 10),
    st.just(0.0) | st.floats(0.1, 100),
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from(list(CallKind)), st.booleans())),
)
def test_no_window_holds_more_calls_than_rate_and_burst_allow(
    dispatches: float, burst: int, requests: float, steps: list[tuple[float, CallKind, bool]]
) -> None:
    time = Time()
    limiter = RateLimiter(
        max_submissions_per_second=dispatches,
        max_burst_size=burst,
        max_requests_per_second=requests,
        clock=time,
    )
    starts: list[tuple[float, CallKind]] = []
    for pause, kind, held in steps:
        time.now += pause
        if held:
            limiter.hold(pause)
        wait = limiter.reserve(kind, 10.0)
        if wait is not None:
            assert 0.0 <= wait <= 10.0
            starts.append((time.now + wait, kind))
    submissions = sorted(at for at, kind in starts if kind is SUBMISSION)
    others = sorted(at for at, kind in starts if kind is not SUBMISSION)
    if dispatches:
        assert_within(submissions, dispatches, burst)
    if requests:
        assert_within(others, requests, max(1.0, requests))
    if requests and not dispatches:
        assert_within(sorted([*submissions, *others]), requests, max(1.0, requests))


def assert_within(starts: list[float], rate: float, burst: float) -> None:
    for first, last in itertools.combinations(range(len(starts)), 2):
        window = starts[last] - starts[first]
        assert last - first + 1 <= rate * window + burst + 1e-6


def test_threads_share_one_limit() -> None:
    ticks = itertools.count()
    limiter = RateLimiter(
        max_submissions_per_second=50, max_burst_size=20, clock=lambda: next(ticks) / 1000
    )
    granted: list[int] = []

    def take() -> None:
        granted.append(sum(limiter.reserve(SUBMISSION, 0.0) is not None for _ in range(500)))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = next(ticks) / 1000
    assert elapsed == 4.0
    assert 200 <= sum(granted) <= 50 * elapsed + 20


@both
async def test_a_call_that_would_wait_for_too_long_is_not_sent(kind: Kind, clock: Clock) -> None:
    limiter = RateLimiter(max_submissions_per_second=0.001, clock=clock.monotonic)
    transport = FakeTransport(answer(200, TASK))
    async with twin(kind, transport=transport, limiter=limiter) as client:
        await client.submit()
        with pytest.raises(NotSentError, match="POST /v1/run/tasks: the limiter lets no call"):
            await client.submit(max_retries=0)
        await client.call("get_run", "tsk_1")
    assert len(transport.requests) == 2
    assert clock.slept == []


@both
@pytest.mark.parametrize(("asked", "held"), [("7", 7.0), (None, 1.0)])
async def test_a_429_holds_every_call_of_the_account(
    kind: Kind, clock: Clock, asked: str | None, held: float
) -> None:
    limiter = RateLimiter(clock=clock.monotonic)
    busy = answer(429, retry_after=asked) if asked else answer(429)
    transport = FakeTransport(busy, answer(200, TASK))
    async with twin(kind, transport=transport, limiter=limiter) as client:
        with pytest.raises(RateLimitError):
            await client.submit(max_retries=0)
        assert limiter.reserve(READ, 0.0) is None
        await client.call("get_run", "tsk_1")
    assert clock.slept == [held]


@both
async def test_each_attempt_asks_the_limiter(kind: Kind, clock: Clock) -> None:
    limiter = RateLimiter(max_requests_per_second=1, clock=clock.monotonic)
    retry = RetryPolicy(max_retries=3, min_backoff=0, max_backoff=0)
    async with twin(kind, transport=FakeTransport(answer(500)), limiter=limiter, retry=retry) as it:
        with pytest.raises(SkyvernError):
            await it.call("get_run", "tsk_1")
    assert [seconds for seconds in clock.slept if seconds] == [1.0, 1.0, 1.0]


@both
async def test_a_wait_that_leaves_no_time_for_the_call_is_refused(kind: Kind, clock: Clock) -> None:
    """A submission sent with a moment left would lose its answer."""
    limiter = RateLimiter(clock=clock.monotonic)
    limiter.hold(59.99)
    transport = FakeTransport(answer(200, TASK))
    retry = RetryPolicy(max_retries=0, deadline=60)
    async with twin(kind, transport=transport, limiter=limiter, retry=retry) as client:
        with pytest.raises(NotSentError):
            await client.submit()
    assert not transport.requests
