"""Runs that were told by their requests alone, and late answers that say whose they are.

`a` and `b` ask for the same. The run `b1` of `b` was taken for `a`'s: a match by request.
"""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from runqueue.records.batch import BatchRules
from runqueue.records.claim_items import Lost, RunAccepted, RunAgain, Searched, UnconfirmedPage
from runqueue.records.job import JobState
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls, operator_calls, worker_calls
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import CLAIM_AGE, DAY, GRACE, SECOND, SPACING, Clockwork, dump
from tests.runqueue.lua.webhooks import receive, told

LIVE = ("submitting", "unconfirmed", "running")


def record(clock: Clockwork, *found: tuple[str, str], by_request: bool = False) -> list[int]:
    """Record runs, (job, run), of first attempts, in one call."""
    items = [RunAccepted(job, 1, run, "created", SECOND) for job, run in found]
    return clock.run(worker_calls.mark_running(clock.account, items, by_request=by_request))


def recorded(clock: Clockwork, found: list[tuple[str, str]], *, in_one_call: bool) -> list[int]:
    """Record runs in one call or in a call each; after each call everything is consistent."""
    codes = []
    for part in [found] if in_one_call else [[one] for one in found]:
        codes += record(clock, *part)
        consistent(clock)
    return codes


def matched(clock: Clockwork, **options: Any) -> tuple[str, str]:
    """Two equal jobs whose answers were lost; the first was given the run `b1` of the second."""
    a, b = clock.unconfirmed(2, body="the same", **options)
    clock.wait(2)
    assert record(clock, (a, "b1"), by_request=True) == [1]
    consistent(clock)
    return a, b


def owners(clock: Clockwork, *runs: str) -> list[str]:
    """Whose the runs are."""
    return clock.run(worker_calls.owned_runs(clock.account, runs))


def orphans(clock: Clockwork) -> set[str]:
    """Runs of ours that no job owns."""
    held: Any = clock.client.hkeys(clock.key("orphans"))
    return {raw.decode() for raw in held}


def consistent(clock: Clockwork) -> None:
    """The indexes, the counters and the owners of runs say what the jobs' records say."""
    prefix = clock.key("")
    data = {name.removeprefix(prefix): value for name, value in dump(clock.client).items()}
    jobs = {
        name.removeprefix("job:"): {k.decode(): v for k, v in value.items()}
        for name, value in data.items()
        if name.startswith("job:")
    }
    state = {job: fields["state"].decode() for job, fields in jobs.items()}
    by_state = {s: {job for job in jobs if state[job] == s} for s in {*state.values(), *LIVE}}
    zsets = {
        name: {member.decode() for member, _ in data.get(name, ())}
        for name in ("poll", "listed", "unconfirmed", "unconfirmed_no_slot", "reconcile", "cancels")
    }
    assert zsets["poll"] | zsets["listed"] == by_state["running"]
    assert not zsets["poll"] & zsets["listed"]
    assert (
        zsets["unconfirmed"] | zsets["unconfirmed_no_slot"]
        == by_state["unconfirmed"]
        == zsets["reconcile"]
    )
    assert not zsets["unconfirmed"] & zsets["unconfirmed_no_slot"]
    assert {job for job in zsets["cancels"] if job in jobs} == {
        job for job in by_state["running"] if "cancel" in jobs[job]
    }
    counters = {k.decode(): int(v) for k, v in data.get("counters", {}).items()}
    counted = Counter(f"{state[job]}:{jobs[job].get('priority', b'2').decode()}" for job in jobs)
    kept = {n: v for n, v in counters.items() if n.rpartition(":")[0] in {*state.values(), *LIVE}}
    assert {name: n for name, n in kept.items() if n} == counted
    slots = sum(state[job] in LIVE and jobs[job].get("slot") != b"0" for job in jobs)
    assert counters.get("live", 0) == slots
    bound = {
        run.decode(): job.decode()
        for name, value in data.items()
        if name.startswith("runs:")
        for run, job in value.items()
    }
    for job, fields in jobs.items():
        if run := fields.get("run_id", b"").decode():
            assert bound[run] == job, "a job's run is another's"
        else:
            assert state[job] != "running"
    assert not set(bound) & orphans(clock), "a run of a job is shown as nobody's"
    for name, value in data.items():
        if not name.startswith("batch:"):
            continue
        batch = name.removeprefix("batch:")
        own = Counter(state[job] for job in jobs if jobs[job].get("batch", b"").decode() == batch)
        counts = {
            k.decode().removeprefix("count:"): int(v)
            for k, v in value.items()
            if k.startswith(b"count:")
        }
        assert {s: n for s, n in counts.items() if n} == own


