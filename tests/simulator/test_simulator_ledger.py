from __future__ import annotations

import random

from simulator.ledger import densest_window
from tests.simulator.simulating import FakeClock, simulating


async def test_the_ledger_holds_every_run_with_the_title_that_was_sent() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=10) as client:
        task = await client.run_task(title="t [rq:a.1]", engine="skyvern-2.0", url="https://a.test")
        workflow = await client.run_workflow(webhook_url="https://hook.test", title="w")
        lines = await client.ledger()

    assert lines[0] == {
        "run_id": task,
        "kind": "task",
        "title": "t [rq:a.1]",
        "prompt": "Do it",
        "webhook_url": None,
        "url": "https://a.test/",
        "workflow_id": None,
        "created": clock.now,
        "ended": clock.now + 10,
        "status": "created",
        "steps": 0,
        "webhook_failure_reason": None,
    }
    assert lines[1]["run_id"] == workflow
    assert (lines[1]["workflow_id"], lines[1]["webhook_url"]) == ("wpid_1", "https://hook.test/")


async def test_the_summary_counts_what_arrived_and_what_was_live() -> None:
    clock = FakeClock(1_800_000_000.5)
    async with simulating(clock, duration=10) as client:
        first = await client.run_task(url="https://a.test/?sim_end=failed&sim_seconds=1")
        await client.run_workflow()
        await client.fault({"status": 503, "body": {}}, match={"route": "run_task"}, times=1)
        await client.call("POST", "/v1/run/tasks", {"prompt": "p"})
        # The first run ends at the very instant at which the next one is created.
        clock.advance(1)
        await client.run_task()
        await client.status(first)
        summary = await client.get("/_ledger/summary")

    assert summary == {
        "runs": 3,
        "by_status": {"failed": 1, "running": 1, "created": 1},
        "live": 2,
        "max_live": 2,
        "submissions": 4,
        "submissions_per_second": [[1_800_000_000, 3], [1_800_000_001, 1]],
        "window_seconds": 1,
        "max_submissions_in_window": 3,
        "max_requests_in_window": 3,
        "requests": 5,
        "requests_by_route": {"run_task": 3, "run_workflow": 1, "get_run": 1},
        "webhooks": {},
    }


def test_the_densest_window_is_found_wherever_it_begins() -> None:
    draw = random.Random(3)
    times = sorted(draw.uniform(0, 20) for _ in range(200))

    brute = max(sum(start <= time < start + 1 for time in times) for start in times)

    assert densest_window(times, 1) == brute
    assert densest_window([0.0, 0.6, 1.0, 1.5], 1) == 3
    assert densest_window([], 1) == 0


async def test_a_reset_forgets_runs_requests_and_faults() -> None:
    async with simulating() as client:
        run_id = await client.run_task()
        await client.fault({"close": True}, match={"route": "run_task"})
        await client.post("/_reset")

        assert await client.ledger() == []
        assert await client.get("/_faults") == []
        assert (await client.get("/_ledger/summary"))["requests"] == 0
        assert await client.run_task() != run_id
