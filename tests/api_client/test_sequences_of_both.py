"""The calls made of several requests, once through each client."""

from typing import Any

import httpx
import pytest

from api_client import (
    AnswerLostError,
    ApiError,
    NotSentError,
    NotSupported,
    RunStatus,
    WaitTimeoutError,
)
from api_client.calls.sequences import LAST_READ
from tests.api_client.twins import TASK, Clock, FakeTransport, Kind, answer, both, twin

ROUTE_MISSING = answer(404, {"detail": "Not Found"})


def listed(*numbers: int) -> list[dict[str, Any]]:
    return [{"run_id": f"tsk_{number}", "status": "running"} for number in numbers]


@both
async def test_a_run_is_waited_for(kind: Kind, clock: Clock) -> None:
    transport = FakeTransport(
        answer(404, {"detail": "Run not found"}),
        answer(200, TASK),
        answer(200, TASK | {"status": "failed", "retry_pending": True}),
        answer(200, TASK | {"status": "completed"}),
    )
    async with twin(kind, transport=transport) as client:
        run = await client.call("wait_for_run", "tsk_1")
    assert run.status is RunStatus.COMPLETED
    assert clock.slept == [1.0, 1.0, 1.0]


@both
@pytest.mark.parametrize(
    ("given_", "first"),
    [({}, 20), ({"timeout_in_seconds": 7}, 7), ({"timeout_in_seconds": 99}, 50)],
)
async def test_a_read_never_outlasts_the_wait_nor_its_own_time(
    kind: Kind, clock: Clock, given_: Any, first: float
) -> None:
    def hangs(request: httpx.Request) -> Exception:
        clock.now += request.extensions["timeout"]["read"]
        return AnswerLostError("nothing came")

    transport = FakeTransport(by=hangs)
    async with twin(kind, transport=transport, timeout=20) as client:
        with pytest.raises(WaitTimeoutError, match="is not known after") as caught:
            await client.call("wait_for_run", "tsk_1", timeout=50, request_options=given_)
    assert transport.timeouts[0] == first
    assert clock.now - 1000 <= 50 + LAST_READ
    assert isinstance(caught.value.__cause__, AnswerLostError)