# The owner of the matched run still runs.


def test_who_lost_a_match_is_looked_for_back_to_its_own_claim(clock: Clockwork) -> None:
    a, b = clock.enqueue(2, body="the same")
    assert clock.claimed(1) == [a]
    claimed = clock.now
    clock.wait(5)
    assert clock.claimed(1) == [b]
    clock.lose(a)
    clock.lose(b)
    clock.wait(2)
    record(clock, (a, "b1"), by_request=True)
    clock.wait(2)
    record(clock, (b, "b1"))

    (unconfirmed,) = clock.run(
        worker_calls.reconcile_claim(clock.account, "p1", 10, 0, SECOND)
    ).items

    assert (unconfirmed.job_id, unconfirmed.attempt, unconfirmed.claimed_us) == (a, 1, claimed)
    assert unconfirmed.since_us == claimed + 5 * SECOND


def test_who_lost_a_match_keeps_the_server_s_date_of_its_own_claim(clock: Clockwork) -> None:
    a, b = clock.enqueue(2, body="the same")
    clock.heartbeat(first=True)
    for name, date in ((a, 5 * SECOND), (b, 9 * SECOND)):
        call = worker_calls.claim(clock.account, "p1", f"claim {name}", 1, 0, date_us=date)
        assert [item.job_id for item in clock.run(call).items] == [name]
        clock.lose(name)
    record(clock, (a, "b1"), by_request=True)
    record(clock, (b, "b1"))

    clock.wait(2)
    (unconfirmed,) = clock.run(
        worker_calls.reconcile_claim(clock.account, "p1", 10, 0, SECOND)
    ).items

    assert (unconfirmed.job_id, unconfirmed.date_us) == (a, 5 * SECOND)
    assert clock.field(b, "claimed_server_time") is None, "it is kept while it may be needed"


ANSWERS = (("a", "a1"), ("b", "b1"))


@pytest.mark.parametrize("order", list(permutations(ANSWERS)), ids=["a first", "b first"])
@pytest.mark.parametrize("in_one_call", [True, False])
def test_both_answers_give_both_their_own_runs(
    clock: Clockwork, order: Sequence[tuple[str, str]], in_one_call: bool
) -> None:
    a, b = matched(clock)
    found = [({"a": a, "b": b}[name], run) for name, run in order]

    assert recorded(clock, found, in_one_call=in_one_call) == [5, 1]
    assert clock.states([a, b]) == {"running"}
    assert owners(clock, "a1", "b1") == [a, b]
    assert orphans(clock) == set()
    before = clock.dump()
    assert record(clock, *found) == [0, 0]
    assert clock.dump() == before, "a repeated call changes nothing"


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
@pytest.mark.parametrize("in_one_call", [True, False])
def test_request_matches_that_went_round_three_jobs_are_put_right_in_every_order(
    clock: Clockwork, order: Sequence[str], in_one_call: bool
) -> None:
    a, b, c = clock.unconfirmed(3, body="the same")
    jobs = {"a": a, "b": b, "c": c}
    record(clock, (a, "b1"), (b, "c1"), (c, "a1"), by_request=True)
    found = [(jobs[name], f"{name}1") for name in order]

    recorded(clock, found, in_one_call=in_one_call)

    assert owners(clock, "a1", "b1", "c1") == [a, b, c]
    assert clock.states([a, b, c]) == {"running"}
    assert orphans(clock) == set()


