"""Groups: caps and pauses set while they work."""

import pytest

from runqueue.errors import InvalidGroup
from runqueue.store import groups
from runqueue.store.groups import KEEP, Group, Keep
from tests.runqueue.lua.clockwork import Clockwork


def set_group(
    clock: Clockwork,
    name: str = "shop",
    *,
    max_concurrent: int | Keep | None = KEEP,
    paused: bool | None = None,
) -> Group:
    return clock.run(groups.set_group(clock.account, name, max_concurrent, paused))


def ttl(clock: Clockwork, group: str = "shop") -> int:
    return clock.client.ttl(clock.key(f"group:{group}"))


def test_a_cap_that_is_raised_lets_a_group_go_on_at_once(clock: Clockwork) -> None:
    clock.enqueue(10, group="shop")
    set_group(clock, max_concurrent=2)
    assert len(clock.claimed(10)) == 2
    assert clock.claimed(10) == []
    clock.client.delete(clock.key("wake"))
    assert set_group(clock, max_concurrent=5).live == 2
    assert clock.client.exists(clock.key("wake")) == 1
    assert len(clock.claimed(10)) == 3
    assert clock.claimed(10) == []
    set_group(clock, max_concurrent=None)
    assert len(clock.claimed(10)) == 5


def test_a_cap_below_what_is_live_waits_for_the_ends(clock: Clockwork) -> None:
    jobs = clock.running(3, group="shop")
    waiting = clock.enqueue(3, group="shop")
    set_group(clock, max_concurrent=1)
    for job in jobs[:2]:
        clock.finish(job)
        assert clock.claimed() == []
    clock.finish(jobs[2])
    assert clock.claimed() == waiting[:1]


def test_nothing_of_a_paused_group_is_claimed_until_it_goes_on(clock: Clockwork) -> None:
    jobs = clock.enqueue(3, group="shop")
    others = clock.enqueue(1)
    assert set_group(clock, paused=True).paused
    assert clock.claimed() == others
    clock.client.delete(clock.key("wake"))
    jobs += clock.enqueue(1, group="shop")
    assert clock.claimed() == []
    clock.client.delete(clock.key("wake"))
    assert not set_group(clock, paused=False).paused
    assert clock.client.exists(clock.key("wake")) == 1
    assert clock.claimed() == jobs


@pytest.mark.parametrize("settings", [{"max_concurrent": 2}, {"paused": True}])
def test_a_group_with_settings_is_not_forgotten(
    clock: Clockwork, settings: dict[str, bool]
) -> None:
    (job,) = clock.running(group="shop")
    clock.finish(job)
    assert ttl(clock) > 0, "nobody gave it settings"
    set_group(clock, **settings)  # type: ignore[arg-type]
    assert ttl(clock) == -1
    set_group(clock, max_concurrent=None, paused=False)
    (job,) = clock.running(group="shop")
    set_group(clock, **settings)  # type: ignore[arg-type]
    clock.finish(job)
    assert ttl(clock) == -1
    set_group(clock, max_concurrent=None, paused=False)
    assert ttl(clock) > 0
    assert clock.client.exists(clock.key("groups")) == 0


@pytest.mark.parametrize("end", ["canceled", "deadline", "held"])
def test_a_group_whose_jobs_never_had_a_slot_is_forgotten_a_day_later(
    clock: Clockwork, end: str
) -> None:
    if end == "held":
        batch, _ = clock.batch_of(2, group="shop")
        clock.hold(batch)
    else:
        jobs = clock.enqueue(2, group="shop", deadline=clock.now + 1)
        clock.wait(1)
        if end == "canceled":
            clock.cancel(*jobs)
    assert clock.claimed() == []
    assert 0 < ttl(clock) <= 86_400
    clock.running(group="shop")
    assert ttl(clock) == -1, "it is in use again"


def test_a_pause_costs_a_group_no_turn_and_gives_it_none(clock: Clockwork) -> None:
    clock.enqueue(40, group="shop")
    clock.enqueue(40, group="free")
    assert len(clock.claimed(20)) == 20
    set_group(clock, paused=True)
    assert len(clock.claimed(10)) == 10
    set_group(clock, paused=False)
    taken = [job for _ in range(20) for job in clock.claimed(1)]
    assert abs(sum(clock.field(job, "group") == "shop" for job in taken) - 10) <= 1


def test_groups_with_settings_or_ready_jobs_are_listed(clock: Clockwork) -> None:
    clock.running(2, group="busy")
    clock.enqueue(1, group="waits")
    batch = clock.open_batch()
    clock.enqueue(1, group="held", batch=batch)
    set_group(clock, "shop", max_concurrent=2)
    set_group(clock, "off", paused=True)
    clock.enqueue(1, group="off")
    found = clock.queue.groups(clock.account)
    account = clock.account
    assert found == [
        Group("off", account, None, True, 0, 1),
        Group("shop", account, 2, False, 0, 0),
        Group("waits", account, None, False, 0, 1),
    ]
    assert found[1].as_dict()["max_concurrent"] == 2
    assert len(clock.run(groups.group_names(clock.account, 2))) == 2


@pytest.mark.parametrize(
    ("name", "max_concurrent", "field"),
    [("Shop", None, "group"), ("", None, "group"), ("a", 0, "max_concurrent"), ("a", -1, "max_")],
)
def test_bad_settings_are_named(name: str, max_concurrent: int | None, field: str) -> None:
    with pytest.raises(InvalidGroup, match=field):
        groups.set_group("default", name, max_concurrent)
