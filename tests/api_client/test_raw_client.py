"""The raw calls: what they send, which redirects they follow, what they make of the answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from api_client.answers.outcomes import (
    CancelClass,
    ReadClass,
    RunTags,
    SubmissionClass,
    WorkflowReading,
)
from api_client.http.transport import AsyncTransport
from api_client.raw import RawClient
from tests.api_client.rawserver import (
    Behaviour,
    Exchange,
    answering,
    answering_in_turn,
    reads_then_closes,
    response,
    serving,
)
from tests.api_client.twins import KEY, Clock, FakeTransport, answer

ACCEPTED = response(200, b'{"run_id": "tsk_1", "status": "queued"}')


async def test_a_submission_sends_the_bytes_it_was_given_with_the_key() -> None:
    async with serving(answering_in_turn(ACCEPTED)) as server, AsyncTransport() as transport:
        outcome = await RawClient(server.url, KEY, transport).submit(
            "workflow", b'{"b": 1,  "a":2}', {"x-user-agent": "me"}, "template=true"
        )
        [exchange] = server.exchanges
    assert (outcome.run_id, outcome.run_status) == ("tsk_1", "queued")
    assert (exchange.method, exchange.target) == ("POST", "/v1/run/workflows?template=true")
    assert exchange.body == b'{"b": 1,  "a":2}'
    assert exchange.headers == {
        "host": f"127.0.0.1:{server.port}",
        "x-api-key": KEY,
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "cache-control": "no-cache",
        "user-agent": "runqueue",
        "content-length": "16",
        "content-type": "application/json",
        "x-user-agent": "me",
    }


async def test_a_header_that_cannot_be_sent_refuses_the_submission_unsent() -> None:
    async with serving(answering_in_turn(ACCEPTED)) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        outcome = await client.submit("task", b"{}", {"x-user-agent": "a\r\nb: c"})
        assert outcome.outcome is SubmissionClass.REFUSED
        assert "x-user-agent" in outcome.detail
        assert not server.exchanges


async def test_every_call_has_a_minute_where_nobody_says_redirects_included(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)

    def takes_ten_seconds(_: httpx.Request) -> httpx.Response:
        clock.now += 10
        return answer(307, location="/again")

    transport = FakeTransport(by=takes_ten_seconds)
    client = RawClient("http://skyvern.test", KEY, transport)
    for call in (
        client.submit("task", b"{}"),
        client.get_run("tsk_1"),
        client.cancel_run("tsk_1"),
        client.list_runs(),
        client.cancel_runs(["tsk_1"]),
        client.check_key(),
    ):
        transport.requests.clear()
        await call
        assert transport.timeouts == [60, 50, 40, 30]


async def test_the_server_quoting_the_key_does_not_bring_it_into_the_outcome() -> None:
    behaviour = answering(400, {"detail": f"bad key {KEY}!"})
    async with serving(behaviour) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        assert (await client.submit("task", b"{}")).detail == "bad key [key]!"
        assert (await client.cancel_run("tsk_1")).detail == "bad key [key]!"
    assert KEY not in repr((client, client.requests))
    assert server.url in repr(client.requests)


READS: list[tuple[Behaviour, ReadClass]] = [
    (answering(200, {"run_id": "tsk/1", "status": "running"}), ReadClass.RUN),
    (answering(200, {"status": "never_heard_of"}), ReadClass.RUN),
    (answering(200, {"status": 7}), ReadClass.TROUBLE),
    (answering(200, b"<html>"), ReadClass.TROUBLE),
    (answering(404, {"detail": "Run not found tsk_1"}), ReadClass.NOT_FOUND),
    (answering(404, {"detail": "Not Found"}), ReadClass.ACCOUNT),
    (answering(404, b"<html>"), ReadClass.ACCOUNT),
    (answering(401, b""), ReadClass.ACCOUNT),
    (answering(403, {"detail": "Invalid credentials"}), ReadClass.ACCOUNT),
    (answering(405, b""), ReadClass.ACCOUNT),
    (answering(429, b""), ReadClass.BUSY),
    (answering(400, b""), ReadClass.TROUBLE),
    (answering(500, {"error": "oops"}), ReadClass.TROUBLE),
    (answering(503, b"Service Unavailable"), ReadClass.TROUBLE),
    (reads_then_closes, ReadClass.TROUBLE),
]


@pytest.mark.parametrize(("behaviour", "outcome"), READS)
async def test_a_read_is_classed_by_its_answer(behaviour: Behaviour, outcome: ReadClass) -> None:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_run("tsk/1")
        assert server.exchanges[0].target == "/v1/runs/tsk%2F1"
    assert reading.outcome is outcome
    assert reading.detail or outcome is ReadClass.RUN


CANCELS: list[tuple[Behaviour, CancelClass]] = [
    (answering(200, b"null"), CancelClass.DONE),
    (answering(204), CancelClass.DONE),
    (answering(400, {"detail": "The task is already completed"}), CancelClass.OVER),
    (answering(404, {"detail": "Run not found"}), CancelClass.NOT_FOUND),
    (answering(404, {"detail": "Not Found"}), CancelClass.ACCOUNT),
    (answering(403, b""), CancelClass.ACCOUNT),
    (answering(429, b""), CancelClass.BUSY),
    (answering(409, b""), CancelClass.TROUBLE),
    (answering(500, b""), CancelClass.TROUBLE),
    (reads_then_closes, CancelClass.TROUBLE),
]


@pytest.mark.parametrize(("behaviour", "outcome"), CANCELS)
async def test_a_cancel_is_classed_by_its_answer(
    behaviour: Behaviour, outcome: CancelClass
) -> None:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        cancellation = await RawClient(server.url, KEY, transport).cancel_run("tsk_1")
        [exchange] = server.exchanges
    assert cancellation.outcome is outcome
    assert (exchange.method, exchange.target) == ("POST", "/v1/runs/tsk_1/cancel")
    assert exchange.headers["content-length"] == "0"
    assert "content-type" not in exchange.headers


@pytest.mark.parametrize(("behaviour", "outcome"), CANCELS)
async def test_an_approval_is_classed_as_a_cancel_is(
    behaviour: Behaviour, outcome: CancelClass
) -> None:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        answer = await client.continue_run("wr_1/2")
        [exchange] = server.exchanges
    assert answer.outcome is outcome
    assert (exchange.method, exchange.target) == ("POST", "/v1/workflows/runs/wr_1%2F2/continue")


@pytest.mark.parametrize(
    ("behaviour", "allowed"),
    [
        (answering(200, []), True),
        (answering(401, b""), False),
        (answering(403, b""), False),
        (answering(404, b""), None),
        (answering(405, b""), None),
        (answering(500, b""), None),
        (reads_then_closes, None),
    ],
)
async def test_a_key_is_checked_by_one_read_of_the_list(
    behaviour: Behaviour, allowed: bool | None
) -> None:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        assert await RawClient(server.url, KEY, transport).check_key() is allowed
        [exchange] = server.exchanges
    assert (exchange.method, exchange.target) == ("GET", "/v1/runs?page=1&page_size=1")


@pytest.mark.parametrize(
    ("behaviour", "found", "gave_json"),
    [
        (answering(200, b"<html>"), "200 with HTML", False),
        (answering(200, b""), "200 with an empty body", False),
        (answering(200, b'"OK"'), "200 with what is no JSON", False),
        (
            answering(302, location="https://login.example/?a=secret"),
            "302 (a redirect to https://login.example, not followed)",
            False,
        ),
        (answering(200, {}), "", True),
        (answering(404, {"detail": "Run not found"}), "", True),
        # A row that is missing may be answered with nothing; a proxy speaks for no API.
        (answering(404, b""), "", False),
        (answering(502, b"<html>"), "", False),
        (answering(404, b"<!DOCTYPE HTML>"), "404 with HTML", False),
        (answering(501, b"<!DOCTYPE HTML>"), "501 with HTML", False),
        (reads_then_closes, "", False),
    ],
)
async def test_an_address_is_checked_by_a_read_of_a_run_that_does_not_exist(
    behaviour: Behaviour, found: str, gave_json: bool
) -> None:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        assert await client.check_address() == found
        assert client.gave_json is gave_json
        [exchange] = server.exchanges
    assert (exchange.method, exchange.target) == ("GET", "/v1/runs/tsk_0")


@pytest.mark.parametrize(
    ("fields", "over"),
    [
        ({"status": "completed"}, True),
        ({"status": "canceled", "retry_pending": False}, True),
        ({"status": "failed", "retry_pending": None}, True),
        ({"status": "failed", "retry_pending": True}, False),
        ({"status": "paused"}, False),
        ({"status": "a_status_of_tomorrow"}, False),
    ],
)
async def test_a_run_is_over_when_it_ended_and_no_retry_is_pending(
    fields: dict[str, Any], over: bool
) -> None:
    async with serving(answering(200, fields)) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_run("tsk_1")
    assert reading.is_over is over
    assert reading.run_status == fields["status"]


@pytest.mark.parametrize(
    ("sent", "version"),
    [
        (response(200, b'{"version": "1.0.56"}'), "1.0.56"),
        (response(200, b'{"version": null}'), ""),
        (response(200, b'["1.0.56"]'), ""),
        (response(200, b"1.0.56"), ""),
        (response(404, b'{"detail": "Not Found"}'), ""),
        (response(405, b""), ""),
        (response(403, b'{"detail": "Invalid credentials"}'), None),
        (response(503, b"Service Unavailable"), None),
    ],
)
async def test_a_server_s_version_is_told_or_it_tells_none_or_nothing_was_learned(
    sent: bytes, version: str | None
) -> None:
    async with serving(answering_in_turn(sent)) as server, AsyncTransport() as transport:
        assert await RawClient(server.url, KEY, transport).server_version() == version
        [exchange] = server.exchanges
    assert (exchange.method, exchange.target) == ("GET", "/v1/version")


@pytest.mark.parametrize(
    ("beginning", "status", "is_over"),
    [
        (b'{"run_id":"wr_1","status":"completed","output":"', "completed", True),
        (b' {"run_id" : "wr_1", "status": "running", "output": "', "running", False),
        (b'{"run_id":"wr_1","status":"paused by a new server","output":"', None, False),
        (b'{"status":"completed","run_id":"wr_1","output":"', None, False),
        (b'{"output":"{\\"run_id\\":\\"wr_1\\",\\"status\\":\\"completed\\",', None, False),
    ],
    ids=["over", "goes on", "a strange status", "another order", "an output that looks like one"],
)
async def test_of_a_run_that_is_too_large_its_beginning_is_read(
    beginning: bytes, status: str | None, is_over: bool
) -> None:
    whole = response(200, beginning + b"x" * 20_000 + b'"}')
    async with (
        serving(answering_in_turn(whole)) as server,
        AsyncTransport(max_body_bytes=10_000) as transport,
    ):
        reading = await RawClient(server.url, KEY, transport).get_run("wr_1")
    assert (reading.run_status, reading.is_over) == (status, is_over)
    assert reading.outcome is (ReadClass.TROUBLE if status is None else ReadClass.RUN)
    assert reading.is_cut is (status is not None)
    assert (reading.run_id, reading.body) == ("wr_1" if status else None, b"")


WORKFLOW = b'{"workflow_permanent_id": "wpid_1", "workflow_definition": {"blocks": []}}'


@pytest.mark.parametrize(
    "answered", [response(404, b'{"detail": "no"}'), response(200, b"[]"), response(200, b"{")]
)
async def test_what_is_no_workflow_is_none(answered: bytes) -> None:
    async with serving(answering_in_turn(answered)) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_workflow("wpid_1")
    assert reading.workflow is None


async def test_a_workflow_whose_answer_is_lost_is_none() -> None:
    async with serving(reads_then_closes) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_workflow("wpid_1")
    assert (reading.workflow, reading.status_code) == (None, None)


async def test_a_workflow_without_an_id_is_not_asked_for() -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        with pytest.raises(ValueError, match="workflow_id is empty"):
            await RawClient(server.url, KEY, transport).get_workflow("")


@pytest.mark.parametrize(
    ("answered", "by_key"),
    [
        (
            response(
                200,
                b'{"workflow_run_id": "wr_1",'
                b' "tags": [{"key": "a", "value": "b"}, {"value": "c"}, 1]}',
            ),
            {"a": "b"},
        ),
        (response(404, b'{"detail": "no"}'), {}),
        *((response(500, b"{}"), None), (response(200, b"[]"), None), (response(200, b"{}"), None)),
    ],
)
async def test_the_tags_of_a_run_are_read_by_their_keys(
    answered: bytes, by_key: dict[str, str] | None
) -> None:
    async with serving(answering_in_turn(answered)) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_run_tags("wr_1")
        assert server.exchanges[0].target == "/v1/runs/wr_1/tags"
    assert reading.by_key == by_key


async def test_of_tags_whose_answer_is_lost_nothing_is_known() -> None:
    async with serving(reads_then_closes) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_run_tags("wr_1")
    assert (reading.by_key, reading.status_code) == (None, None)


def run_named(run_id: str) -> bytes:
    return response(200, orjson.dumps({"run_id": run_id, "status": "completed"}))


async def test_an_answer_about_another_run_is_asked_for_again_over_a_new_connection() -> None:
    behaviour = answering_in_turn(run_named("tsk_1"), run_named("tsk_2"), run_named("tsk_1"))
    async with serving(behaviour) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        readings = [await client.get_run("tsk_1") for _ in range(2)]
        assert [one.run_id for one in readings] == ["tsk_1", "tsk_1"]
        assert [one.connection for one in server.exchanges] == [1, 1, 2]


#: What else is read of something that its answer names: the call, the field, what it finds.
READ_OF = [
    (
        RawClient.get_run_tags,
        {"tags": [{"key": "a", "value": "b"}]},
        "workflow_run_id",
        RunTags({"a": "b"}, 200),
        RunTags(),
    ),
    (RawClient.session_occupant, {"runnable_id": "tsk_1"}, "browser_session_id", "tsk_1", None),
    (
        RawClient.get_workflow,
        {"title": "a"},
        "workflow_permanent_id",
        WorkflowReading({"title": "a", "workflow_permanent_id": "x_1"}, 200),
        WorkflowReading(),
    ),
]


@pytest.mark.parametrize(("call", "content", "field", "found", "nothing"), READ_OF)
async def test_tags_a_session_or_a_workflow_are_read_of_an_answer_that_names_them(
    call: Callable[[RawClient, str], Awaitable[object]],
    content: dict[str, Any],
    field: str,
    found: object,
    nothing: object,
) -> None:
    own, other = (response(200, orjson.dumps({**content, field: name})) for name in ("x_1", "x_2"))
    behaviour = answering_in_turn(other, own, other, other)
    async with serving(behaviour) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        assert await call(client, "x_1") == found
        assert [one.connection for one in server.exchanges] == [1, 2], "over a new connection"
        assert await call(client, "x_1") == nothing


async def test_however_often_two_runs_answers_are_exchanged_neither_is_believed() -> None:
    async def exchanges_them(exchange: Exchange) -> bool:
        asked = exchange.target.rpartition("/")[2]
        await exchange.send(run_named("tsk_2" if asked == "tsk_1" else "tsk_1"))
        return True

    async with serving(exchanges_them) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        for asked in ("tsk_1", "tsk_2") * 2:
            reading = await client.get_run(asked)
            assert (reading.outcome, reading.is_over) == (ReadClass.TROUBLE, False)
        assert len(server.exchanges) == 8


async def test_a_task_is_read_by_the_workflow_run_beneath_it() -> None:
    task = {"run_id": "tsk_v2_1", "status": "running", "app_url": "https://skyvern.test/runs/wr_3"}
    async with serving(answering(200, task)) as server, AsyncTransport() as transport:
        reading = await RawClient(server.url, KEY, transport).get_run("wr_3")
        assert (reading.outcome, reading.run_id) == (ReadClass.RUN, "tsk_v2_1")
        assert len(server.exchanges) == 1


async def test_one_answer_that_is_given_for_every_run_is_never_believed() -> None:
    async with serving(answering_in_turn(run_named("tsk_9"))) as server, AsyncTransport() as sends:
        client = RawClient(server.url, KEY, sends)
        for asked in ("tsk_1", "tsk_2", "tsk_3", "tsk_1"):
            assert (await client.get_run(asked)).outcome is ReadClass.TROUBLE
        assert (await client.get_run("tsk_9")).run_id == "tsk_9"


async def test_answers_that_are_under_way_come_over_connections_that_were_abandoned() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def waits(exchange: Exchange) -> bool:
        asked.set()
        await go_on.wait()
        await exchange.send(run_named("tsk_1"))
        return True

    async with serving(waits) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        client.drop_connections()  # there are none
        slow = asyncio.create_task(client.get_run("tsk_1"))
        await asked.wait()
        client.drop_connections()
        go_on.set()
        assert (await slow).run_id == "tsk_1"
        assert (await client.get_run("tsk_1")).run_id == "tsk_1"
        assert [one.connection for one in server.exchanges] == [1, 2]


async def test_a_transport_of_another_kind_has_no_connections_of_ours_to_give_up() -> None:
    client = RawClient("http://skyvern.test", KEY, FakeTransport(answer(200, {})))
    client.drop_connections()
    assert (await client.get_run("tsk_1")).outcome is ReadClass.TROUBLE


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (response(200, b'{"browser_session_id": "pbs_1", "runnable_id": "tsk_1"}'), "tsk_1"),
        (response(200, b'{"browser_session_id": "pbs_1", "runnable_id": null}'), None),
        (response(404, b'{"runnable_id": "tsk_1"}'), None),
    ],
)
async def test_a_browser_session_is_asked_which_run_has_it(
    answered: bytes, expected: str | None
) -> None:
    async with serving(answering_in_turn(answered)) as server, AsyncTransport() as transport:
        occupant = await RawClient(server.url, KEY, transport).session_occupant("pbs_1")
        assert occupant == expected
        assert server.exchanges[0].target == "/v1/browser_sessions/pbs_1"


async def test_where_no_answer_comes_no_version_is_known_and_a_browser_session_is_free() -> None:
    async with serving(reads_then_closes) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        assert await client.server_version(1) is None
        assert await client.session_occupant("pbs_1") is None