def test_an_answer_that_comes_while_its_job_still_submits_takes_the_match(clock: Clockwork) -> None:
    a, b = clock.enqueue(2, body="the same")
    clock.heartbeat("w1", first=True)
    clock.heartbeat("w2", first=True)
    first, second = clock.claim(1, "w1").items[0], clock.claim(1, "w2").items[0]
    assert {first.job_id, second.job_id} == {a, b}
    clock.lose(first.job_id)
    record(clock, (first.job_id, "run2"), by_request=True)

    assert record(clock, (second.job_id, "run2")) == [5]

    consistent(clock)
    assert owners(clock, "run2") == [second.job_id]
    assert clock.members("claims:w2") == []
    assert clock.state(first.job_id) == "unconfirmed"


def test_three_runs_are_not_made_for_two_jobs_of_a_worker_that_was_cut_off(
    clock: Clockwork,
) -> None:
    clock.heartbeat("w1", first=True)
    clock.heartbeat("w2", first=True)
    clock.enqueue(2, body="the same")
    a = clock.claim(1, "w1").items[0].job_id
    clock.wait(10)
    clock.heartbeat("w2")
    b = clock.claim(1, "w2").items[0].job_id
    clock.wait(6)
    clock.heartbeat("w2")
    clock.sweep("expire_leases", CLAIM_AGE)
    assert (clock.state(a), clock.state(b)) == ("unconfirmed", "submitting")
    record(clock, (a, "b1"), by_request=True)

    assert record(clock, (b, "b1")) == [5]
    assert record(clock, (a, "a1")) == [1]

    consistent(clock)
    assert owners(clock, "a1", "b1") == [a, b]
    assert clock.claimed(5, "w2") == [], "nothing is submitted again"


def test_a_match_takes_no_run_that_has_an_owner(clock: Clockwork) -> None:
    _, b = matched(clock)
    before = clock.dump()

    assert record(clock, (b, "b1"), by_request=True) == [4]

    assert clock.dump() == before


@pytest.mark.parametrize("attempt", [2, 3])
def test_an_answer_to_another_attempt_corrects_no_match(clock: Clockwork, attempt: int) -> None:
    a, _ = matched(clock)

    assert clock.found(a, attempt, "a9") == 2

    consistent(clock)
    assert (clock.field(a, "run_id"), orphans(clock)) == ("b1", {"a9"})


# Slots, polls, cancels, batches, groups.


def test_slots_are_neither_lost_nor_taken_twice_by_a_swap(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=2)
    a, b = matched(clock)
    (waiting,) = clock.enqueue(1)

    record(clock, (b, "b1"))

    assert clock.run(job_calls.stats(clock.account)).live == 2
    assert clock.claimed() == [], "both slots are taken"
    clock.deny(a)
    assert set(clock.claimed(5)) == {a}, "its slot is its own again"
    consistent(clock)
    assert clock.state(waiting) == "ready"


