from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.simulator.simulating import KEY, FakeClock, eventually, simulating


async def test_a_task_is_answered_with_a_created_run_that_echoes_the_request_normalised() -> None:
    async with simulating() as client:
        sent = {"prompt": "p", "url": "HTTP://A.test:80", "webhook_url": "hook.test/a b"}

        run = await client.post("/v1/run/tasks", sent)

    assert run["run_id"].startswith("tsk_1")
    assert (run["run_type"], run["status"]) == ("task_v1", "created")
    assert run["created_at"].count("T") == 1
    assert not run["created_at"].endswith(("Z", "+00:00"))
    shown = {"prompt": "p", "url": "http://a.test/", "webhook_url": "https://hook.test/a%20b"}
    assert {name: run["run_request"][name] for name in sent} == shown


@pytest.mark.parametrize(
    ("path", "body", "loc", "kind"),
    [
        ("/v1/run/tasks", {"url": "https://a.test"}, ["body", "prompt"], "missing"),
        ("/v1/run/tasks", {"prompt": 5}, ["body", "prompt"], "string_type"),
        ("/v1/run/tasks", {"prompt": "p", "engine": "of-tomorrow"}, ["body", "engine"], "enum"),
        ("/v1/run/tasks", None, ["body"], "missing"),
        ("/v1/run/tasks", b'{"prompt": ', ["body", 11], "json_invalid"),
        ("/v1/run/workflows", {}, ["body", "agent_id"], "missing"),
        (
            "/v1/run/tasks",
            {"prompt": "p", "url": "https://a.test/?sim_end=exploded"},
            ["body", "sim_end"],
            "value_error",
        ),
    ],
)
async def test_a_wrong_field_is_named_in_a_422(
    path: str, body: object, loc: list[str | int], kind: str
) -> None:
    async with simulating() as client:
        status, answer = await client.call("POST", path, body)

        assert await client.ledger() == []
    assert status == 422
    assert (answer["detail"][0]["loc"], answer["detail"][0]["type"]) == (loc, kind)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "Invalid credentials"),
        ({"x-api-key": "wrong"}, "Could not validate credentials"),
        ({"authorization": f"Bearer {KEY['x-api-key']}"}, "Invalid credentials"),
    ],
)
async def test_a_missing_or_wrong_key_is_a_403(headers: dict[str, str], words: str) -> None:
    async with simulating() as client:
        answer = await client.call("POST", "/v1/run/tasks", {"prompt": "p"}, headers)

        assert await client.ledger() == []
    assert answer == (403, {"detail": words})


async def test_every_given_key_is_accepted() -> None:
    async with simulating(api_keys=("one", "two")) as client:
        for key in ("one", "two"):
            status, _ = await client.call("GET", "/v1/runs", headers={"x-api-key": key})
            assert status == 200


async def test_submissions_above_the_rate_are_refused_with_429_until_the_window_moves_on() -> None:
    clock = FakeClock()
    async with simulating(clock, max_requests_per_second=1.5, window=2) as client:
        for _ in range(3):
            await client.run_task()

        refused = await client.call("POST", "/v1/run/tasks", {"prompt": "p"})
        clock.advance(2)
        await client.run_task()

        assert len(await client.ledger()) == 4
    assert refused == (429, {"detail": "Maximum 3 requests per 2 seconds"})


async def test_a_client_that_goes_away_within_the_body_gets_no_run_and_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with simulating() as client:
        url = urlsplit(client.url)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(
            b"POST /v1/run/tasks HTTP/1.1\r\nHost: sim\r\nx-api-key: simulator-key\r\n"
            b"Content-Type: application/json\r\n"
            b'Content-Length: 15\r\n\r\n{"prom'
        )

        async def arrived() -> bool:
            return bool((await client.get("/_ledger/summary"))["submissions"])

        await eventually(arrived)
        writer.transport.abort()

        assert await client.ledger() == []
    assert caplog.records == []
