from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from simulator.faults import RULES, Switchboard
from tests.simulator.simulating import KEY, Client, FakeClock, eventually, simulating


async def post_raw(client: Client, body: dict[str, Any] | None = None) -> tuple[bytes, bool]:
    """Submit a task over a bare socket: all bytes of the answer, and whether it was reset."""
    content = json.dumps(body or {"prompt": "p"}).encode()
    url = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(
        b"POST /v1/run/tasks HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n"
        b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (KEY["x-api-key"].encode(), len(content), content)
    )
    received = b""
    try:
        while chunk := await reader.read(65536):
            received += chunk
    except ConnectionResetError:
        return received, True
    else:
        return received, False
    finally:
        writer.close()


async def runs_created(client: Client) -> int:
    return len(await client.ledger())


@pytest.mark.parametrize(
    ("action", "created"),
    [
        ({"reset": "before"}, 0),
        ({"reset": "after_body"}, 0),
        ({"reset": "after_body", "committed": True}, 1),
    ],
)
async def test_a_reset_sends_no_byte_and_commits_only_if_told(
    action: dict[str, Any], created: int
) -> None:
    async with simulating() as client:
        await client.fault(action, match={"route": "run_task"})

        assert await post_raw(client) == (b"", True)
        assert await runs_created(client) == created


async def test_a_reset_in_the_middle_of_the_answer_follows_a_part_of_it() -> None:
    async with simulating() as client:
        await client.fault({"reset": "mid_answer"})
        received, was_reset = await post_raw(client)

        assert await runs_created(client) == 1
    assert was_reset
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b'{"run_id":"' in received
    assert not received.endswith(b"}")


@pytest.mark.parametrize("committed", [False, True])
async def test_a_close_is_an_orderly_end_without_an_answer(committed: bool) -> None:
    async with simulating() as client:
        await client.fault({"close": True, "committed": committed})

        assert await post_raw(client) == (b"", False)
        assert await runs_created(client) == committed


async def test_garbage_is_sent_in_place_of_a_status_line() -> None:
    async with simulating() as client:
        await client.fault({"garbage": True, "committed": True})
        received, _ = await post_raw(client)

        assert await runs_created(client) == 1
    assert received
    assert not received.startswith(b"HTTP")


async def test_a_truncated_length_promises_more_than_comes() -> None:
    async with simulating() as client:
        await client.fault({"truncate": "length"})
        received, was_reset = await post_raw(client)

        assert await runs_created(client) == 1
    head, body = received.split(b"\r\n\r\n", 1)
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised
    assert not was_reset


async def test_truncated_json_is_a_whole_answer_that_does_not_parse() -> None:
    async with simulating() as client:
        await client.fault({"truncate": "json"})
        with pytest.raises(json.JSONDecodeError):
            await client.call("POST", "/v1/run/tasks", {"prompt": "p"})

        assert await runs_created(client) == 1


async def answer_to_a_task(client: Client) -> tuple[int, str, dict[str, str]]:
    url = f"{client.url}/v1/run/tasks"
    async with client.session.post(url, json={"prompt": "p"}, headers=KEY) as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, await answer.text(), headers


@pytest.mark.parametrize(
    ("action", "status", "text", "content_type"),
    [
        ({"status": 502, "body": "bad gateway"}, 502, "bad gateway", "text/plain"),
        ({"status": 409, "body": {"detail": "no"}}, 409, '{"detail":"no"}', "application/json"),
        ({"status": 500}, 500, "", "application/json"),
        ({"status": 200, "body": None}, 200, "null", "application/json"),
        ({"status": 200, "body": "<p>", "content_type": "text/html"}, 200, "<p>", "text/html"),
        ({"empty200": True}, 200, "", "application/json"),
        ({"unavailable": "no_run"}, 503, '{"detail":"No run was created"}', "application/json"),
        ({"unavailable": "plain"}, 503, "Service Unavailable", "text/plain"),
        (
            {"unavailable": "database"},
            503,
            '{"error":"Database temporarily unavailable"}',
            "application/json",
        ),
    ],
)
async def test_a_faulty_answer_comes_as_described_and_creates_no_run(
    action: dict[str, Any], status: int, text: str, content_type: str
) -> None:
    async with simulating() as client:
        await client.fault(action)
        got = await answer_to_a_task(client)

        assert await runs_created(client) == 0
    assert got[:2] == (status, text)
    assert got[2]["content-type"].startswith(content_type)
    assert got[2].get("retry-after") == ("5" if action == {"unavailable": "no_run"} else None)


