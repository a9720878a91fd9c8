from __future__ import annotations

from collections import Counter

import pytest

from simulator.model.options import Options
from simulator.model.plan import Planner
from tests.simulator.simulating import FakeClock, simulating


async def test_a_run_goes_from_created_over_queued_and_running_to_its_end() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=10) as client:
        run_id = await client.run_task()
        seen = []
        for seconds in (0.1, 0.6, 1, 8.2, 0.2):
            clock.advance(seconds)
            seen.append(await client.status(run_id))

        run = await client.get(f"/v1/runs/{run_id}")

    assert seen == ["created", "queued", "running", "running", "completed"]
    assert run["output"]
    assert run["finished_at"]
    assert run["failure_reason"] is None


@pytest.mark.parametrize("end", ["completed", "failed", "terminated", "timed_out"])
async def test_a_task_is_given_its_end_by_its_url(end: str) -> None:
    clock = FakeClock()
    async with simulating(clock, duration=1000) as client:
        run_id = await client.run_task(url=f"https://a.test/?sim_end={end}&sim_seconds=2")
        clock.advance(2)
        run = await client.get(f"/v1/runs/{run_id}")

    assert run["status"] == end
    assert bool(run["failure_reason"]) == (end != "completed")
    assert "retry_pending" not in run


async def test_a_flapping_run_fails_with_a_retry_pending_and_completes_under_the_same_id() -> None:
    clock = FakeClock()
    async with simulating(clock) as client:
        run_id = await client.run_workflow(parameters={"sim_end": "flap", "sim_seconds": 10})
        seen = []
        for _ in range(40):
            clock.advance(0.26)
            run = await client.get(f"/v1/runs/{run_id}")
            seen.append((run["status"], run["retry_pending"], bool(run["finished_at"])))

    assert list(dict.fromkeys(seen)) == [
        ("created", False, False),
        ("queued", False, False),
        ("running", False, False),
        ("failed", True, True),
        ("completed", False, True),
    ]
    assert [status for status, _, _ in seen if status != "created"].count("queued") > 2


async def test_a_run_that_never_ends_runs_until_it_is_canceled() -> None:
    clock = FakeClock()
    async with simulating(clock) as client:
        run_id = await client.run_task(url="https://a.test/?sim_end=never")
        clock.advance(1e6)
        assert await client.status(run_id) == "running"
        await client.post(f"/v1/runs/{run_id}/cancel")
        assert await client.status(run_id) == "canceled"


def test_the_same_seed_draws_the_same_ends_in_the_asked_for_shares() -> None:
    options = Options(failed=0.2, terminated=0.1, timed_out=0.05, duration_spread=0.5, seed=7)
    one, other = Planner(options), Planner(options)

    plans = [one.plan({}) for _ in range(5000)]

    assert plans == [other.plan({}) for _ in range(5000)]
    ends = Counter(plan.end for plan in plans)
    assert ends["failed"] == pytest.approx(1000, rel=0.15)
    assert ends["terminated"] == pytest.approx(500, rel=0.2)
    assert ends["timed_out"] == pytest.approx(250, rel=0.3)
    assert 5 <= min(plan.seconds for plan in plans) < 5.1
    assert 14.9 < max(plan.seconds for plan in plans) <= 15


async def test_runs_above_the_concurrent_limit_wait_queued_and_start_in_order() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=10, max_concurrent=2) as client:
        runs = [await client.run_task() for _ in range(5)]

        async def statuses() -> list[str]:
            return [await client.status(run_id) for run_id in runs]

        clock.advance(9)
        assert await statuses() == ["running", "running", "queued", "queued", "queued"]
        clock.advance(5)
        assert await statuses() == ["completed", "completed", "running", "running", "queued"]
        clock.advance(100)
        lines = await client.ledger()

    assert [line["ended"] - clock.now + 114 for line in lines] == [10, 10, 20, 20, 30]


async def test_a_cancel_frees_the_place_of_a_running_run_and_skips_a_waiting_one() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=10, max_concurrent=1) as client:
        first, second, third = [await client.run_task() for _ in range(3)]
        clock.advance(4)
        await client.post(f"/v1/runs/{second}/cancel")
        await client.post(f"/v1/runs/{first}/cancel")
        clock.advance(5)

        assert await client.status(third) == "running"
        clock.advance(5)
        assert await client.status(third) == "completed"


async def test_a_run_that_is_canceled_before_it_starts_never_shows_a_start() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=10) as client:
        run_id = await client.run_task()
        await client.post(f"/v1/runs/{run_id}/cancel")
        clock.advance(60)
        run = await client.get(f"/v1/runs/{run_id}")

    assert (run["status"], run["started_at"], run["step_count"]) == ("canceled", None, 0)
    assert run["finished_at"] == run["created_at"]


async def test_many_runs_are_canceled_at_once_and_the_rest_is_told() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=5) as client:
        done = await client.run_task()
        clock.advance(6)
        live = await client.run_workflow()

        answer = await client.post("/v1/runs/cancel", {"run_ids": [done, live, "wr_none"]})

        assert await client.status(live) == "canceled"
        status, _ = await client.call("POST", "/v1/runs/cancel", {"run_ids": ["a"] * 101})
    assert answer == {"cancelled": [live], "failed": [done, "wr_none"]}
    assert status == 422
