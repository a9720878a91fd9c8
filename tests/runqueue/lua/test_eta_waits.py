"""A batch whose jobs wait for a budget or a key's rate has no ETA, and says why."""

import pytest

from runqueue.store import job_calls
from tests.runqueue.lua.clockwork import Clockwork
from tests.runqueue.lua.test_budgets import end, set_budget
from tests.runqueue.lua.test_eta import TEN_RUNS, eta_note, rounds
from tests.runqueue.lua.test_waits import limit


@pytest.fixture
def clock(clock: Clockwork) -> Clockwork:
    """An account that a worker serves all the time, and of which runs have ended."""
    clock.client.zadd(clock.key("processes"), {"p0": 2**60})
    clock.limit(**TEN_RUNS)
    clock.batch_of(4)
    rounds(clock, 1, 4, 3)
    return clock


def test_a_batch_that_waits_for_a_rate_of_its_key_names_it_and_no_time(clock: Clockwork) -> None:
    limit(clock, "login:c", max_concurrent=None, hour=3)
    batch, _ = clock.batch_of(4, keys=["login:c"])
    rounds(clock, 1, 1, 3)

    assert "waits for: key login:c lets one begin every 1200 s" in eta_note(clock.read(batch))


@pytest.mark.parametrize("strict", [False, True])
def test_a_batch_whose_group_has_spent_its_budget_names_it_and_no_time(
    clock: Clockwork, strict: bool
) -> None:
    batch, _ = clock.batch_of(40, group="shop", max_steps=4)
    rounds(clock, 2, 10, 3)
    assert clock.read(batch).seconds_left == 6.0
    set_budget(clock, "group:shop", 10, "day", is_strict=strict)
    for job_id in clock.claimed(1):
        end(clock, job_id, 8)
    assert clock.claimed(1) == []

    assert "waits for: the budget of group shop" in eta_note(clock.read(batch))
    assert clock.read(batch) in clock.run(job_calls.list_batches(clock.account, "", 10)).batches