def test_canaries_are_counted_right_when_a_match_changes_hands(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(3, BatchRules(canary=2), body="the same")
    canaries = clock.claimed(5)
    assert len(canaries) == 2
    a, b = canaries
    clock.lose(a)
    clock.lose(b)
    record(clock, (a, "b1"), by_request=True)
    record(clock, (b, "b1"))
    record(clock, (a, "a1"))
    assert clock.read(batch).states[JobState.READY] == 1

    assert clock.finish(a, run_id="a1") == clock.finish(b, run_id="b1") == 1

    consistent(clock)
    assert len(clock.claimed(5)) == 1, "the canaries are over, and the rest goes on"


# The end of a match by request, and what comes after it.


def ended_match(clock: Clockwork, state: str = "completed") -> tuple[str, str]:
    """As `matched`, and the run has ended with the first job."""
    a, b = matched(clock)
    assert clock.finish(a, run_id="b1", state=state) == 1
    consistent(clock)
    return a, b


@pytest.mark.parametrize("state", ["completed", "failed", "canceled"])
@pytest.mark.parametrize("order", list(permutations(ANSWERS)), ids=["a first", "b first"])
@pytest.mark.parametrize("in_one_call", [True, False])
def test_where_the_match_has_ended_the_equal_job_gets_the_other_run(
    clock: Clockwork, order: Sequence[tuple[str, str]], in_one_call: bool, state: str
) -> None:
    a, b = ended_match(clock, state)
    found = [({"a": a, "b": b}[name], run) for name, run in order]

    recorded(clock, found, in_one_call=in_one_call)

    assert (clock.state(a), clock.field(a, "run_id")) == (state, "b1"), "an end stays an end"
    assert (clock.state(b), clock.field(b, "run_id")) == ("running", "a1")
    assert owners(clock, "a1", "b1") == [b, a]
    assert orphans(clock) == set()
    assert clock.run(job_calls.stats(clock.account)).live == 1
    before = clock.dump()
    record(clock, *found)
    assert clock.dump() == before, "a repeated call changes nothing"


@pytest.mark.parametrize("order", list(permutations(ANSWERS)), ids=["a first", "b first"])
@pytest.mark.parametrize("by", ["answer", "webhook"])
@pytest.mark.parametrize("done_again", ["retry", "replay", "retry, and claimed"])
def test_where_the_job_of_a_match_is_done_again_the_equal_job_gets_the_other_run(
    clock: Clockwork, order: Sequence[tuple[str, str]], by: str, done_again: str
) -> None:
    a, b = matched(clock, retry=Retry(max_attempts=3))
    if done_again == "replay":
        clock.finish(a, run_id="b1", state="failed")
        assert clock.run(operator_calls.replay(clock.account, clock.seen(a))) == [1]
    else:
        again = RunAgain(a, 1, "b1", "failed", "it failed", 60 * SECOND, b"{}")
        assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    if "claimed" in done_again:
        clock.wait(61)
        clock.heartbeat(first=True)
        clock.sweep("promote_due")
        assert clock.claimed() == [a]
        assert clock.found(a, 2, "a2") == 1
    before = clock.state(a), clock.field(a, "run_id")

    for name, run in order:
        job = {"a": a, "b": b}[name]
        if by == "answer":
            record(clock, (job, run))
        else:
            receive(clock, told(job, run_id=run, state=""))
        consistent(clock)

    assert (clock.state(a), clock.field(a, "run_id")) == before
    assert (clock.state(b), clock.field(b, "run_id")) == ("running", "a1")
    assert owners(clock, "a1", "b1") == [b, a]
    assert orphans(clock) == set()


def test_a_run_that_came_for_an_ended_job_is_a_candidate_of_the_equal_job_whose_answer_stays_lost(
    clock: Clockwork,
) -> None:
    a, b = ended_match(clock)

    record(clock, (a, "a1"))

    assert orphans(clock) == {"a1"}, "nobody's, until somebody is given it"
    search = worker_calls.owned_runs(clock.account, ["a1", "b1"], except_late_runs=True)
    assert clock.run(search) == ["", a], "a search may take it for b"
    assert record(clock, (b, "a1"), by_request=True) == [1]
    consistent(clock)
    assert (clock.field(b, "run_id"), orphans(clock)) == ("a1", set())
    assert record(clock, (b, "b1")) == [3], "the late answer finds both served"
    consistent(clock)
    assert (clock.state(b), clock.field(b, "run_id")) == ("running", "a1")


def test_only_a_late_run_is_free_for_a_search_not_every_orphan(clock: Clockwork) -> None:
    (a,) = clock.unconfirmed()
    clock.run(worker_calls.mark_dead(clock.account, [Lost(a, 1, "422")]))
    record(clock, (a, "a1"))
    assert orphans(clock) == {"a1"}

    search = worker_calls.owned_runs(clock.account, ["a1", "nobody's"], except_late_runs=True)

    assert clock.run(search) == [a, ""]


def test_an_unequal_job_gets_no_run_of_one_that_ended(clock: Clockwork) -> None:
    (a,) = clock.unconfirmed(body="one")
    (b,) = clock.unconfirmed(body="another")
    record(clock, (a, "b1"), by_request=True)
    clock.finish(a, run_id="b1")

    assert record(clock, (b, "b1")) == [3]
    assert record(clock, (a, "a1")) == [2]

    consistent(clock)
    assert (clock.state(b), owners(clock, "b1")) == ("unconfirmed", [a])
    assert orphans(clock) == {"a1"}


def test_a_late_run_that_is_over_serves_nobody(clock: Clockwork) -> None:
    a, b = ended_match(clock)
    record(clock, (a, "a1"))
    assert clock.run(worker_calls.drop_orphans(clock.account, ["a1"])) == 1

    assert record(clock, (b, "b1")) == [3]

    consistent(clock)
    assert clock.state(b) == "unconfirmed"


def test_an_answer_to_a_job_that_still_submits_whose_run_ended_with_another_is_an_unconfirmed_job(
    clock: Clockwork,
) -> None:
    a, b = clock.enqueue(2, body="the same")
    clock.heartbeat("w1", first=True)
    clock.heartbeat("w2", first=True)
    a = clock.claim(1, "w1").items[0].job_id
    b = clock.claim(1, "w2").items[0].job_id
    clock.lose(a)
    record(clock, (a, "b1"), by_request=True)
    clock.finish(a, run_id="b1")

    assert record(clock, (b, "b1")) == [3]

    consistent(clock)
    assert clock.state(b) == "unconfirmed"
    assert record(clock, (a, "a1")) == [5]
    consistent(clock)
    assert (clock.state(b), clock.field(b, "run_id")) == ("running", "a1")


# A run's webhook comes to its attempt's own address: it says whose run it is, as an answer does.


@pytest.mark.parametrize("state", [None, "", "completed"], ids=["answer", "webhook", "end"])
def test_word_of_a_job_s_own_run_takes_its_match_back(clock: Clockwork, state: str | None) -> None:
    a, b = matched(clock)

    if state is None:
        assert record(clock, (a, "a1")) == [5]
    else:
        assert receive(clock, told(a, run_id="a1", state=state)) == ["ended" if state else "noted"]

    consistent(clock)
    assert (clock.state(a), clock.field(a, "run_id")) == (state or "running", "a1")
    assert clock.state(b) == "unconfirmed"
    assert orphans(clock) == {"b1"}, "the matched run is shown until an equal job has it"
    call = worker_calls.owned_runs(clock.account, ["a1", "b1"], except_late_runs=True)
    assert clock.run(call) == [a, ""], "a search may take it for the equal job's"
    assert record(clock, (b, "b1"), by_request=True) == [1]
    consistent(clock)


@pytest.mark.parametrize("state", ["", "completed"])
def test_a_webhook_takes_the_run_from_the_match_s_owner(clock: Clockwork, state: str) -> None:
    a, b = matched(clock)

    assert receive(clock, told(b, run_id="b1", state=state)) == ["ended" if state else "noted"]

    consistent(clock)
    assert (clock.state(b), clock.field(b, "run_id")) == (state or "running", "b1")
    assert (clock.state(a), clock.field(a, "run_id")) == ("unconfirmed", None)
    assert orphans(clock) == set()


def test_a_webhook_takes_no_run_from_who_has_it_by_an_answer(clock: Clockwork) -> None:
    a, b = clock.unconfirmed(2, body="the same")
    assert record(clock, (a, "r1")) == [1]

    assert receive(clock, told(b, run_id="r1")) == ["other"]

    consistent(clock)
    assert (owners(clock, "r1"), clock.state(b)) == ([a], "unconfirmed")


def test_a_webhook_of_a_run_from_before_its_job_was_submitted_corrects_no_match(
    clock: Clockwork,
) -> None:
    a, _ = matched(clock)
    before = clock.dump()

    old = told(a, run_id="a9", created_us=clock.now - 2 * DAY)
    assert receive(clock, old) == ["other"]

    assert clock.dump() == before


# A canceled job's match by request is canceled, and stays with it then.


def test_a_canceled_job_takes_no_match_that_may_be_an_equal_job_s(clock: Clockwork) -> None:
    a, b = clock.unconfirmed(2, body="the same")
    clock.cancel(a)
    before = clock.dump()

    assert record(clock, (a, "b1"), by_request=True) == [4]

    assert clock.dump() == before
    assert record(clock, (b, "b1"), by_request=True) == [1]
    consistent(clock)


def cancel_sent(clock: Clockwork) -> tuple[str, str]:
    """As `matched`, and a worker cancels the run for the first job."""
    a, b = matched(clock)
    clock.cancel(a)
    clock.heartbeat(first=True)
    (taken,) = clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, SECOND)).items
    assert taken.run_id == "b1"
    return a, b


