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
    ("engine", "prefix", "run_type", "status"),
    [
        ("skyvern-1.0", "tsk_", "task_v1", "created"),
        ("skyvern-2.0", "tsk_v2_", "task_v2", "queued"),
        ("openai-cua", "tsk_", "openai_cua", "created"),
    ],
)
async def test_the_engine_decides_id_run_type_and_first_status(
    engine: str, prefix: str, run_type: str, status: str
) -> None:
    async with simulating() as client:
        run = await client.post("/v1/run/tasks", {"prompt": "p", "engine": engine})

    assert run["run_id"].removeprefix(prefix).isdigit()
    assert (run["run_type"], run["status"]) == (run_type, status)


async def test_a_published_task_is_one_of_engine_two() -> None:
    async with simulating() as client:
        sent = {"prompt": "p", "title": "mine", "publish_workflow": True}
        run = await client.post("/v1/run/tasks", sent)
        shown = await client.get(f"/v1/runs/{run['run_id']}")
        listed = (await client.get("/v1/runs"))[0]

    assert run["run_id"].startswith("tsk_v2_")
    assert shown["run_request"]["engine"] == "skyvern-2.0"
    assert shown["run_request"]["publish_workflow"] is False
    assert (shown["run_request"]["title"], listed["title"]) == (None, "New Workflow")


async def test_the_title_is_shown_by_the_list_alone() -> None:
    async with simulating() as client:
        run = await client.post("/v1/run/tasks", {"prompt": "p", "title": "mine"})
        shown = await client.get(f"/v1/runs/{run['run_id']}")
        listed = (await client.get("/v1/runs"))[0]

    assert shown["run_request"]["title"] is None
    assert listed["title"] == "mine"


async def test_a_task_without_an_address_is_given_one_and_another_prompt() -> None:
    async with simulating() as client:
        run = await client.post("/v1/run/tasks", {"prompt": "Buy it"})
        line = (await client.ledger())[0]

    assert run["run_request"]["url"] == "https://generated.example/"
    assert run["run_request"]["prompt"] == "Simulated goal: Buy it"
    assert line["prompt"] == "Buy it"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("US-CA", "US-CA"),
        (None, None),
        (
            {"country": "de", "subdivision": "DE-BY"},
            {"country": "DE", "subdivision": "BY", "city": None, "isISP": False},
        ),
        ({"country": "XX"}, None),
        ({"url": "http://proxy.test"}, {"url": "http://proxy.test"}),
    ],
)
async def test_a_place_is_completed_and_an_unknown_one_forgotten(
    sent: object, shown: object
) -> None:
    async with simulating() as client:
        run_id = await client.run_task(proxy_location=sent)
        request = (await client.get(f"/v1/runs/{run_id}"))["run_request"]

    assert request["proxy_location"] == shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://a.test/", "Invalid url: unsupported scheme."),
        ("http://", "Invalid url: malformed."),
        ("two words", "Invalid url: malformed."),
    ],
)
async def test_what_is_no_address_is_refused(url: str, words: str) -> None:
    async with simulating() as client:
        answer = await client.call("POST", "/v1/run/tasks", {"prompt": "p", "url": url})

        assert await client.ledger() == []
    assert answer == (400, {"detail": words})


@pytest.mark.parametrize("path", ["/v1/run/workflows?template=false", "/v1/run/agents"])
@pytest.mark.parametrize("name", ["workflow_id", "agent_id"])
async def test_both_names_of_a_workflow_work_on_both_paths(path: str, name: str) -> None:
    async with simulating() as client:
        run = await client.post(path, {name: "wpid_7", "parameters": {"a": 1}})

    assert run["run_id"].startswith("wr_")
    assert run["run_type"] == "workflow_run"
    assert run["run_request"]["workflow_id"] == "wpid_7"
    assert run["run_request"]["parameters"] == {"a": 1}


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


async def test_an_unknown_proxy_location_is_refused_as_of_the_server_s_own_type() -> None:
    async with simulating() as client:
        sent = {"prompt": "p", "proxy_location": "MARS"}
        status, answer = await client.call("POST", "/v1/run/tasks", sent)

    assert status == 422
    places = [fault["loc"][2] for fault in answer["detail"]]
    assert places[0] == "str-enum[ProxyLocation]"


async def test_what_is_no_text_is_a_400() -> None:
    async with simulating() as client:
        status, answer = await client.call("POST", "/v1/run/tasks", b'{"prompt": "\xff"}')

    assert (status, list(answer)) == (400, ["detail"])


async def test_a_body_that_is_not_called_json_is_a_422() -> None:
    async with simulating() as client:
        headers = KEY | {"content-type": "text/plain"}
        status, answer = await client.call("POST", "/v1/run/tasks", {"prompt": "p"}, headers)

    assert (status, answer["detail"][0]["type"]) == (422, "model_attributes_type")


async def test_a_known_path_refuses_other_methods() -> None:
    async with simulating() as client:
        answer = await client.call("PUT", "/v1/run/tasks", {"prompt": "p"})

    assert answer == (405, {"detail": "Method Not Allowed"})


async def test_unknown_fields_are_ignored() -> None:
    async with simulating() as client:
        await client.post("/v1/run/tasks", {"prompt": "p", "promt": "typo"})


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


async def test_an_unknown_route_is_a_plain_404() -> None:
    async with simulating() as client:
        assert await client.call("POST", "/v2/run/tasks", {}) == (404, {"detail": "Not Found"})


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
