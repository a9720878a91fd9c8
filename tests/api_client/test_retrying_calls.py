"""Calls made again, by both clients, over a transport that fails and a clock that only sleeps move.

Nothing here waits.
"""

from typing import Any

import pytest

from api_client import (
    AnswerLostError,
    NotSentError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SkyvernError,
)
from tests.api_client.twins import TASK, Answer, Clock, FakeTransport, Kind, answer, both, twin

LOST = AnswerLostError("reset")
NOT_SENT = NotSentError("refused")
NO_RUN = answer(503, {"detail": "No run was created"})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("random.random", lambda: 1.0)
    return Clock(monkeypatch)


class Slow(FakeTransport):
    """Takes all the time it is given, then fails."""

    def __init__(self, clock: Clock, *answers: Answer) -> None:
        super().__init__(*answers)
        self._clock = clock

    def handle_request(self, request: Any) -> Any:
        self._clock.now += request.extensions["timeout"]["read"]
        return super().handle_request(request)


@both
async def test_a_read_ends_with_the_first_answer_that_is_good(kind: Kind, clock: Clock) -> None:
    failures: list[Answer] = [LOST, answer(500), NOT_SENT, answer(408), answer(429), answer(502)]
    transport = FakeTransport(*failures, answer(200, TASK))
    async with twin(kind, transport=transport, retry=RetryPolicy(max_retries=9)) as client:
        assert (await client.call("get_run", "tsk_1")).run_id == "tsk_1"
    assert len(transport.requests) == 7
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


@both
@pytest.mark.parametrize("failure", [LOST, NOT_SENT, answer(500), answer(429)], ids=repr)
@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_the_last_failure_is_raised_when_the_attempts_are_used_up(
    kind: Kind, clock: Clock, failure: Answer, retries: int
) -> None:
    transport = FakeTransport(failure)
    async with twin(kind, transport=transport) as client:
        with pytest.raises(SkyvernError) as caught:
            await client.call("get_run", "tsk_1", request_options={"max_retries": retries})
    assert type(caught.value).__module__ == "api_client.errors"
    assert len(transport.requests) == retries + 1


@both
@pytest.mark.parametrize("failure", [NOT_SENT, answer(429), NO_RUN], ids=repr)
async def test_a_submission_known_to_have_made_no_run_is_made_again(
    kind: Kind, clock: Clock, failure: Answer
) -> None:
    transport = FakeTransport(failure, answer(200, TASK))
    async with twin(kind, transport=transport) as client:
        assert (await client.submit()).run_id == "tsk_1"
    bodies = [request.read() for request in transport.requests]
    assert bodies == [b'{"prompt":"p"}'] * 2


@both
async def test_a_submission_whose_second_answer_is_lost_is_not_made_a_third_time(
    kind: Kind, clock: Clock
) -> None:
    transport = FakeTransport(NOT_SENT, LOST, answer(200, TASK))
    async with twin(kind, transport=transport) as client:
        with pytest.raises(AnswerLostError):
            await client.submit(max_retries=5)
    assert len(transport.requests) == 2


@both
@pytest.mark.parametrize("name", ["run_task", "cancel_run", "retry_run_webhook"])
@pytest.mark.parametrize("failure", [LOST, answer(500), answer(408), answer(503)], ids=repr)
async def test_only_reads_are_made_again_after_a_lost_answer(
    kind: Kind, clock: Clock, name: str, failure: Answer
) -> None:
    transport = FakeTransport(failure)
    async with twin(kind, transport=transport) as client:
        with pytest.raises(SkyvernError):
            await (client.submit() if name == "run_task" else client.call(name, "tsk_1"))
    assert len(transport.requests) == 1
    assert clock.slept == []


@both
@pytest.mark.parametrize("name", ["cancel_run", "cancel_runs", "retry_run_webhook"])
async def test_words_about_a_run_say_nothing_of_what_makes_none(
    kind: Kind, clock: Clock, name: str
) -> None:
    transport = FakeTransport(NO_RUN)
    async with twin(kind, transport=transport) as client:
        with pytest.raises(ServerError) as caught:
            await client.call(name, ["tsk_1"] if name == "cancel_runs" else "tsk_1")
    assert not caught.value.came_to_nothing
    assert len(transport.requests) == 1


@both
@pytest.mark.parametrize("deadline", [0, 10, 45, 120, 1000])
@pytest.mark.parametrize("failure", [LOST, NOT_SENT, answer(500)], ids=repr)
async def test_no_call_outlasts_its_deadline(
    kind: Kind, clock: Clock, deadline: float, failure: Answer
) -> None:
    transport = Slow(clock, failure)
    retry = RetryPolicy(max_retries=10**6, deadline=deadline)
    async with twin(kind, transport=transport, retry=retry, timeout=20) as client:
        with pytest.raises(SkyvernError):
            await client.call("get_run", "tsk_1")
    assert clock.now - 1000 <= max(deadline, 20)
    assert all(0 < seconds <= 20 for seconds in transport.timeouts)


@both
async def test_each_attempt_has_its_own_timeout(kind: Kind, clock: Clock) -> None:
    transport = Slow(clock, LOST)
    async with twin(kind, transport=transport, timeout=20) as client:
        with pytest.raises(AnswerLostError):
            await client.call("get_run", "t", request_options={"timeout_in_seconds": 7})
    assert transport.timeouts == [7, 7, 7]


@both
@pytest.mark.parametrize("value", ["119.9", "3600", "99999999", "Thu, 25 Nov 2027 12:00:00 GMT"])
async def test_a_wait_longer_than_what_is_left_is_not_begun(
    kind: Kind, clock: Clock, value: str
) -> None:
    busy = answer(429, retry_after=value, date="Wed, 25 Nov 2026 12:00:00 GMT")
    transport = FakeTransport(busy)
    async with twin(kind, transport=transport, retry=RetryPolicy()) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.call("get_run", "tsk_1")
    assert clock.slept == []
    assert len(transport.requests) == 1
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 100


@both
async def test_the_second_failure_s_words_decide_on_the_third_attempt(
    kind: Kind, clock: Clock
) -> None:
    transport = FakeTransport(answer(429, retry_after="2"), answer(429, retry_after="500"))
    async with twin(kind, transport=transport) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.submit()
    assert caught.value.retry_after == 500
    assert clock.slept == [2.0]


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()], ids=repr)
async def test_what_is_no_failure_of_the_call_ends_it_between_attempts_too(
    kind: Kind, clock: Clock, error: BaseException
) -> None:
    class Interrupted(FakeTransport):
        def handle_request(self, request: Any) -> Any:
            if self.requests:
                raise error
            return super().handle_request(request)

    async with twin(kind, transport=Interrupted(LOST)) as client:
        with pytest.raises(type(error)):
            await client.call("get_run", "tsk_1")


@both
async def test_a_submission_is_not_made_again_without_time_to_hear_its_answer(
    kind: Kind, clock: Clock
) -> None:
    """With a moment left, a second attempt would turn "no run" into "perhaps one"."""
    transport = FakeTransport(answer(429, retry_after="58"), LOST)
    retry = RetryPolicy(min_backoff=1.9, max_backoff=1.9, deadline=60)
    async with twin(kind, transport=transport, retry=retry) as client:
        with pytest.raises(RateLimitError):
            await client.submit()
    assert len(transport.requests) == 1