@pytest.mark.parametrize("by", ["answer", "webhook"])
def test_a_run_that_is_canceled_for_its_match_s_owner_ends_no_equal_job(
    clock: Clockwork, by: str
) -> None:
    a, b = cancel_sent(clock)

    if by == "answer":
        assert record(clock, (b, "b1")) == [3]
    else:
        assert receive(clock, told(b, run_id="b1", state="")) == ["other"]

    consistent(clock)
    assert (clock.state(b), owners(clock, "b1")) == ("unconfirmed", [a])
    clock.finish(a, run_id="b1", state="canceled")
    assert record(clock, (a, "a1")) == [5], "its own run serves the equal job"
    consistent(clock)
    assert (clock.state(b), clock.field(b, "run_id")) == ("running", "a1")


def test_a_job_whose_match_is_being_canceled_leaves_its_own_run_to_the_equal_job(
    clock: Clockwork,
) -> None:
    a, b = cancel_sent(clock)

    assert record(clock, (a, "a1")) == [2]

    consistent(clock)
    assert (clock.field(a, "run_id"), orphans(clock)) == ("b1", {"a1"})
    assert record(clock, (b, "a1"), by_request=True) == [1]
    consistent(clock)
    assert clock.members("cancels") == [a], "the equal job's is not canceled"


