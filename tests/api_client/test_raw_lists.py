"""The raw calls about many runs: a page of the list, a bulk cancel, and what answers mean."""

import json
from typing import Any

import httpx
import pytest

from api_client import AnswerLostError, ListClass, ListedRun, NotSentError, RawClient
from api_client.calls.calls import WORKFLOW_RUNS_PATH
from tests.api_client.twins import KEY, FakeTransport, answer

DONE, NOT_SUPPORTED, BUSY, ACCOUNT, TROUBLE = ListClass
DATE = "Wed, 25 Nov 2026 12:00:00 GMT"
ITEM = {"run_id": "tsk_1", "status": "running"}
CANCELLED = {"cancelled": ["tsk_1"], "failed": ["tsk_2"]}


def client_of(transport: FakeTransport) -> RawClient:
    return RawClient("http://skyvern.test", KEY, transport)


async def test_a_page_is_asked_for_with_what_was_given_and_no_more() -> None:
    transport = FakeTransport(answer(200, []))
    client = client_of(transport)
    await client.list_runs()
    await client.list_runs(search_key="a b", status=["queued", "running"], page=2, page_size=5)
    assert {request.method for request in transport.requests} == {"GET"}
    assert [request.url.raw_path for request in transport.requests] == [
        b"/v1/runs?page=1&page_size=100",
        b"/v1/runs?search_key=a+b&status=queued&status=running&page=2&page_size=5",
    ]


async def test_a_page_gives_its_runs_and_the_server_s_clock() -> None:
    items = [
        ITEM | {"task_run_type": "task_v2", "title": "t", "created_at": "2026-11-25T12:00:00"},
        ITEM | {"created_at": "2026-11-25T14:00:00+02:00", "title": ""},
        ITEM | {"created_at": "yesterday", "task_run_type": 7},
    ]
    page = await client_of(FakeTransport(answer(200, items, date=DATE))).list_runs(page_size=3)
    assert page.runs == (
        ListedRun("tsk_1", "running", "task_v2", "t", 1795608000.0),
        ListedRun("tsk_1", "running", None, None, 1795608000.0),
        ListedRun("tsk_1", "running", None, None, None),
    )
    assert (page.outcome, page.is_short, page.server_date) == (DONE, False, 1795608000.0)


async def test_a_page_of_workflow_runs_is_asked_for_and_tells_what_they_cost() -> None:
    run: dict[str, Any] = {"workflow_run_id": "wr_1", "status": "failed", "workflow_title": "t"}
    run |= {"workflow_permanent_id": "wpid_1", "trigger_type": "scheduled", "credits_used": 7}
    run |= {"failure_category": [{"category": "AUTH_FAILURE"}, {"category": "OTHER"}]}
    run |= {"cached_credits_used": 0, "parent_workflow_run_id": "wr_0", "retry_pending": True}
    run |= {"debug_session_id": "ds_1", "created_at": "2026-11-25T12:00:00"}
    transport = FakeTransport(answer(200, [run], date=DATE))
    client = client_of(transport)
    page = await client.list_runs(status=["failed"], page=200, page_size=2, path=WORKFLOW_RUNS_PATH)
    assert [request.url.raw_path for request in transport.requests] == [
        b"/v1/workflows/runs?status=failed&page=200&page_size=2"
    ]
    assert (page.outcome, page.is_short) == (DONE, True)
    assert page.runs == (
        ListedRun(
            *("wr_1", "failed", None, "t", 1795608000.0, None, "wpid_1", "scheduled"),
            *("AUTH_FAILURE", 7, 0, "wr_0", "ds_1", True),
        ),
    )


ODD: list[Any] = [None, True, -1, 1.5, 10**30, float(10**300), "7", [], {}, [[]], [None], [{}]]


@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_shape_in_a_workflow_run_is_unknown_and_never_an_error(odd: Any) -> None:
    names = ["credits_used", "cached_credits_used", "failure_category", "workflow_permanent_id"]
    names += ["trigger_type", "created_at", "finished_at", "retry_pending"]
    run = {"workflow_run_id": "wr_1", "status": "running"} | dict.fromkeys(names, odd)
    transport = FakeTransport(httpx.Response(200, content=json.dumps([run]).encode()))
    page = await client_of(transport).list_runs(path=WORKFLOW_RUNS_PATH)
    assert page.outcome is DONE
    [listed] = page.runs
    assert (listed.credits, listed.cached_credits, listed.failure_category) == (None, None, None)
    assert (listed.created, listed.finished) == (None, None)


