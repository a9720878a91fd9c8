"""What takes several calls, each of which comes here to what it is given."""

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

import orjson
import pytest

from api_client import (
    AgentClient,
    AnswerLostError,
    ApiError,
    BodyTooLargeError,
    BulkCancelRunsResponse,
    ForbiddenError,
    LocalLimitError,
    NotFoundError,
    NotSentError,
    NotSupported,
    RateLimitError,
    RunListItem,
    ServerError,
    SkyvernError,
    TaskRunResponse,
    WaitTimeoutError,
)
from api_client.call import Call, CallKind
from api_client.calls.sequences import LAST_READ, reason_reads
from tests.api_client.twins import Clock

NOT_FOUND = NotFoundError("Run not found", status_code=404)
NO_CALL = NotSupported("this server has no such call")


def run(status: str, **fields: Any) -> TaskRunResponse:
    return TaskRunResponse(run_id="tsk_1", status=status, **fields)


wait_for_run = partial(methodcaller, "wait_for_run")
cancel_runs = partial(methodcaller, "cancel_runs")
webhook_failure_reason = partial(methodcaller, "webhook_failure_reason")


class Given(AgentClient):
    """A client whose calls come to what is given: results, or the errors that they raise."""

    def __init__(self, results: list[Any]) -> None:
        self.left = list(results)
        self.calls: list[Call[Any]] = []

    def _call(self, call: Call[Any]) -> Any:
        self.calls.append(call)
        result = self.left.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def drive(act: Callable[[AgentClient], Any], results: list[Any]) -> tuple[Any, list[Call[Any]]]:
    """Return what an operation comes to, and its calls."""
    client = Given(results)
    result = act(client)
    assert not client.left
    return result, client.calls


def test_reads_are_spaced_by_a_tenth_of_the_time_waited_within_bounds(clock: Clock) -> None:
    going = [run("running")] * 60
    drive(wait_for_run("tsk_1", min_interval=2, max_interval=5), [*going, run("completed")])
    waited = 0.0
    for seconds in clock.slept:
        assert seconds == pytest.approx(min(max(2, waited / 10), 5))
        waited += seconds
    assert (clock.slept[0], clock.slept[-1]) == (2, 5)


def test_a_wait_ends_on_time_with_the_last_that_was_read(clock: Clock) -> None:
    last = run("paused")
    with pytest.raises(WaitTimeoutError, match="run tsk_1 is paused after 4 s") as caught:
        drive(
            wait_for_run("tsk_1", timeout=4, min_interval=3), [run("running"), run("running"), last]
        )
    assert caught.value.run is last
    assert isinstance(caught.value, TimeoutError)
    assert clock.slept == [3, 1]


def test_a_run_that_was_just_made_may_be_not_found_for_ten_seconds(clock: Clock) -> None:
    done = run("completed")
    results = [NOT_FOUND] * 5 + [done]
    assert drive(wait_for_run("tsk_1", min_interval=2), results)[0] is done
    with pytest.raises(NotFoundError):
        drive(wait_for_run("tsk_1", min_interval=3), [NOT_FOUND] * 9)
    assert clock.slept == [2] * 5 + [3] * 4


def test_a_wait_that_ends_before_the_run_was_found_has_no_run(clock: Clock) -> None:
    with pytest.raises(WaitTimeoutError, match="tsk_1 is not known after 2 s") as caught:
        drive(wait_for_run("tsk_1", timeout=2), [NOT_FOUND] * 3)
    assert caught.value.run is None
    assert caught.value.__cause__ is NOT_FOUND