async def test_latency_holds_a_request_back_before_it_takes_effect() -> None:
    async with simulating() as client:
        await client.fault({"latency": 60}, match={"route": "run_task"})
        request = asyncio.create_task(client.run_task())
        await eventually(lambda: _hits(client))

        assert await runs_created(client) == 0
        request.cancel()


async def test_a_client_that_drops_the_connection_after_the_body_gets_a_run() -> None:
    async with simulating() as client:
        url = urlsplit(client.url)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(
            b"POST /v1/run/tasks HTTP/1.1\r\nHost: sim\r\nx-api-key: simulator-key\r\n"
            b"Content-Type: application/json\r\n"
            b'Content-Length: 15\r\n\r\n{"prompt": "p"}'
        )
        writer.transport.abort()

        await eventually(lambda: runs_created(client))


async def test_answer_latency_holds_only_the_answer_back() -> None:
    async with simulating() as client:
        await client.fault({"answer_latency": 60}, match={"route": "run_task"})
        request = asyncio.create_task(client.run_task())

        await eventually(lambda: runs_created(client))
        assert not request.done()
        request.cancel()


async def test_a_rule_hits_only_what_it_matches_and_only_so_often() -> None:
    async with simulating() as client:
        match = {"method": "POST", "route": "run_task", "contains": "[rq:abc.1]"}
        await client.fault({"status": 500}, match=match, times=2)

        async def submit(title: str) -> int:
            body = {"prompt": "p", "title": title}
            return int((await client.call("POST", "/v1/run/tasks", body))[0])

        await client.run_workflow()
        assert await submit("x [rq:abc.2]") == 200
        with pytest.raises(json.JSONDecodeError):
            await submit("x [rq:abc.1]")
        with pytest.raises(json.JSONDecodeError):
            await submit("x [rq:abc.1]")
        assert await submit("x [rq:abc.1]") == 200
        rules = await client.get("/_faults")

    assert rules == [{"match": match, "action": {"status": 500}, "times": 2, "hits": 2}]


def test_a_rule_stands_for_its_seconds_and_hits_its_share() -> None:
    clock = FakeClock()
    switchboard = Switchboard(seed=1, clock=clock)
    switchboard.add(
        RULES.validate_python([{"action": {"close": True}, "share": 0.3, "seconds": 5}])
    )

    hits = sum(switchboard.hit("GET", "get_run", b"") is not None for _ in range(2000))
    clock.advance(5)

    assert hits == pytest.approx(600, rel=0.2)
    assert all(switchboard.hit("GET", "get_run", b"") is None for _ in range(20))


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"action": {"explode": True}}, "explode"),
        ({"action": {"close": True, "garbage": True}}, "close and garbage"),
        ({"action": {"close": True}, "match": {"route": "run_tusk"}}, "route"),
        ({"action": {"drop": True}, "match": {"route": "run_task"}}, "drop"),
        ({"action": {"close": True}, "match": {"route": "webhook"}}, "close"),
        ({"action": {"reset": "before", "committed": True}}, "committed"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_by_name(
    rule: dict[str, Any], named: str
) -> None:
    async with simulating() as client:
        status, answer = await client.call("POST", "/_faults", [rule])

        assert await client.get("/_faults") == []
    assert status == 422
    assert named in json.dumps(answer)


async def test_an_idle_connection_is_closed_after_the_keepalive_timeout() -> None:
    async with simulating(keepalive_timeout=0.05) as client:
        url = urlsplit(client.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(b"GET /_health HTTP/1.1\r\nHost: sim\r\n\r\n")

        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        # Ends only if the server closes: no `Connection: close` was asked for.
        with suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), timeout=20)
        writer.close()


async def _hits(client: Client) -> int:
    return int((await client.get("/_faults"))[0]["hits"])