@pytest.mark.parametrize("body", [{"runs": []}, [7], [{"workflow_run_id": 7, "status": "x"}], None])
async def test_a_list_of_workflow_runs_in_another_shape_is_not_an_empty_one(body: Any) -> None:
    page = await client_of(FakeTransport(answer(200, body))).list_runs(path=WORKFLOW_RUNS_PATH)
    assert page.outcome in (NOT_SUPPORTED, TROUBLE)
    assert page.runs == ()


@pytest.mark.parametrize(("count", "is_short"), [(0, True), (1, True), (2, False)])
async def test_a_page_that_is_not_full_is_the_last(count: int, is_short: bool) -> None:
    page = await client_of(FakeTransport(answer(200, [ITEM] * count))).list_runs(page_size=2)
    assert page.is_short is is_short


@pytest.mark.parametrize(
    "body", [{"runs": []}, "text", [7], [{"run_id": "tsk_1"}], [ITEM, {"status": "running"}]]
)
async def test_a_list_in_another_shape_is_not_an_empty_one(body: Any) -> None:
    page = await client_of(FakeTransport(answer(200, body))).list_runs()
    assert (page.outcome, page.runs, page.is_short) == (NOT_SUPPORTED, (), False)


@pytest.mark.parametrize("body", [b'[{"run_id": "tsk_1", "sta', b"", b"<html>", b"null"])
async def test_an_answer_that_was_cut_says_nothing_of_what_the_server_supports(body: bytes) -> None:
    client = client_of(FakeTransport(httpx.Response(200, content=body)))
    page, cancellation = await client.list_runs(), await client.cancel_runs(["tsk_1"])
    assert (page.outcome, cancellation.outcome) == (TROUBLE, TROUBLE)


async def test_a_bulk_cancel_tells_which_runs_it_ended() -> None:
    transport = FakeTransport(answer(200, CANCELLED))
    result = await client_of(transport).cancel_runs(["tsk_1", "tsk_2"])
    [request] = transport.requests
    assert (request.method, request.url.path) == ("POST", "/v1/runs/cancel")
    assert request.read() == b'{"run_ids":["tsk_1","tsk_2"]}'
    assert result.outcome is DONE
    assert (set(result.cancelled), set(result.failed)) == ({"tsk_1"}, {"tsk_2"})


FAILURES: list[tuple[httpx.Response | Exception, ListClass]] = [
    (answer(404, {"detail": "Not Found"}), NOT_SUPPORTED),
    (httpx.Response(404, text="<html>"), NOT_SUPPORTED),
    (answer(405, {"detail": "Method Not Allowed"}), NOT_SUPPORTED),
    (answer(404, {"detail": "Organization not found"}), ACCOUNT),
    (answer(401), ACCOUNT),
    (answer(402), ACCOUNT),
    (answer(403, {"detail": f"Invalid credentials {KEY}"}), ACCOUNT),
    (answer(302, location="/elsewhere-else"), ACCOUNT),
    (answer(429, {"detail": "Maximum 5 requests"}, retry_after="7"), BUSY),
    (answer(422, {"detail": "too long"}), TROUBLE),
    (answer(500, {"error": f"oops {KEY}"}), TROUBLE),
    (answer(503), TROUBLE),
    (NotSentError(f"refused {KEY}"), TROUBLE),
    (AnswerLostError("reset"), TROUBLE),
    (OSError("odd"), TROUBLE),
]


@pytest.mark.parametrize(("failure", "outcome"), FAILURES)
async def test_a_failure_is_classed_the_same_for_a_page_and_a_bulk_cancel(
    failure: httpx.Response | Exception, outcome: ListClass
) -> None:
    client = client_of(FakeTransport(failure))
    page, cancellation = await client.list_runs(), await client.cancel_runs(["tsk_1"])
    assert page.outcome is cancellation.outcome is outcome
    for detail in (page.detail, cancellation.detail):
        assert detail
        assert KEY not in detail
    assert page.retry_after == cancellation.retry_after == (7.0 if outcome is BUSY else None)
    assert not page.runs
