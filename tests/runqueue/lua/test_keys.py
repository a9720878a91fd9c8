"""Limits on keys: what jobs use together."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import pytest
import redis

from runqueue.records.claim_items import Finished, RunAgain
from runqueue.store import budgets, groups, key_limits, operator_calls, worker_calls
from runqueue.store.budgets import Budget
from runqueue.store.key_limits import KeyLimit
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import SECOND, Clockwork, QueueOfClock, spec


def limit(clock: Clockwork, key: str, most: int | None = None, **rate: float | None) -> None:
    """Set the limit of a key; `second=2`: two may begin in a second."""
    unit, n = next(iter(rate.items()), ("second", None))
    clock.run(key_limits.set_limit(clock.account, key, KeyLimit(most, n, unit)))


def holders(clock: Clockwork, key: str) -> int:
    """How many have a key."""
    return clock.client.scard(clock.key(f"key:{key}"))


def left_over(clock: Clockwork) -> list[str]:
    """The keys about keys that are there although no job waits or lives."""
    found = [raw.decode() for raw in cast("list[bytes]", clock.client.keys("*"))]
    names = [name.partition("}:")[2] for name in found]
    own = ("key:", "key_waits:", "key_offers:", "key_elsewhere:", "held_", "orphan_takes")
    return [name for name in names if name.startswith(own)]


def end(clock: Clockwork, *job_ids: str) -> None:
    """Bring claimed jobs to their ends."""
    for job_id in job_ids:
        attempt = int(clock.field(job_id, "attempt") or 0)
        assert clock.found(job_id, attempt, f"r-{job_id}-{attempt}") == 1
        assert clock.finish(job_id, attempt=attempt, run_id=f"r-{job_id}-{attempt}") == 1


def test_no_more_jobs_have_a_key_than_its_limit_and_those_without_it_go_on(
    clock: Clockwork,
) -> None:
    limit(clock, "site:a", 2)
    at_a = clock.enqueue(5, keys=["site:a"])
    others = clock.enqueue(3)

    assert clock.claimed() == [*at_a[:2], *others]
    assert holders(clock, "site:a") == 2
    end(clock, at_a[0])
    assert clock.claimed() == [at_a[2]]


def test_jobs_have_a_key_in_the_order_in_which_they_came(clock: Clockwork) -> None:
    limit(clock, "site:a", 1)
    jobs = clock.enqueue(20, keys=["site:a"])
    done: list[str] = []
    while len(done) < len(jobs):
        taken = clock.claimed()
        assert len(taken) == 1
        end(clock, *taken)
        done += taken
    assert done == jobs
    assert left_over(clock) == []


def test_a_limit_that_is_raised_or_cleared_lets_what_waits_go(clock: Clockwork) -> None:
    limit(clock, "site:a", 1)
    jobs = clock.enqueue(8, keys=["site:a"])
    assert clock.claimed() == jobs[:1]
    limit(clock, "site:a", 3)
    assert clock.claimed() == jobs[1:3]
    clock.run(key_limits.set_limit(clock.account, "site:a", None))
    assert clock.claimed() == jobs[3:]
    assert clock.client.zcard(clock.key("held_keys")) == 0


def test_a_limit_for_a_segment_that_is_cleared_lets_all_go_in_steps(clock: Clockwork) -> None:
    limit(clock, "site:*", 1)
    for n in range(60):
        clock.enqueue(2, keys=[f"site:s{n}"])
    assert len(clock.claimed(500)) + len(clock.claimed(500)) == 60
    clock.run(key_limits.set_limit(clock.account, "site:*", None))
    taken = 0
    for _ in range(20):
        taken += len(clock.claimed(500))
    assert taken == 60


@pytest.mark.parametrize("segment", ["session", "profile", "totp"])
def test_a_browser_session_or_profile_or_one_time_codes_are_used_by_one_job_at_a_time(
    clock: Clockwork, segment: str
) -> None:
    jobs = clock.enqueue(2, keys=[f"{segment}:1"])
    assert clock.claimed() == jobs[:1]
    end(clock, jobs[0])
    assert clock.claimed() == jobs[1:]


def test_one_time_codes_may_be_exempt_and_a_credential_has_a_limit_once_it_is_set(
    clock: Clockwork,
) -> None:
    codes, logins = (clock.enqueue(2, keys=[key]) for key in ("totp:1", "credential:1"))
    assert clock.claimed() == [codes[0], *logins]
    limit(clock, "totp:*")
    assert clock.claimed() == codes[1:]
    limit(clock, "credential:*", 1)
    clock.enqueue(1, keys=["credential:1"])
    assert clock.claimed() == []


def test_a_session_that_skyvern_says_is_occupied_pauses_for_half_a_minute_doubling_to_ten(
    clock: Clockwork,
) -> None:
    words, pauses = "HTTP 400: Browser session pbs_1 is already occupied by wr_1.", []
    for job_id in clock.enqueue(8, keys=["session:pbs_1"]):
        since = clock.now
        while not (taken := clock.claimed()):
            clock.wait(1)
        assert taken == [job_id]
        pauses.append(round((clock.now - since) / 1e6))
        assert clock.give_back(job_id, "later", reason=words) == 1
    assert pauses == [0, 30, 60, 120, 240, 480, 600, 600]


def test_a_claim_asks_to_be_repeated_later_while_a_key_whose_rate_has_room_is_full(
    clock: Clockwork,
) -> None:
    limit(clock, "site:a", 1, minute=6)
    first, second = clock.enqueue(2, keys=["site:a"])
    assert clock.claimed() == [first]
    clock.wait(15)
    until, claims = clock.now + 10 * SECOND, 0
    while clock.now < until and claims < 100:
        clock.heartbeat(first=True)
        taken = clock.claim(stay_idle=True)
        assert taken.items == []
        clock.now = max(clock.now, taken.next_us)
        claims += 1
    assert claims <= 11
    end(clock, first)
    assert clock.claimed() == [second]


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_rate_is_used_to_the_full_however_many_keys_jobs_wait_for(
    clock: Clockwork, *, is_behind: bool
) -> None:
    limit(clock, "site:*", 1)
    limit(clock, "shop:a", None, minute=20)
    for number in range(400):
        clock.enqueue(2, keys=[f"site:{number}"])
    while clock.claimed(100):
        pass
    rated = clock.enqueue(6, keys=["shop:a"], priority=3)
    assert len(clock.claimed(100)) == 1
    if is_behind:  # the rated jobs are offered their key, and more urgent ones go first
        clock.enqueue(80, priority=0)
        for _ in range(80):
            assert len(clock.claimed(1)) == 1
            clock.wait(0.1)
    began, until = 0, clock.now + 12.5 * SECOND
    while clock.now < until:
        clock.heartbeat(first=True)
        taken = clock.claim(100, stay_idle=True)
        began += sum(one.job_id in rated for one in taken.items)
        clock.now = max(clock.now, taken.next_us)
    assert began == (5 if is_behind else 4)


def search_and_find_none(clock: Clockwork, job_id: str) -> None:
    clock.lose(job_id)
    assert clock.deny(job_id) == 2


def die_and_find_none(clock: Clockwork, job_id: str) -> None:
    assert clock.die() == 1
    clock.heartbeat(first=True)
    assert clock.deny(job_id) == 2


def settle(clock: Clockwork, job_id: str, what: str) -> None:
    clock.lose(job_id)
    call = operator_calls.settle(clock.account, [(job_id, 1, 0)], what, "a person looked")
    assert clock.run(call) == [1]


def give_back(why: str, clock: Clockwork, job_id: str) -> None:
    assert clock.give_back(job_id, why) == 1


def cancel_and_give_back(clock: Clockwork, job_id: str) -> None:
    clock.cancel(job_id)
    clock.give_back(job_id, "busy")


def resubmit_unproven(clock: Clockwork, job_id: str) -> None:
    clock.lose(job_id)
    clock.wait(600)
    assert clock.search(job_id, "unknown") == 2


def run_again(clock: Clockwork, job_id: str) -> None:
    assert clock.found(job_id, 1, "r1") == 1
    again = RunAgain(job_id, 1, "r1", "failed", "no luck", 0, b"{}")
    clock.run(worker_calls.retry_run(clock.account, [again]))


#: Each way out of a claim, and whether it gives the rates of the job's keys back: not where a run
#: was made, or may have been.
WAYS_OUT: dict[str, tuple[Callable[[Clockwork, str], object], bool]] = {
    **{
        why: (partial(give_back, why), True)
        for why in ("void", "not_sent", "busy", "limited", "account", "later")
    },
    "refused": (lambda clock, job_id: clock.refuse(job_id), True),
    "given back, canceled": (cancel_and_give_back, True),
    "two searches found no run": (search_and_find_none, True),
    "its process died, no run found": (die_and_find_none, True),
    "a person says there is no run": (lambda clock, i: settle(clock, i, "resubmit"), True),
    "a person ends the search": (lambda clock, i: settle(clock, i, "fail"), False),
    "on_unconfirmed is resubmit": (resubmit_unproven, False),
    "its answer is lost": (lambda clock, job_id: clock.lose(job_id), False),
    "its process died": (lambda clock, _: clock.die(), False),
    "it runs": (lambda clock, job_id: clock.found(job_id, 1, "r1"), False),
    "its run ended": (end, False),
    "it runs again": (run_again, False),
}


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_a_claim_that_surely_made_no_run_costs_its_keys_no_rate(
    clock: Clockwork, way_out: str
) -> None:
    leave, is_given_back = WAYS_OUT[way_out]
    limit(clock, "login:a", hour=1)
    limit(clock, "login:b", hour=1)
    on_unconfirmed = "resubmit" if way_out.startswith("on_unc") else "auto"
    job_id, other = (
        clock.enqueue(1, keys=["login:a", "login:b"], on_unconfirmed=on_unconfirmed)[0]
        for _ in range(2)
    )
    assert clock.claimed() == [job_id]
    since = clock.now
    leave(clock, job_id)
    waited = since
    while not (taken := clock.claimed(1)):
        clock.wait(30)
        waited = clock.now
    assert taken[0] in {job_id, other}
    assert (waited - since < 1200 * SECOND) == is_given_back


def test_a_claim_that_is_given_back_twice_gives_its_rate_back_once(clock: Clockwork) -> None:
    limit(clock, "login:a", hour=1)
    first, second = (clock.enqueue(1, keys=["login:a"])[0] for _ in range(2))
    assert clock.claimed() == [first]
    assert clock.give_back(first) == 1
    clock.cancel(first)
    assert clock.claimed() == [second]
    clock.enqueue(1, keys=["login:a"])

    assert clock.give_back(first) == 0

    assert clock.claimed() == []


def test_a_rate_is_not_given_back_where_another_job_began_since(clock: Clockwork) -> None:
    limit(clock, "login:a", hour=1)
    (first,) = clock.enqueue(1, keys=["login:a"])
    second, third = (clock.enqueue(1, keys=["login:a"])[0] for _ in range(2))
    assert clock.claimed() == [first]
    clock.lose(first)
    clock.wait(3600)
    assert clock.claimed() == [second]
    assert clock.deny(first) == 2
    clock.cancel(first)
    assert clock.claimed() == []
    clock.wait(3600)
    assert clock.claimed() == [third]


@pytest.mark.parametrize("cleared", [True, False])
def test_a_faster_rate_holds_from_the_next_claim_on(clock: Clockwork, *, cleared: bool) -> None:
    limit(clock, "site:a", None, hour=3)
    jobs = clock.enqueue(4, keys=["site:a"])
    assert clock.claimed() == jobs[:1]
    clock.wait(1)
    assert clock.claimed() == []
    if cleared:
        clock.run(key_limits.set_limit(clock.account, "site:a", None))
    limit(clock, "site:a", None, minute=30)
    assert clock.claimed() == jobs[1:2]
    clock.wait(1)
    assert clock.claimed() == []
    clock.wait(1)
    assert clock.claimed() == jobs[2:3]


def test_an_unconfirmed_job_and_an_orphan_keep_their_keys(clock: Clockwork) -> None:
    limit(clock, "site:a", 1)
    lost, other = clock.enqueue(2, keys=["site:a"])
    assert clock.claimed() == [lost]
    clock.lose(lost)
    assert clock.claimed() == []
    clock.deny(lost)
    assert clock.claimed() == [other]
    assert clock.found(lost, 1, "r1") == 1  # it was made late
    assert holders(clock, "site:a") == 2
    end(clock, other)
    assert holders(clock, "site:a") == 1
    assert clock.finish(lost, run_id="r1") == 1
    assert clock.claimed() == []  # its place in line is skipped
    assert left_over(clock) == []


def test_a_job_that_was_given_back_waits_for_one_other_at_most(clock: Clockwork) -> None:
    limit(clock, "site:a", 1)
    first, *_ = clock.enqueue(5, keys=["site:a"])
    assert clock.claimed() == [first]
    clock.claimed()
    clock.give_back(first)
    (other,) = clock.claimed()
    assert other != first
    end(clock, other)
    clock.claimed()
    assert clock.state(first) == "submitting"


def run_all(clock: Clockwork, length: dict[str, int], most: int = 500) -> list[tuple[str, ...]]:
    """Have all jobs run, each for its number of steps; returns the ids that began, by step."""
    live: dict[str, int] = {}
    began: list[tuple[str, ...]] = []
    for step in range(most):
        over = [job_id for job_id, until in live.items() if until <= step]
        end(clock, *over)
        for job_id in over:
            del live[job_id]
        taken = clock.claimed(100)
        for job_id in taken:
            live[job_id] = step + length[job_id]
        began.append(tuple(taken))
        clock.wait(1)
        if not live and not taken and step > 2:
            break
    return began


@pytest.mark.parametrize("seed", range(6))
def test_no_limit_is_exceeded_and_no_job_is_left_whatever_keys_they_name(
    clock: Clockwork, seed: int
) -> None:
    chance = random.Random(seed)
    limits = {"a:1": 1, "b:1": 2, "c:1": 3}
    for key, most in limits.items():
        limit(clock, key, most)
    keys: dict[str, Sequence[str]] = {}
    length: dict[str, int] = {}
    for _ in range(60):
        named = chance.sample([*limits, "d:1"], chance.randint(0, 4))
        priority, group = chance.choice([1, 2]), chance.choice("xy")
        (job_id,) = clock.enqueue(1, keys=sorted(named), priority=priority, group=group)
        keys[job_id] = named
        length[job_id] = chance.randint(1, 3)
    live: dict[str, int] = {}
    done: list[str] = []
    for step in range(400):
        over = [job_id for job_id, until in live.items() if until <= step]
        end(clock, *over)
        done += over
        for job_id in over:
            del live[job_id]
        for job_id in clock.claimed(100):
            live[job_id] = step + length[job_id]
        for key, most in limits.items():
            assert sum(key in keys[job_id] for job_id in live) <= most
        clock.wait(1)
    assert sorted(done) == sorted(keys)
    assert left_over(clock) == []


@pytest.mark.parametrize("most", [1, 3])
def test_a_job_that_names_two_contended_keys_is_overtaken_by_ten_times_a_limit_at_most(
    clock: Clockwork, most: int
) -> None:
    limit(clock, "a:1", most)
    limit(clock, "b:1", most)
    length: dict[str, int] = {}
    chance = random.Random(1)

    def more(n: int) -> None:
        for key in ("a:1", "b:1"):
            clock.wait(0.1)
            for job_id in clock.enqueue(n, keys=[key]):
                length[job_id] = chance.randint(1, 4)

    more(10 * most)
    clock.wait(0.1)
    (both,) = clock.enqueue(1, keys=["a:1", "b:1"])
    length[both] = 1
    more(40 * most)
    order = list(length)
    began = [job_id for step in run_all(clock, length) for job_id in step]
    assert sorted(began) == sorted(order)
    for key in ("a:1", "b:1"):
        later = [
            job_id
            for job_id in began[: began.index(both)]
            if order.index(job_id) > order.index(both)
            and key in (clock.field(job_id, "keys") or "")
        ]
        assert len(later) <= 10 * most


def begun(clock: Clockwork, seconds: int, every: float = 1.0) -> list[str]:
    """Claim for a while; each job that is claimed ends at once."""
    done: list[str] = []
    for _ in range(round(seconds / every)):
        clock.wait(every)
        clock.heartbeat(first=True)
        taken = clock.claimed(100)
        end(clock, *taken)
        done += taken
    return done


def test_no_place_is_kept_for_a_job_that_waits_for_a_rate_at_another_key(clock: Clockwork) -> None:
    limit(clock, "host:s", 1)
    limit(clock, "login:slow", None, hour=1)
    (first,) = clock.enqueue(1, keys=["login:slow"])
    assert begun(clock, 2) == [first]
    clock.enqueue(1, keys=["login:slow", "host:s"])
    assert begun(clock, 2) == []
    jobs = clock.enqueue(30, keys=["host:s"])
    assert begun(clock, 90) == jobs


def test_lanes_of_a_group_at_its_cap_keep_no_other_group_from_a_key(clock: Clockwork) -> None:
    limit(clock, "host:s", 1)
    (holds,) = clock.enqueue(1, keys=["host:s"], group="z")
    assert clock.claimed() == [holds]
    for number in range(50):
        clock.wait(0.001)
        clock.enqueue(1, group="a", keys=["host:s", f"login:l{number}"])
    while clock.claimed(100):
        pass
    clock.run(groups.set_group(clock.account, "a", 1))
    (only,) = clock.enqueue(1, group="a")
    assert clock.claimed() == [only]
    (other,) = clock.enqueue(1, group="b", keys=["host:s"])
    assert clock.claimed() == []
    end(clock, holds)

    taken: list[str] = []
    for _ in range(5):
        clock.wait(1)
        taken += clock.claimed(100)
    assert taken == [other]


def test_a_job_whose_id_another_has_now_holds_up_no_lane(clock: Clockwork) -> None:
    limit(clock, "site:a", 1)
    limit(clock, "site:b", 1)
    at_a, at_b = (clock.enqueue(1, keys=[key])[0] for key in ("site:a", "site:b"))
    assert clock.claimed() == [at_a, at_b]
    deadline = clock.now + 5 * SECOND
    (first,) = clock.enqueue_specs([spec("X", keys=["site:a"], deadline=deadline)])
    more = clock.enqueue(3, keys=["site:a"])
    assert clock.claimed() == []
    clock.wait(6)
    clock.heartbeat(first=True)
    clock.sweep("expire_deadlines")
    clock.run(operator_calls.discard(clock.account, [first.job_id]))
    assert clock.enqueue_specs([spec("X", keys=["site:b"], body="b")])[0].job_id == first.job_id
    end(clock, at_a)

    assert begun(clock, 10) == more


def test_a_lane_with_jobs_that_wait_and_jobs_for_later_says_which_are_which(
    clock: Clockwork,
) -> None:
    batch, other = clock.open_batch(), clock.open_batch()
    clock.enqueue(names=["A", "B"], batch=batch)
    clock.enqueue_specs([spec("A")], other)
    clock.seal(other)
    ((count, jobs),) = clock.run(
        worker_calls.read_lanes(clock.account, [f"lane:2:default:{batch}"], 0, 10)
    )
    assert (count, [job.letters for job in jobs]) == (2, ["p", "l"])


def test_lanes_of_a_resumed_batch_are_searched_in_no_list(clock: Clockwork) -> None:
    limit(clock, "host:s", 1)
    (busy,) = clock.enqueue(1, keys=["host:s"])
    assert clock.claimed() == [busy]
    batch = clock.open_batch()
    jobs = [
        clock.enqueue(1, batch=batch, keys=["host:s", f"login:l{number}"])[0]
        for number in range(150)
    ]
    clock.seal(batch)
    for _ in range(10):
        assert clock.claimed(100) == []  # they move to lanes of their keys
    clock.hold(batch)
    end(clock, busy)
    for _ in range(10):
        clock.wait(1)
        assert clock.claimed(100) == []
    place = f"2:default:{batch}"
    assert clock.client.exists(clock.key(f"lane:{place}")) == 0

    lpos = "cmdstat_lpos"
    clock.client.config_resetstat()
    clock.resume(batch)
    while clock.sweep("step_lanes"):
        pass
    assert clock.client.info("commandstats").get(lpos) is None
    assert sorted(begun(clock, 160)) == sorted(jobs)


@pytest.mark.parametrize("rate", [None, 10])
@pytest.mark.parametrize(
    ("names", "keys", "in_row"), [(1, 200, 10), (4, 200, 10), (7, 100, 10), (7, 600, 1)]
)
def test_what_a_script_does_for_keys_is_bounded_whatever_waits(
    clock: Clockwork, names: int, keys: int, in_row: int, rate: float | None
) -> None:
    """A job has seven keys at most: four that it names, and those of its request."""
    for name in range(names):
        limit(clock, f"s{name}:*", 1, second=rate)
    for number in range(keys):
        clock.enqueue(in_row, keys=[f"s{n}:{number * (1 + 2 * n) % keys}" for n in range(names)])
    claims, ends, done = [0], [0], 0
    while done < keys * in_row:
        assert len(claims) < 1000
        clock.wait(0.1)
        clock.heartbeat(first=True)
        claim = worker_calls.claim(clock.account, "p1", f"c{len(claims)}", 500, 0)
        claims.append(clock.commands(claim))
        taken = clock.run(claim).items  # the same claim again
        clock.accept(taken)
        over = [
            Finished(job.job_id, 1, f"r-{job.job_id}", "completed", "completed", "", b"{}")
            for job in taken
        ]
        for first in range(0, len(over), 100):
            end_them = worker_calls.finish(clock.account, over[first : first + 100])
            ends.append(clock.commands(end_them))
        done += len(taken)
    assert max(claims) <= 2500
    assert max(ends) <= 2500
    assert left_over(clock) == []


def test_refused_submissions_and_occupied_runs_are_counted_apart(clock: Clockwork) -> None:
    (job_id,) = clock.enqueue(1, keys=["session:pbs_1"])
    words = "Browser session pbs_1 is already occupied by wr_1."

    def submitted() -> int:
        while not clock.claimed():
            clock.wait(30)
            clock.heartbeat(first=True)
            clock.sweep("promote_due")
        return int(clock.field(job_id, "attempt") or 0)

    for _ in range(3):
        attempt = submitted()
        assert clock.give_back(job_id, "later", attempt=attempt, reason=f"HTTP 400: {words}") == 1
    for _ in range(6):
        assert clock.state(job_id) == "scheduled"
        attempt = submitted()
        run_id = f"r-{attempt}"
        assert clock.found(job_id, attempt, run_id) == 1
        again = RunAgain(job_id, attempt, run_id, "failed", words, 0, b"{}", is_occupied=1)
        clock.run(worker_calls.retry_run(clock.account, [again]))
    assert (clock.state(job_id), clock.field(job_id, "reason")) == ("failed", words)


def test_no_more_limits_are_set_than_may_be_and_one_that_is_set_may_be_changed(
    clock: Clockwork,
) -> None:
    taken: Any = {f"site:s{number}": "1 -" for number in range(10_000)}
    clock.client.hset(clock.key("key_limits"), mapping=taken)
    with pytest.raises(redis.ResponseError, match="MANY keys 10000"):
        limit(clock, "site:another", 1)
    limit(clock, "site:s1", 2)


def ended_holders(clock: Clockwork, *, drop: bool = False) -> set[tuple[str, str]]:
    """What holds keys or steps of budgets and has ended."""
    found = clock.queue.ended_holders(clock.account, drop=drop)
    return {(one.of, one.holder) for one in found}


def set_budget(clock: Clockwork, scope: str, steps: int) -> None:
    clock.run(budgets.set_budget(clock.account, scope, Budget(steps, is_strict=True)))


def holding(clock: Clockwork) -> list[str]:
    """Jobs that hold a key and steps in each way that there is, with an orphan run as the last."""
    limit(clock, "site:a", 9)
    for scope in ("account", "group:default", "key:site:a"):
        set_budget(clock, scope, 1000)
    jobs = clock.enqueue(4, keys=["site:a"], max_steps=5)
    assert clock.claimed() == jobs
    assert clock.found(jobs[1], 1, "r1") == 1
    assert clock.lose(jobs[2]) == 1
    assert clock.give_back(jobs[3]) == 1
    assert clock.refuse(clock.claimed()[0], 2) == 1
    assert clock.found(jobs[3], 1, "orphan") == 2
    return jobs[:3]


HELD = ("key:site:a", "max_steps:account", "max_steps:group:default", "max_steps:key:site:a")


def test_what_lives_holds_its_keys_and_budgets_rightly(clock: Clockwork) -> None:
    holding(clock)
    before = clock.dump()

    assert ended_holders(clock, drop=True) == set()

    assert clock.dump() == before


def test_what_has_ended_and_holds_keys_and_budgets_is_found_and_dropped(clock: Clockwork) -> None:
    one, two, three = holding(clock)
    clock.client.delete(clock.key(f"job:{one}"))
    clock.client.hset(clock.key(f"job:{two}"), "state", "completed")
    clock.client.hset(clock.key(f"job:{three}"), "slot", "0")
    clock.client.hdel(clock.key("orphan_takes"), "orphan")
    ended = {(of, who) for of in HELD for who in (one, two, three, "orphan orphan")}

    assert ended_holders(clock) == ended
    assert holders(clock, "site:a") == 4, "looking drops nothing"
    assert ended_holders(clock, drop=True) == ended

    assert [clock.client.exists(clock.key(name)) for name in HELD] == [0] * 4
    assert clock.client.exists(clock.key("commits")) == 0
    assert ended_holders(clock) == set()


def test_a_job_that_waits_for_what_has_ended_goes_once_that_is_dropped(clock: Clockwork) -> None:
    limit(clock, "site:a", 1)
    clock.client.sadd(clock.key("key:site:a"), "nobody")
    jobs = clock.enqueue(1, keys=["site:a"])
    assert clock.claimed() == []

    assert ended_holders(clock, drop=True) == {("key:site:a", "nobody")}

    assert clock.claimed() == jobs


def test_any_number_of_holders_is_compared_in_bounded_steps(clock: Clockwork) -> None:
    jobs = clock.enqueue(1200, keys=["site:many"])
    while clock.claimed(500):
        pass
    for n in range(500):
        clock.client.sadd(clock.key(f"key:site:{n}"), f"gone{n}")
    clock.client.sadd(clock.key("key:site:many"), *(f"gone{n}" for n in range(300)))
    costs: list[int] = []

    def run(call: ScriptCall[Any]) -> Any:
        before = cast("dict[str, dict[str, int]]", clock.client.info("commandstats"))
        answer = clock.run(call)
        after = cast("dict[str, dict[str, int]]", clock.client.info("commandstats"))
        costs.append(sum(one["calls"] for one in after.values()))
        costs[-1] -= sum(one["calls"] for one in before.values())
        return answer

    found = QueueOfClock(clock.account, run).ended_holders(clock.account, drop=True)

    assert len(found) == 800
    assert holders(clock, "site:many") == len(jobs)
    assert max(costs) <= 2500
