"""Tags of workflow runs, and the releases that have none."""

from __future__ import annotations

import pytest

from tests.simulator.simulating import FakeClock, eventually, simulating
from tests.simulator.test_simulator_webhooks import QUICK, dead_url


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("job:j1", True),
        ("j1", True),
        ("job:*", True),
        ("job:j1,env:test", True),
        ("job:j1&tags=env:test", True),
        ("job:j1,job:j2", True),
        ("skyvern.trigger:api", True),
        ("job:j2", False),
        ("job:j1,env:live", False),
        ("JOB:j1", False),
        ("job:j", False),
        ("env:j1", False),
    ],
)
async def test_run_metadata_is_found_as_tags(query: str, found: bool) -> None:
    async with simulating() as client:
        run_id = await client.run_workflow(run_metadata={"job": " j1 ", "env": "test"})
        await client.run_task(run_metadata={"job": "j1", "env": "test"})

        assert await client.search(f"tags={query}") == ([run_id] if found else [])


async def test_an_older_release_ignores_tags_and_filters_and_searches_less() -> None:
    mark = {"webhook_url": "https://hook.test/needle", "extra_http_headers": {"x": "needle"}}
    async with simulating(version="1.0.40") as client:
        run_id = await client.run_workflow(run_metadata={"job": "j1"}, **mark)

        assert await client.search("tags=nobody:has-this&run_type=task_v1") == [run_id]
        assert await client.search("search_key=needle") == []
        [item] = await client.get("/v1/agents/runs?search_key=needle")
        assert item["workflow_run_id"] == run_id
        assert await client.call("GET", f"/v1/runs/{run_id}/tags") == (404, {"detail": "Not Found"})
        assert (await client.call("GET", "/v1/runs?status=paused"))[0] == 422
        assert await client.get("/v1/version") == {"version": "1.0.40"}
        task = {"prompt": "p", "engine": "skyvern-3.0"}
        assert (await client.call("POST", "/v1/run/tasks", task))[0] == 422
        run = await client.get(f"/v1/runs/{run_id}")
    assert "attempt" not in run
    assert "file_ids" not in run["run_request"]
    async with simulating() as client:
        run_id = await client.run_workflow(**mark)
        assert await client.search("search_key=needle") == [run_id]


@pytest.mark.parametrize(
    ("version", "engine", "status"),
    [
        ("1.0.40", "skyvern-2.0", "failed"),
        ("1.0.40", "skyvern-1.0", "completed"),
        ("1.0.56", "skyvern-2.0", "completed"),
    ],
)
async def test_an_older_release_loses_the_end_of_a_task_whose_receiver_is_gone(
    version: str, engine: str, status: str
) -> None:
    async with simulating(version=version, webhook_retry_delays=QUICK) as client:
        url = "https://a.test/?sim_seconds=0.05"
        run_id = await client.run_task(engine=engine, url=url, webhook_url=dead_url())

        async def abandoned() -> bool:
            summary = await client.get("/_ledger/summary")
            return bool(summary["webhooks"].get("abandoned"))

        await eventually(abandoned)
        run = await client.get(f"/v1/runs/{run_id}")

    assert run["status"] == status
    assert run["output"] == {"answer": f"Simulated result of {run_id}"}
    assert ("Failed to send webhook" in str(run["failure_reason"])) == (status == "failed")


async def test_a_session_is_made_extended_closed_and_then_of_no_use() -> None:
    async with simulating() as client:
        session = (await client.post("/v1/browser_sessions", {"timeout": 10}))["browser_session_id"]
        path = f"/v1/browser_sessions/{session}"
        extended = await client.post(f"{path}/extend", {"additional_minutes": 5})
        await client.run_task(browser_session_id=session)
        listed = await client.get("/v1/browser_sessions")
        await client.post(f"{path}/close")
        closed = await client.get(path)
        statuses = [
            (await client.call("POST", f"{path}/extend", {"additional_minutes": 5}))[0],
            (await client.call("POST", "/v1/run/tasks", {"prompt": "p",
                                                         "browser_session_id": session}))[0],
            (await client.call("POST", "/v1/run/workflows", {"workflow_id": "wpid_1",
                                                             "browser_session_id": "pbs_9"}))[0],
        ]  # fmt: skip
        left = await client.get("/v1/browser_sessions")

    assert extended["timeout"] == 15
    assert [one["browser_session_id"] for one in listed] == [session]
    assert (closed["status"], bool(closed["completed_at"]), left) == ("completed", True, [])
    assert statuses == [409, 410, 404]


async def test_a_session_is_one_runs_at_a_time_until_a_while_after_its_end() -> None:
    clock = FakeClock()
    async with simulating(clock=clock, session_release=5.0) as client:
        session = (await client.post("/v1/browser_sessions", {"timeout": 10}))["browser_session_id"]
        path = f"/v1/browser_sessions/{session}"

        async def ended() -> str | None:
            run = await client.run_task(browser_session_id=session, engine="skyvern-1.0")
            clock.advance(11)
            return str((await client.get(f"/v1/runs/{run}"))["failure_reason"])

        first = await ended()
        has_it = (await client.get(path))["runnable_id"]
        second, third = await ended(), await ended()

    assert (first, third) == ("None", "None")
    assert f"Browser session {session} is already occupied by {has_it}." in str(second)
