"""What the transitions count for monitoring: times, groups, causes, and what is bounded."""

import re
from importlib.resources import files

import pytest

from runqueue.observe.statistics import GROUPS, OTHER, Figures, GroupLoad, read_figures
from runqueue.records.account import AccountStats
from runqueue.records.claim_items import Finished, GivenBack, RunAgain
from runqueue.records.delivery import Reported
from runqueue.records.times import BOUNDS
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import LEASE, SECOND, Clockwork, took
from tests.runqueue.lua.webhooks import awaited, due, outcome, receive, record, told


def figures(clock: Clockwork) -> Figures:
    return clock.run(read_figures(clock.account))


def stats(clock: Clockwork) -> AccountStats:
    return clock.run(job_calls.stats(clock.account))


def timed(clock: Clockwork, name: str) -> tuple[list[float], float]:
    """The upper bounds of the buckets that something fell into, each as often, and the sum."""
    times = stats(clock).times[name]
    bounds = [*BOUNDS, float("inf")]
    fell = [bound for bound, n in zip(bounds, times.counts, strict=True) for _ in range(n)]
    return fell, times.sum_seconds


def loads(clock: Clockwork) -> dict[str, tuple[int, int]]:
    return {group.group: (group.waiting, group.live) for group in figures(clock).groups}


def end(clock: Clockwork, job: str, times: str, state: str = "completed") -> None:
    item = Finished(job, 1, f"r-{job}", state, state, "", b"{}", times)
    assert clock.run(worker_calls.finish(clock.account, [item])) == [1]


def test_the_bounds_of_the_buckets_are_the_same_in_the_script() -> None:
    source = (files("runqueue") / "lua/lib/account/times.lua").read_text()
    (found,) = re.findall(r"BOUNDS = \{([^}]*)\}", source)

    assert tuple(float(bound) for bound in found.split(",")) == BOUNDS


def test_the_time_in_our_queue_is_that_until_the_run_was_accepted(clock: Clockwork) -> None:
    clock.enqueue(2)
    clock.wait(2.5)
    clock.heartbeat(first=True)
    taken = clock.claim(2).items
    clock.accept(taken[:1])
    clock.wait(20)
    clock.heartbeat(first=True)
    clock.accept(taken[1:])

    assert timed(clock, "queue") == ([3, 30], 25.0)


def test_what_skyvern_tells_of_a_run_is_counted_where_its_end_is_recorded(clock: Clockwork) -> None:
    first, second, third = clock.running(3)
    end(clock, first, took(4.0, 100.0, 7))
    end(clock, second, took(None, None, 5))
    again = RunAgain(third, 1, f"r-{third}", "failed", "no luck", 0, b"{}", took(0.5, 9.0, None))
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]

    assert timed(clock, "run_queue") == ([1, 10], 4.5)
    assert timed(clock, "run") == ([10, 120], 109.0)
    assert stats(clock).totals["steps"] == 12
    assert stats(clock).totals["seen:retried"] == 1


def test_a_run_is_counted_once_by_what_told_its_end(clock: Clockwork) -> None:
    (polled,) = clock.running()
    end(clock, polled, "")
    missed, came = awaited(clock, 2)
    end(clock, missed, took(1.0, 1.0, 1))
    times = took(2.0, 3.0, 4)
    report: Reported = told(came)._replace(figures=times)
    receive(clock, report)
    receive(clock, report)

    totals = stats(clock).totals
    seen = {way: totals.get(f"seen:{way}") for way in ("poll", "missed", "webhook")}
    assert seen == {"poll": 1, "missed": 1, "webhook": 1}
    assert totals["steps"] == 5
    assert timed(clock, "run")[1] == 4.0


def test_a_group_is_told_by_what_waits_and_what_is_live(clock: Clockwork) -> None:
    clock.enqueue(5, group="shop")
    clock.enqueue(2, group="mill")
    clock.heartbeat(first=True)
    taken = clock.claim(4).items
    clock.accept(taken[:2])
    clock.give_back(taken[2].job_id)

    told_of = loads(clock)
    assert told_of.pop(OTHER) == (0, 0)
    assert sum(live for _, live in told_of.values()) == 3
    assert sum(waiting for waiting, _ in told_of.values()) == 4
    assert sum(map(sum, (told_of["shop"],))) == 5
    assert sum(map(sum, (told_of["mill"],))) == 2


def test_groups_beyond_the_busiest_are_counted_together(clock: Clockwork) -> None:
    for number in range(GROUPS + 30):
        clock.enqueue(1 + number % 7, group=f"g{number}")
    total = sum(1 + number % 7 for number in range(GROUPS + 30))

    told_of = figures(clock).groups

    assert len(told_of) == GROUPS + 1
    assert told_of[-1].group == OTHER
    assert sum(group.waiting for group in told_of) == total
    assert min(group.waiting for group in told_of[:-1]) >= 5


def test_a_group_that_is_called_other_is_one_of_the_others(clock: Clockwork) -> None:
    clock.enqueue(3, group=OTHER)
    clock.enqueue(1, group="shop")

    assert figures(clock).groups == (GroupLoad("shop", 1, 0), GroupLoad(OTHER, 3, 0))