def test_who_lost_its_match_is_canceled_from_when_it_has_its_own_run(clock: Clockwork) -> None:
    (a,) = clock.unconfirmed(body="one")
    (b,) = clock.unconfirmed(body="another")
    record(clock, (a, "b1"), by_request=True)
    clock.cancel(a)
    clock.heartbeat(first=True)
    clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, SECOND))
    assert record(clock, (b, "b1")) == [5]
    clock.wait(1_000)
    assert record(clock, (a, "a1")) == [1]
    clock.heartbeat(first=True)

    (taken,) = clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, SECOND)).items

    assert (taken.run_id, taken.tried_us) == ("a1", 0)


# What a search records.


def searched(clock: Clockwork, job: str, verdict: str, note: str = "", runs: Any = None) -> int:
    candidates = "" if runs is None else json.dumps(runs)
    item = Searched(job, 1, verdict, 600 * SECOND, GRACE, note, candidates)
    return clock.run(worker_calls.record_search(clock.account, [item], clock.now, SPACING))[0]


def test_two_not_seen_free_the_slot_and_never_submit_again(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=1)
    (job,) = clock.unconfirmed()
    since = clock.now
    (waiting,) = clock.enqueue(1)
    clock.wait(30)
    assert searched(clock, job, "not_seen") == 1
    assert clock.claimed() == []
    clock.wait(30)
    assert searched(clock, job, "not_seen") == 1

    consistent(clock)
    assert clock.client.zscore(clock.key("unconfirmed_no_slot"), job) == since
    assert clock.claimed() == [waiting]
    for _ in range(20):
        clock.wait(600)
        assert searched(clock, job, "not_seen") == 1
    consistent(clock)
    assert (clock.state(job), clock.field(job, "attempt")) == ("unconfirmed", "1")
    assert clock.run(job_calls.stats(clock.account)).live == 1