@both
async def test_a_webhook_s_failure_is_looked_up_where_the_server_tells_it(kind: Kind) -> None:
    def tell(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/agents/runs":
            return ROUTE_MISSING
        return answer(200, {"webhook_failure_reason": request.url.path})

    async with twin(kind, transport=FakeTransport(by=tell)) as client:
        for run_id, path in (("wr_1", "/v1/workflows/runs/wr_1"), ("t_1", "/api/v1/tasks/t_1")):
            assert await client.call("webhook_failure_reason", run_id) == path


@both
async def test_a_webhook_s_failure_that_the_server_does_not_report_is_not_supported(
    kind: Kind,
) -> None:
    async with twin(kind, transport=FakeTransport(answer(200, {"task_id": "tsk_1"}))) as client:
        with pytest.raises(NotSupported, match="does not report the webhook of run tsk_1"):
            await client.call("webhook_failure_reason", "tsk_1")


@both
async def test_a_webhook_s_failure_in_a_shape_nobody_knows_is_an_api_error(kind: Kind) -> None:
    transport = FakeTransport(answer(200, {"webhook_failure_reason": 7}))
    async with twin(kind, transport=transport) as client:
        with pytest.raises(ApiError, match="cannot be read: webhook_failure_reason: neither"):
            await client.call("webhook_failure_reason", "tsk_1")


@both
async def test_no_run_is_listed_twice_although_others_begin_meanwhile(kind: Kind) -> None:
    runs = list(range(1000, 750, -1))

    def list_them(request: httpx.Request) -> httpx.Response:
        start = (int(request.url.params["page"]) - 1) * 100
        page = listed(*runs[start : start + 100])
        runs[:0] = range(runs[0] + 7, runs[0], -1)
        return answer(200, page)

    transport = FakeTransport(by=list_them)
    async with twin(kind, transport=transport) as client:
        found = [item.run_id for item in await client.iterate(status=["running"])]
    assert len(transport.requests) == 4  # the last brings nothing new
    assert found == [f"tsk_{number}" for number in range(1000, 750, -1)]


MISSING = [
    ROUTE_MISSING,
    answer(405, {"detail": "Method Not Allowed"}),
    httpx.Response(405, text="<html>"),
]
#: What some proxy may say as well.
UNCERTAIN = [answer(404), httpx.Response(404, text="<html>"), httpx.Response(404, text="")]
ROUTES: list[tuple[str, Any]] = [
    ("list_runs", None),
    ("retry_run_webhook", "tsk_1"),
    ("cancel_runs", ["tsk_1"]),
    ("webhook_failure_reason", "tsk_1"),
]


@both
@pytest.mark.parametrize("missing", MISSING, ids=lambda m: f"{m.status_code}{m.text[:5]}")
@pytest.mark.parametrize(("name", "argument"), ROUTES)
async def test_a_call_that_the_server_lacks_is_not_made_again_for_an_hour(
    kind: Kind, clock: Clock, missing: httpx.Response, name: str, argument: Any
) -> None:
    arguments = [] if argument is None else [argument]
    transport = FakeTransport(missing)
    async with twin(kind, transport=transport) as client:
        for _ in range(3):
            with pytest.raises(NotSupported):
                await client.call(name, *arguments)
        assert len(transport.requests) == 1
        clock.now += 3599
        with pytest.raises(NotSupported, match="this server has no such call"):
            await client.call(name, *arguments)
        assert len(transport.requests) == 1
        clock.now += 2
        with pytest.raises(NotSupported):
            await client.call(name, *arguments)
        assert len(transport.requests) == 2


@both
@pytest.mark.parametrize("missing", UNCERTAIN, ids=lambda m: m.text[:5])
@pytest.mark.parametrize(("name", "argument"), ROUTES)
async def test_a_page_of_a_proxy_s_does_not_tell_for_an_hour_what_the_server_lacks(
    kind: Kind, missing: httpx.Response, name: str, argument: Any
) -> None:
    arguments = [] if argument is None else [argument]
    transport = FakeTransport(missing)
    async with twin(kind, transport=transport) as client:
        for _ in range(2):
            with pytest.raises(NotSupported) as caught:
                await client.call(name, *arguments)
            assert not caught.value.is_certain
    assert len(transport.requests) == 2


@both
@pytest.mark.parametrize("body", [None, [], {"failed": []}, {"cancelled": "all"}, "text"])
async def test_a_bulk_cancel_in_another_shape_is_not_supported(kind: Kind, body: Any) -> None:
    transport = FakeTransport(answer(200, body))
    async with twin(kind, transport=transport) as client:
        for words in ("it is not a bulk cancel's answer", "this server has no such call"):
            with pytest.raises(NotSupported, match=words):
                await client.call("cancel_runs", ["tsk_1"])
    assert len(transport.requests) == 1


@both
@pytest.mark.parametrize("body", [{"runs": []}, None, "text"])
async def test_a_list_in_another_shape_is_not_supported_rather_than_empty(
    kind: Kind, clock: Clock, body: Any
) -> None:
    transport = FakeTransport(answer(200, body))
    async with twin(kind, transport=transport) as client:
        for _ in range(2):
            with pytest.raises(NotSupported):
                await client.call("list_runs")
    assert len(transport.requests) == 1


@both
@pytest.mark.parametrize("status", [404, 405])
async def test_a_call_every_server_has_is_never_called_missing(kind: Kind, status: int) -> None:
    async with twin(kind, transport=FakeTransport(answer(status, {"detail": "Not Found"}))) as one:
        for call in (one.submit(), one.call("get_run", "tsk_1"), one.call("cancel_run", "tsk_1")):
            with pytest.raises(ApiError):
                await call


@both
async def test_a_missing_call_is_known_before_the_limiter_is_asked(
    kind: Kind, clock: Clock
) -> None:
    class Once:
        asked = 0

        def reserve(self, *_: object) -> float | None:
            self.asked += 1
            return 0.0 if self.asked == 1 else None

        def hold(self, *_: object) -> None:
            raise AssertionError

    limiter = Once()
    async with twin(kind, transport=FakeTransport(ROUTE_MISSING), limiter=limiter) as client:
        for _ in range(2):
            with pytest.raises(NotSupported):
                await client.call("list_runs")
        assert limiter.asked == 1
        with pytest.raises(NotSentError):
            await client.call("get_run", "tsk_1")