def test_a_group_whose_jobs_are_all_over_is_forgotten(clock: Clockwork) -> None:
    (job,) = clock.running(group="shop")
    (other,) = clock.enqueue(group="mill")
    clock.finish(job)
    clock.cancel(other)

    assert loads(clock) == {OTHER: (0, 0)}
    assert not clock.client.exists(clock.key("busy"))


@pytest.mark.parametrize(
    ("why", "kind"),
    [("account", "account"), ("not_sent", "server"), ("busy", "server"), ("limited", "rate")],
)
def test_what_a_claim_came_back_for_says_what_holds_the_account(
    clock: Clockwork, why: str, kind: str
) -> None:
    assert stats(clock).hold_kind is None
    (job,) = clock.enqueue()
    clock.claimed()
    clock.give_back(job, why, wait=5)
    assert stats(clock).hold_kind == kind
    clock.wait(100)
    assert stats(clock).hold_kind is None


def test_heartbeats_and_ticks_are_told_by_their_age(clock: Clockwork) -> None:
    assert figures(clock).heartbeats == {}
    assert figures(clock).ticked is None
    clock.heartbeat("old", first=True)
    clock.wait(4)
    clock.heartbeat("new", first=True)
    clock.tick("new", interval=0.5)
    clock.wait(2)

    told_of = figures(clock)
    assert told_of.heartbeats == {"oldest": 6.0, "newest": 2.0}
    assert told_of.ticked == 2.0
    clock.wait(LEASE / SECOND)
    assert figures(clock).heartbeats == {}
    assert figures(clock).ticked == 17.0


def test_batches_are_told_by_how_they_stand(clock: Clockwork) -> None:
    clock.open_batch()
    _, jobs = clock.batch_of(2)
    clock.end_all("completed", "completed")
    held, _ = clock.batch_of(3)
    clock.hold(held)
    clock.batch_of(1)
    assert clock.states(jobs) == {"completed"}

    told_of = figures(clock)
    assert told_of.batches == {"validating": 1, "in_progress": 1, "held": 1, "finished": 1}
    assert told_of.batch_jobs == {"open": 4, "ended": 0}
    totals = stats(clock).totals
    assert (totals["batches:opened"], totals["batches:finished"]) == (4, 1)


def test_late_words_are_counted_by_transition(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.give_back(job)
    clock.refuse(job)
    clock.lose(job)
    clock.found(job, 1, "another-run")
    clock.wait(20)
    assert not clock.heartbeat()

    totals = stats(clock).totals
    fenced = {name[7:]: n for name, n in totals.items() if name.startswith("fenced:")}
    assert fenced == dict.fromkeys(
        ("give_back", "mark_dead", "mark_unconfirmed", "mark_running", "heartbeat"), 1
    )


def test_a_submission_is_counted_by_what_its_answer_meant(clock: Clockwork) -> None:
    ok, bad, lost, back = clock.enqueue(4)
    clock.heartbeat(first=True)
    items = {item.job_id: item for item in clock.claim(4).items}
    clock.accept([items[ok]])
    clock.refuse(bad)
    clock.lose(lost)
    item = GivenBack(back, 1, 0, "503", 0.0)
    clock.run(worker_calls.give_back(clock.account, [item], "busy"))

    totals = stats(clock).totals
    assert [totals[f"submissions:{c}"] for c in ("accepted", "refused", "unknown")] == [1, 1, 1]
    assert totals["given_back:busy"] == 1


def test_calls_are_counted_where_their_permits_are_taken(clock: Clockwork) -> None:
    jobs = clock.running(3)
    clock.wait(2)
    clock.heartbeat(first=True)
    clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE, max_run_us=7_200 * SECOND))
    clock.cancel(jobs[0])
    clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, LEASE))
    clock.run(worker_calls.permits(clock.account, 2))

    totals = stats(clock).totals
    assert [totals[f"calls:{call}"] for call in ("get", "cancel", "other")] == [3, 1, 2]
    assert totals["claims"] == 3


def test_a_delivered_webhook_took_the_time_since_its_job_s_end(clock: Clockwork) -> None:
    (job,) = awaited(clock)
    receive(clock, told(job))
    clock.wait(40)
    (item,) = due(clock)
    assert record(clock, outcome(item)) == [1]

    assert timed(clock, "delivery") == ([60], 40.0)


def test_what_a_scrape_asks_of_redis_does_not_grow_with_the_groups(clock: Clockwork) -> None:
    def commands() -> int:
        asked = dict[str, dict[str, int]](clock.client.info("commandstats"))
        return sum(kind["calls"] for kind in asked.values())

    def cost() -> int:
        before = commands()
        stats(clock)
        figures(clock)
        return commands() - before

    for number in range(300):
        clock.enqueue(2, group=f"g{number}")
    cost()  # the scripts are known now
    first = cost()
    for number in range(300, 1_000):
        clock.enqueue(2, group=f"g{number}")

    assert cost() == first
    assert len(figures(clock).groups) == GROUPS + 1