def test_not_seen_before_the_wait_is_over_or_too_close_do_not_count(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(29)
    searched(clock, job, "not_seen")
    clock.wait(1)
    searched(clock, job, "not_seen")
    clock.wait(29)
    searched(clock, job, "not_seen")
    assert clock.members("unconfirmed") == [job], "the slot is its own"
    clock.wait(1)

    searched(clock, job, "not_seen")

    assert clock.members("unconfirmed_no_slot") == [job]


def test_not_seen_and_one_not_found_are_not_two_not_found(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(30)
    for verdict in ("not_seen", "not_found", "not_seen", "not_seen"):
        assert searched(clock, job, verdict) == 1
        clock.wait(30)

    assert clock.state(job) == "unconfirmed"
    assert searched(clock, job, "not_found") == 2
    consistent(clock)


def test_a_canceled_job_is_not_ended_by_not_seen(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.cancel(job)
    for _ in range(3):
        clock.wait(30)
        assert searched(clock, job, "not_seen") == 1

    consistent(clock)
    assert clock.state(job) == "unconfirmed"


def test_a_run_found_after_not_seen_takes_its_slot_again(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    for _ in range(2):
        clock.wait(30)
        searched(clock, job, "not_seen")

    assert clock.found(job, 1, "run1") == 1

    consistent(clock)
    assert clock.run(job_calls.stats(clock.account)).live == 1
    assert clock.field(job, "not_seen_count") is None


CANDIDATES = [{"run_id": "r9", "status": "running", "equal": ["prompt"], "different": ["engine"]}]


@pytest.mark.parametrize("way", ["found", "matched", "denied", "given back", "canceled"])
def test_a_note_and_candidates_go_when_the_job_is_settled(clock: Clockwork, way: str) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(30)
    searched(clock, job, "unknown", "may be its own", CANDIDATES)

    if way == "found":
        assert clock.found(job, 1, "run1") == 1
    elif way == "matched":
        assert record(clock, (job, "run1"), by_request=True) == [1]
    elif way == "denied":
        assert clock.deny(job) == 2
    elif way == "given back":
        assert clock.give_back(job) == 1
    else:
        clock.cancel(job)
        assert clock.deny(job) == 2

    consistent(clock)
    assert clock.field(job, "search_message") is None
    assert clock.field(job, "candidates") is None


# Reading all unconfirmed jobs.


def read(clock: Clockwork, offset: int = 0, count: int = 100) -> UnconfirmedPage:
    return clock.run(worker_calls.read_unconfirmed(clock.account, offset, count))


def test_unconfirmed_jobs_are_read_page_by_page_those_without_a_slot_last(clock: Clockwork) -> None:
    held = clock.unconfirmed(3)
    for job in held:
        clock.wait(30)
        searched(clock, job, "not_seen")
    for job in held:
        clock.wait(30)
        searched(clock, job, "not_seen")
    waiting = clock.unconfirmed(4)
    assert set(clock.members("unconfirmed_no_slot")) == set(held)

    for size in (1, 2, 3, 4, 5, 7, 100):
        found = []
        for offset in range(0, 8, size):
            page = read(clock, offset, size)
            assert (page.total, len(page.items) <= size) == (7, True)
            found += [unconfirmed.job_id for unconfirmed in page.items]
        assert sorted(found[:4]) == sorted(waiting), size
        assert sorted(found[4:]) == sorted(held), size


def test_the_oldest_submission_under_way_is_told(clock: Clockwork) -> None:
    clock.unconfirmed(1)
    clock.heartbeat("w1", first=True)
    clock.heartbeat("w2", first=True)
    clock.enqueue(3)
    clock.claim(1, "w2")
    first = clock.now
    clock.wait(1)
    clock.claim(2, "w1")

    assert read(clock).in_flight_us == first
    clock.wait(14)  # w1 and w2 are gone, and what they sent may yet become runs
    assert read(clock).in_flight_us == first
    clock.sweep("expire_leases", CLAIM_AGE)
    page = read(clock)
    assert (page.in_flight_us, page.total) == (None, 4)


def test_an_unconfirmed_job_is_read_as_a_claimed_one_is(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed(on_unconfirmed="hold")
    clock.cancel(job)
    clock.wait(2)

    (from_page,) = read(clock).items
    (claimed,) = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, SECOND)).items

    assert from_page == claimed
    assert (from_page.on_unconfirmed, from_page.cancel) == ("hold", "asked")


# What the run itself shows goes before what an answer said.


def marked(clock: Clockwork, *found: tuple[str, str]) -> ScriptCall[list[int]]:
    """Record runs, (job, run), that show the markers of first attempts."""
    items = [RunAccepted(job, 1, run, "created", SECOND) for job, run in found]
    return worker_calls.mark_running(clock.account, items, marked=True)


def answered(clock: Clockwork, **options: Any) -> tuple[str, str]:
    """Two jobs; the answer to the first named the run `b1` of the second, whose own was lost."""
    a, b = clock.enqueue(2, **options)
    assert clock.claimed(2) == [a, b]
    clock.wait(1)
    assert record(clock, (a, "b1")) == [1]
    assert clock.lose(b) == 1
    clock.wait(2)
    return a, b


@pytest.mark.parametrize("body", ["the same", None])
def test_a_run_that_shows_a_job_s_marker_leaves_the_job_that_an_answer_had_given_it(
    clock: Clockwork, body: str | None
) -> None:
    claimed = clock.now
    a, b = answered(clock, **({} if body is None else {"body": body}))

    assert clock.run(marked(clock, (b, "b1"))) == [5]

    consistent(clock)
    assert (clock.state(a), clock.state(b)) == ("unconfirmed", "running")
    assert owners(clock, "b1") == [b]
    assert clock.field(a, "claimed") == str(claimed)
    assert clock.client.zscore(clock.key("unconfirmed"), a) == claimed + SECOND
    # What its own run shows is found as that of a lost answer.
    assert clock.run(marked(clock, (a, "a1"))) == [1]
    consistent(clock)
    assert owners(clock, "a1", "b1") == [a, b]
    assert orphans(clock) == set()


def test_a_marker_that_comes_again_or_with_the_job_s_own_run_changes_nothing(
    clock: Clockwork,
) -> None:
    a, b = answered(clock, body="the same")
    clock.run(marked(clock, (b, "b1")))
    before = dump(clock.client)

    assert clock.run(marked(clock, (b, "b1"))) == [0]

    assert dump(clock.client) == before
    assert clock.state(a) == "unconfirmed"


def test_a_run_that_a_job_ended_with_stays_its_own_whatever_it_shows(clock: Clockwork) -> None:
    a, b = answered(clock, body="the same")
    assert clock.finish(a, run_id="b1") == 1

    assert clock.run(marked(clock, (b, "b1"))) == [3]

    consistent(clock)
    assert clock.state(b) == "unconfirmed"
    assert owners(clock, "b1") == [a]