PASSING = [
    ServerError("down", status_code=503),
    RateLimitError("slow", status_code=429),
    ApiError("late", status_code=408),
    NotSentError("refused"),
    AnswerLostError("reset"),
    LocalLimitError("not in time"),
]
FOR_GOOD = [
    ForbiddenError("no", status_code=403),
    ApiError("unreadable", status_code=200),
    BodyTooLargeError("large"),
    NO_CALL,
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_read_that_fails_in_passing_does_not_end_the_wait(
    clock: Clock, error: SkyvernError
) -> None:
    done = run("completed")
    results = [error, error, run("running"), *[error] * 9, done]
    assert drive(wait_for_run("tsk_1"), results)[0] is done


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_wait_ends_after_five_minutes_without_a_read_that_succeeds(
    clock: Clock, error: SkyvernError
) -> None:
    good = [run("running")] * 20
    with pytest.raises(type(error)) as caught:
        drive(wait_for_run("tsk_1", max_interval=10), [*good, *[error] * 99])
    assert caught.value is error
    without = sum(clock.slept[len(good) - 1 :])
    assert 300 < without <= 310


def test_a_wait_that_ends_with_failed_reads_names_the_last_failure(clock: Clock) -> None:
    seen, last = run("running"), AnswerLostError("the last")
    with pytest.raises(WaitTimeoutError, match="is running after 3 s") as caught:
        drive(wait_for_run("tsk_1", timeout=3), [seen, PASSING[0], PASSING[1], last])
    assert caught.value.run is seen
    assert caught.value.__cause__ is last


def test_a_wait_that_ends_names_a_status_that_no_log_can_take_in_one_short_line(
    clock: Clock,
) -> None:
    with pytest.raises(WaitTimeoutError) as caught:
        drive(wait_for_run("tsk_1", timeout=3), [run("\x1f\n\u2028" + "x" * 99)] * 9)
    assert str(caught.value) == f"run tsk_1 is \\x1f\\n\\u2028{'x' * 37} after 3 s"


def test_the_next_read_comes_no_sooner_than_the_server_asks(clock: Clock) -> None:
    busy = RateLimitError("slow", status_code=429, retry_after=70)
    drive(wait_for_run("tsk_1"), [busy, run("completed")])
    with pytest.raises(WaitTimeoutError):
        drive(wait_for_run("tsk_1", timeout=20), [busy, busy])
    assert clock.slept == [70, 20]


def test_a_read_gets_what_is_left_of_the_wait_and_five_seconds_at_least(clock: Clock) -> None:
    limits: list[float | None] = []

    class Noting(Given):
        def _call(self, call: Call[Any]) -> Any:
            limits.append(call.limit)
            return super()._call(call)

    with pytest.raises(WaitTimeoutError):
        Noting([run("running")] * 4).wait_for_run(
            "tsk_1", timeout=60, min_interval=29, max_interval=29
        )
    Noting([run("completed")]).wait_for_run("tsk_1")
    assert limits == [60, 31, LAST_READ, LAST_READ, None]


@pytest.mark.parametrize("error", FOR_GOOD, ids=lambda error: type(error).__name__)
def test_a_read_that_fails_for_good_ends_the_wait(clock: Clock, error: SkyvernError) -> None:
    with pytest.raises(type(error)) as caught:
        drive(wait_for_run("tsk_1"), [run("running"), error])
    assert caught.value is error


def test_runs_are_canceled_a_hundred_at_a_time_and_each_once() -> None:
    ids = [f"tsk_{number}" for number in range(250)]
    answers = [
        BulkCancelRunsResponse(cancelled=ids[:99], failed=ids[99:100]),
        BulkCancelRunsResponse(cancelled=ids[100:200]),
        BulkCancelRunsResponse(failed=ids[200:]),
    ]
    result, calls = drive(cancel_runs(iter(ids + ids)), answers)
    assert [orjson.loads(call.content)["run_ids"] for call in calls] == [
        ids[:100],
        ids[100:200],
        ids[200:],
    ]
    assert {(call.kind, call.path, call.method) for call in calls} == {
        (CallKind.CANCEL, "v1/runs/cancel", "POST")
    }
    assert result.cancelled == ids[:99] + ids[100:200]
    assert result.failed == [*ids[99:100], *ids[200:]]


@pytest.mark.parametrize("reason", [None, "", "no answer"])
def test_a_workflow_run_s_webhook_is_looked_up_in_the_list(reason: str | None) -> None:
    result, [call] = drive(webhook_failure_reason("wr_1"), [reason])
    assert result == reason
    assert (call.path, call.query) == ("v1/agents/runs", "search_key=wr_1")
    others = [{"workflow_run_id": "wr_10", "webhook_failure_reason": "other"}, "odd"]
    for name in ("workflow_run_id", "run_id"):
        listed = [*others, {name: "wr_1", "webhook_failure_reason": reason}]
        assert call.read(listed) == reason


@pytest.mark.parametrize("listed", [[], [{"workflow_run_id": "wr_10"}], [{"run_id": "wr_1"}]])
def test_a_workflow_run_that_the_list_does_not_tell_of_is_read_itself(listed: Any) -> None:
    first, second = reason_reads("wr_1")
    result, calls = drive(webhook_failure_reason("wr_1"), [first.read(listed), "gone"])
    assert (result, len(calls)) == ("gone", 2)
    assert (second.path, second.query) == ("v1/workflows/runs/wr_1", "")
    assert second.read({"webhook_failure_reason": "gone"}) == "gone"


@pytest.mark.parametrize("run_id", ["wr_1", "tsk_1"])
@pytest.mark.parametrize("error", [NO_CALL, NOT_FOUND, ServerError("down", status_code=500)])
def test_what_the_last_look_raises_is_passed_on(run_id: str, error: SkyvernError) -> None:
    first = [NO_CALL] if run_id == "wr_1" else []
    with pytest.raises(type(error)):
        drive(webhook_failure_reason(run_id), [*first, error])


@pytest.mark.parametrize("run_id", ["wr_1", "tsk_1"])
def test_a_server_that_answers_without_telling_is_not_supported(run_id: str) -> None:
    told = [read.read({"run_id": run_id}) for read in reason_reads(run_id)]
    with pytest.raises(NotSupported, match=f"does not report the webhook of run {run_id}"):
        drive(webhook_failure_reason(run_id), told)


def test_a_reason_that_is_no_text_is_not_taken_for_one() -> None:
    [call] = reason_reads("tsk_1")
    with pytest.raises(ValueError, match="neither text nor null"):
        call.read({"webhook_failure_reason": 7})
    with pytest.raises(ValueError, match="neither a run nor a list"):
        call.read("text")


def item(number: int) -> RunListItem:
    return RunListItem(run_id=f"tsk_{number}", status="running")
