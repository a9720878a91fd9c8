"""Thousands of groups: held lanes keep nobody waiting, and no script's work grows with their number."""

import pytest

from runqueue import groups
from runqueue.batches import BatchRules
from tests.integration.clockwork import Clockwork, spec

#: More lanes than a tick, or a claim, looks at.
MANY = 300


def batch_in_groups(clock: Clockwork, n: int, rules: BatchRules | None = None) -> str:
    """Open a batch with one job in each of n groups."""
    batch = clock.open_batch(rules) if rules else clock.open_batch()
    for start in range(0, n, 1_000):
        ahead = range(start, min(start + 1_000, n))
        clock.hand_in([spec(f"{batch}-{i}", group=f"g{i}") for i in ahead], batch)
    return batch


def claimed_in(clock: Clockwork, claims: int, want: int = 10) -> list[str]:
    """The ids that so many claims took."""
    return [job for _ in range(claims) for job in clock.claimed(want)]


# Nobody waits for what is held.


@pytest.mark.parametrize("woken", [True, False])
@pytest.mark.parametrize("held", ["paused", "canceled", "groups paused"])
def test_a_job_behind_many_held_lanes_has_a_consumer_started(
    clock: Clockwork, *, woken: bool, held: str
) -> None:
    batch = batch_in_groups(clock, MANY)
    clock.seal(batch)
    if held == "paused":
        clock.hold(batch)
    elif held == "canceled":
        clock.cancel_batch(batch)
        clock.sweep("sweep_canceled")
    else:
        for i in range(MANY):
            clock.run(groups.set_group(clock.account, f"g{i}", paused=True))
    (job,) = clock.enqueue(1, group="other")
    clock.heartbeat(first=True)
    clock.wait(1)
    assert clock.tick(woken=woken).messages["submit"] == 1
    assert claimed_in(clock, 5) == [job]


def test_a_claim_that_took_out_held_lanes_alone_is_followed_by_the_next_at_once(
    clock: Clockwork,
) -> None:
    for _ in range(MANY):
        batch, _ = clock.batch_of(1)
        clock.hold(batch)
    (job,) = clock.enqueue(1)
    clock.heartbeat(first=True)
    taken = clock.claim()
    assert not taken.items
    assert not taken.left
    assert taken.next_us == clock.now
    assert claimed_in(clock, 3) == [job]


def test_consumers_end_once_claims_have_taken_every_held_lane_out(clock: Clockwork) -> None:
    batch = batch_in_groups(clock, MANY)
    clock.seal(batch)
    clock.hold(batch)
    clock.heartbeat(first=True)
    lefts = [clock.claim().left for _ in range(5)]
    assert lefts[0] is False
    assert lefts[-1] is True
    clock.wait(1)
    assert "submit" not in clock.tick().messages


def test_jobs_in_more_groups_than_a_tick_looks_at_have_a_consumer_in_each_process(
    clock: Clockwork,
) -> None:
    for i in range(4):
        clock.heartbeat(f"p{i}", first=True)
    clock.hand_in([spec(f"j{i}", group=f"g{i}") for i in range(1_000)])
    clock.wait(1)
    assert clock.tick("p0").messages["submit"] == 4


def test_held_jobs_alone_have_no_consumer_started_after_their_jobs_were_canceled(
    clock: Clockwork,
) -> None:
    batch = batch_in_groups(clock, MANY)
    clock.seal(batch)
    clock.cancel_batch(batch)
    clock.heartbeat(first=True)
    clock.sweep("sweep_canceled")
    clock.wait(1)
    assert "submit" not in clock.tick().messages
