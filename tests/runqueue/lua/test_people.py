"""What people do: settle unconfirmed jobs, replay, discard, cancel orphans; pages, retries."""

from datetime import UTC, datetime

import orjson
import pytest

from runqueue.records.claim_items import RunAgain, ToCancel
from runqueue.records.job import EnqueueStatus, JobState
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls, operator_calls, worker_calls
from tests.runqueue.lua.clockwork import DAY, LEASE, RETENTION, SECOND, Clockwork, spec
from tests.runqueue.lua.webhooks import receive, told


def settle(clock: Clockwork, what: str, *jobs: str, reason: str = "enough") -> list[int]:
    return clock.run(operator_calls.settle(clock.account, clock.seen(*jobs), what, reason))


def replay(clock: Clockwork, *jobs: str) -> list[int]:
    return clock.run(operator_calls.replay(clock.account, clock.seen(*jobs)))


def discard(clock: Clockwork, *jobs: str) -> list[int]:
    return clock.run(operator_calls.discard(clock.account, jobs))


def list_runs(clock: Clockwork, since: int, until: int) -> list[tuple[str, str, int]]:
    """The job, run and acceptance of each run of a time, microseconds; a few keys a call."""
    found, cursor = set[tuple[str, str, int]](), ""
    times = [datetime.fromtimestamp(at / 1e6, UTC) for at in (since, until)]
    while cursor != "0":
        call = operator_calls.list_runs(clock.account, cursor or "0", 3, *times)
        cursor, runs = clock.run(call)
        found |= {(one.job_id, one.run_id, one.accepted_us) for one in runs}
    return sorted(found)


def test_the_runs_since_a_time_are_listed_with_earlier_ones_of_their_jobs(clock: Clockwork) -> None:
    (old,) = clock.running()
    clock.finish(old)
    (live,) = clock.running()
    (again,) = clock.running(retry=Retry(max_attempts=3))
    since = clock.now = clock.now + DAY
    failed = RunAgain(again, 1, f"r-{again}", "failed", "no luck", SECOND, b"")
    assert clock.run(worker_calls.retry_run(clock.account, [failed])) == [1]
    (new,) = clock.running()
    clock.finish(new)
    clock.enqueue(1)
    later = since + DAY
    earlier = (again, f"r-{again}", 0)

    assert list_runs(clock, since, later) == sorted([(new, f"r-{new}", since), earlier])
    assert {one[0] for one in list_runs(clock, 0, since)} == {old, live, again}
    clock.client.hset(clock.key(f"job:{new}"), "started", "odd")
    clock.client.hset(clock.key(f"job:{again}"), "ended", "odd")
    assert list_runs(clock, since, later) == [earlier]


def test_a_decision_said_again_does_not_decide_on_a_later_attempt(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    call = operator_calls.settle(clock.account, clock.seen(job), "resubmit")
    assert clock.run(call) == [1]
    assert clock.claimed() == [job]
    clock.lose(job, 2)
    assert clock.run(call) == [0], "its reply was lost, and it came once more"
    assert clock.state(job) == "unconfirmed"


def test_a_replay_said_again_does_not_revive_what_was_canceled_since(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.refuse(job)
    call = operator_calls.replay(clock.account, clock.seen(job))
    assert clock.run(call) == [1]
    clock.wait(1)
    clock.cancel(job)
    assert clock.run(call) == [0]
    assert clock.state(job) == "canceled"
    call = operator_calls.replay(clock.account, clock.seen(job))
    assert clock.run(call) == [1]
    clock.wait(1)
    clock.cancel(job)
    assert clock.run(call) == [0], "canceled once more, at the same attempt"


def run_again(
    clock: Clockwork, job: str, attempt: int = 1, *, run_id: str = "", backoff: float = 5
) -> int:
    item = RunAgain(
        job, attempt, run_id or f"r-{job}", "failed", "no luck", round(backoff * SECOND), b'{"n":1}'
    )
    return clock.run(worker_calls.retry_run(clock.account, [item]))[0]


def cancels(clock: Clockwork) -> list[ToCancel]:
    clock.heartbeat(first=True)
    return list(clock.run(worker_calls.cancel_claim(clock.account, "p1", 100, 0, LEASE)).items)


# Deciding on unconfirmed jobs.


def test_a_person_has_an_unconfirmed_job_submitted_again_at_once(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed(on_unconfirmed="hold")
    assert settle(clock, "resubmit", job, "nobody") == [1, -1]
    assert settle(clock, "resubmit", job) == [0]
    assert clock.members("reconcile") == clock.members("unconfirmed") == []
    assert clock.claimed() == [job]


def test_a_person_cannot_have_a_job_submitted_again_that_is_to_be_canceled(
    clock: Clockwork,
) -> None:
    (job,) = clock.unconfirmed()
    clock.cancel(job)
    assert settle(clock, "resubmit", job) == [2]
    assert clock.state(job) == "unconfirmed"
    assert settle(clock, "fail", job) == [1]
    assert clock.state(job) == "canceled"


def test_a_person_ends_an_unconfirmed_job_with_words_that_are_shown(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    assert settle(clock, "fail", job, reason="looked for it myself") == [1]
    assert settle(clock, "fail", job) == [0]
    assert (clock.state(job), clock.field(job, "reason")) == ("dead", "looked for it myself")
    assert clock.members("dead") == [job]
    assert clock.run(job_calls.stats(clock.account)).live == 0


def test_a_person_gives_a_job_its_run_and_it_is_looked_at_at_once(clock: Clockwork) -> None:
    first, second = clock.unconfirmed(2)
    assert clock.run(operator_calls.adopt(clock.account, first, 1, "run1")) == 1
    assert clock.run(operator_calls.adopt(clock.account, first, 1, "run1")) == 0
    assert clock.run(operator_calls.adopt(clock.account, second, 1, "run1")) == 3
    due = clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE))
    assert [(item.job_id, item.run_id) for item in due.items] == [(first, "run1")]


def test_the_deaths_of_a_job_are_forgiven_by_a_person(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    for attempt in (1, 2, 3):
        clock.claimed()
        clock.die()
        if attempt < 3:
            clock.give_back(job, attempt=attempt)
    assert settle(clock, "resubmit", job) == [1]
    assert clock.field(job, "deaths") is None
    assert clock.claimed(10) == [job]


# Done again.


@pytest.mark.parametrize("state", ["dead", "failed", "canceled"])
def test_what_ended_badly_is_done_again_under_the_next_attempt(
    clock: Clockwork, state: str
) -> None:
    if state == "dead":
        (job,) = clock.enqueue(1)
        clock.claimed()
        clock.refuse(job)
    else:
        (job,) = clock.running()
        clock.cancel(job)
        clock.finish(job, state=state)
    assert clock.state(job) == state
    assert replay(clock, job, "nobody") == [1, -1]
    assert replay(clock, job) == [0]
    assert clock.client.exists(clock.key(f"result:{job}"), clock.key("dead")) == 0
    for name in ("reason", "ended", "cancel", "runs", "run_id", "started"):
        assert clock.field(job, name) is None, name
    assert clock.claimed() == [job]
    assert clock.field(job, "attempt") == "2"
    assert clock.found(job, 2, "run2") == 1


def runs_of(clock: Clockwork, job_id: str) -> int:
    """How many runs of a job have ended, as people are told."""
    return clock.job(job_id).runs


def test_the_runs_of_a_replayed_job_count_those_of_its_earlier_lives(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.finish(job, state="failed")
    for attempt in (2, 3):
        assert replay(clock, job) == [1]
        assert runs_of(clock, job) == attempt - 1
        assert clock.claimed() == [job]
        clock.found(job, attempt, f"run{attempt}")
        clock.finish(job, attempt=attempt, run_id=f"run{attempt}", state="failed")

    assert runs_of(clock, job) == 3
    assert clock.field(job, "runs") == "1", "which is what `retry` bounds"


@pytest.mark.parametrize("state", ["ready", "submitting", "unconfirmed", "running", "completed"])
def test_only_what_ended_badly_is_done_again(clock: Clockwork, state: str) -> None:
    (job,) = clock.enqueue(1)
    if state != "ready":
        clock.claimed()
    if state == "unconfirmed":
        clock.lose(job)
    if state in {"running", "completed"}:
        clock.found(job, 1, "run1")
    if state == "completed":
        clock.finish(job, run_id="run1")
    before = clock.dump()
    assert replay(clock, job) == [0]
    assert discard(clock, job) == [0]
    assert clock.dump() == before


def test_a_replayed_job_is_not_removed_for_its_first_end(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.cancel(job)
    clock.wait(DAY / SECOND)
    replay(clock, job)
    clock.wait(RETENTION / SECOND - 3_600)
    clock.sweep("retire")
    assert clock.state(job) == "ready"
    assert clock.claimed() == [job]
    clock.refuse(job)
    clock.wait(RETENTION / SECOND - 1)
    clock.sweep("retire")
    assert clock.state(job) == "dead"
    clock.wait(1)
    clock.sweep("retire")
    assert clock.state(job) is None
    assert clock.members("dead") == []


def test_a_job_of_a_canceled_batch_is_done_again_or_not_but_never_stuck(clock: Clockwork) -> None:
    batch = clock.open_batch()
    (job,) = clock.enqueue(1, batch=batch)
    clock.seal(batch)
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    clock.sweep("sweep_canceled")
    assert clock.state(job) == "canceled"
    code = replay(clock, job)
    assert code != [1] or clock.claimed() == [job]


# Removed.


def test_a_discarded_job_leaves_its_attempts_alone_and_its_key_is_free(clock: Clockwork) -> None:
    batch = clock.open_batch()
    (job,) = clock.enqueue(names=["k"], batch=batch, deadline=clock.now + DAY)
    clock.seal(batch)
    clock.claimed()
    clock.refuse(job)
    assert discard(clock, job, "nobody") == [1, -1]
    assert discard(clock, job) == [-1]
    names = {key.removeprefix(clock.key("")) for key in clock.dump()}
    assert {name for name in names if job in name or batch in name} == {f"attempts:{job}"}
    assert not names & {"dead", "deadlines", "batches"}
    assert clock.run(job_calls.stats(clock.account)).states[JobState.DEAD] == 0
    assert clock.enqueue_specs([spec("k", body="b")])[0].status is EnqueueStatus.NEW
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("retire")
    assert clock.state(job) == "ready", "the end of its namesake is none of its own"


@pytest.mark.parametrize(("body", "kept", "attempt"), [("b", "2", "3"), ("", None, "1")])
def test_another_request_with_a_discarded_job_s_key_counts_on_from_its_attempts(
    clock: Clockwork, body: str, kept: str | None, attempt: str
) -> None:
    clock.enqueue_specs([spec("k", body="")])
    (job,) = clock.claimed()
    clock.refuse(job)
    discard(clock, job)
    clock.enqueue_specs([spec("k", body=body)])
    assert (clock.field(job, "attempt"), clock.claimed()) == (kept, [job])
    assert clock.field(job, "attempt") == attempt
    assert clock.client.pttl(clock.key(f"attempts:{job}")) > 0


def test_the_attempts_of_discarded_jobs_with_one_key_are_never_those_of_another_request(
    clock: Clockwork,
) -> None:
    seen: dict[str, set[int]] = {"a": set(), "b": set()}
    for body, attempts in [("a", 3), ("a", 1), ("b", 2), ("b", 1), ("a", 4), ("b", 4), ("a", 1)]:
        job = clock.enqueue_specs([spec("k", body=body)])[0].job_id
        for _ in range(attempts):
            replay(clock, job)
            clock.wait(60)  # so few refusals hold nothing up
            assert clock.claimed() == [job]
            attempt = int(clock.field(job, "attempt") or 0)
            seen[body].add(attempt)
            clock.refuse(job, attempt)
        discard(clock, job)
    assert not seen["a"] & seen["b"]


@pytest.mark.parametrize("is_claimed", [False, True])
def test_the_webhook_of_a_discarded_job_s_run_is_not_taken_for_the_next_one_s(
    clock: Clockwork, *, is_claimed: bool
) -> None:
    (job,) = clock.enqueue(names=["k"])
    clock.claimed()
    clock.lose(job)
    settle(clock, "fail", job)
    discard(clock, job)
    clock.enqueue_specs([spec("k", body="b")])
    if is_claimed:
        clock.claimed()
        clock.lose(job, 3)
    receive(clock, told(job, run_id="r-1"))
    assert clock.state(job) == ("unconfirmed" if is_claimed else "ready")
    assert clock.run(job_calls.stats(clock.account)).orphans == 1


@pytest.mark.parametrize("attempt", [2, 3])
@pytest.mark.parametrize("is_claimed", [False, True])
def test_an_orphan_run_of_a_discarded_job_is_not_taken_for_the_next_one_s(
    clock: Clockwork, attempt: int, *, is_claimed: bool
) -> None:
    """Redis lost the claims of the later attempts."""
    (job,) = clock.enqueue(names=["k"])
    clock.claimed()
    clock.lose(job)
    settle(clock, "fail", job)
    assert clock.found(job, attempt, "r-lost") == 2
    discard(clock, job)
    clock.enqueue_specs([spec("k", body="b")])
    if is_claimed:
        clock.claimed()
        clock.lose(job, int(clock.field(job, "attempt") or 0))
    receive(clock, told(job, run_id="r-lost", attempt=attempt))
    assert clock.found(job, attempt, "r-lost") == 2
    assert clock.state(job) == ("unconfirmed" if is_claimed else "ready")
    assert clock.run(job_calls.stats(clock.account)).orphans == 1


# Cancels that are tried.


def test_of_the_time_between_two_tries_of_a_cancel_a_minute_counts_at_most(
    clock: Clockwork,
) -> None:
    (job,) = clock.running()
    clock.cancel(job)
    for tried in (0, 15, 30):
        assert cancels(clock) == [ToCancel(job, 1, f"r-{job}", tried * SECOND)]
        clock.wait(15)
    clock.wait(3_600)
    assert cancels(clock) == [ToCancel(job, 1, f"r-{job}", 90 * SECOND)]


# Orphans.


def test_an_orphan_is_canceled_again_and_again_until_it_is_dropped(clock: Clockwork) -> None:
    clock.found("nobody", 1, "run1")
    ask = operator_calls.cancel_orphans(clock.account, ["run1", "run2"])
    assert clock.run(ask) == [1, -1]
    assert clock.run(ask) == [1, -1]
    assert cancels(clock) == [ToCancel("", 0, "run1")]
    assert cancels(clock) == []
    clock.wait(15)
    assert [item.run_id for item in cancels(clock)] == ["run1"]
    assert clock.run(worker_calls.drop_orphans(clock.account, ["run1", "run2"])) == 1
    assert clock.run(worker_calls.drop_orphans(clock.account, ["run1"])) == 0
    clock.wait(15)
    assert cancels(clock) == []
    assert clock.client.exists(*map(clock.key, ("orphans", "orphan_jobs", "cancels"))) == 0


def test_an_orphan_that_a_job_takes_up_is_canceled_no_more(clock: Clockwork) -> None:
    job = clock.new_id("k")
    clock.found(job, 1, "run1")
    clock.run(operator_calls.cancel_orphans(clock.account, ["run1"]))
    clock.enqueue(names=["k"])
    assert clock.claimed() == []
    assert clock.state(job) == "running"
    assert cancels(clock) == []


# Runs tried again.


def test_a_run_that_ended_badly_is_run_again_after_its_backoff(clock: Clockwork) -> None:
    (job,) = clock.running()
    assert run_again(clock, job) == 1
    assert run_again(clock, job) == 0, "it was told already"
    assert clock.state(job) == "scheduled"
    found = clock.job(job)
    assert (found.runs, found.run_status, found.reason) == (1, "failed", "no luck")
    assert found.run_id is None
    assert clock.run(job_calls.stats(clock.account)).live == 0
    clock.wait(4.999)
    assert clock.sweep("promote_due") == 0
    clock.wait(0.001)
    assert clock.sweep("promote_due") == 1
    assert clock.claimed() == [job]
    assert clock.found(job, 2, "run2") == 1
    assert clock.finish(job, attempt=2, run_id="run2", result=b'{"n":2}') == 1
    assert clock.field(job, "runs") == "2"


@pytest.mark.parametrize("wrong", ["attempt", "run"])
def test_the_end_of_another_run_runs_nothing_again(clock: Clockwork, wrong: str) -> None:
    (job,) = clock.running()
    before = clock.dump()
    attempt, run_id = (2, "") if wrong == "attempt" else (1, "another")
    assert run_again(clock, job, attempt, run_id=run_id) == 0
    assert clock.dump() == before


def test_a_job_that_is_to_be_canceled_is_not_run_again(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.cancel(job)
    assert run_again(clock, job) == 2
    assert (clock.state(job), clock.field(job, "reason")) == ("failed", "no luck")
    assert cancels(clock) == []


def test_a_job_is_not_run_again_at_or_after_its_deadline(clock: Clockwork) -> None:
    late, good = clock.running(2, deadline=clock.now + 5 * SECOND)
    assert run_again(clock, late, backoff=5) == 2
    assert clock.state(late) == "failed"
    assert "no time is left" in str(clock.field(late, "reason"))
    assert run_again(clock, good, backoff=4.999_999) == 1
    clock.wait(5)
    assert clock.sweep("expire_deadlines") == 1
    assert clock.state(good) == "dead"
    assert clock.members("due") == []


def test_polls_tell_the_retry_policy_and_the_runs_that_ended(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    policy = '[3,["failed"],5.0,60.0,16]'
    encoded = job_calls.encode_job(spec("k"))
    job = encoded.job_id
    options = orjson.dumps({"retry": policy})
    clock.run(job_calls.enqueue(clock.account, [encoded._replace(options=options)], ["k"]))
    clock.claimed()
    clock.found(job, 1, f"r-{job}")
    clock.wait(1)
    for runs in (0, 1):
        (due,) = clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE)).items
        assert (due.retry, due.runs) == (policy, runs)
        if not runs:
            run_again(clock, job, backoff=1)
            clock.wait(1)
            clock.sweep("promote_due")
            clock.claimed()
            clock.found(job, 2, "run2")
            clock.wait(1)


# Jobs of an upload that ran before it was sealed.


def test_a_job_taken_over_by_another_upload_uses_no_marker_twice(clock: Clockwork) -> None:
    dead, whole = clock.open_batch(), clock.open_batch()
    (job,) = clock.enqueue(names=["k"], batch=dead)
    assert clock.found(job, 3, "run3") == 1
    assert run_again(clock, job, 3, run_id="run3", backoff=0) == 1
    assert clock.enqueue_specs([spec("k")], whole)[0].status is EnqueueStatus.NEW
    clock.seal(whole)
    assert clock.claimed() == [job]
    assert clock.field(job, "attempt") == "4"
    assert clock.client.exists(clock.key(f"result:{job}")) == 0


# Pages.


def pages(clock: Clockwork, index: str, count: int) -> list[list[str]]:
    """Every page of an index."""
    found, cursor = [], ""
    while True:
        cursor, ids = clock.run(operator_calls.page_jobs(clock.account, index, cursor, count))
        found.append(ids)
        if not cursor:
            return found


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_pages_neither_skip_nor_repeat_while_jobs_come_and_go(clock: Clockwork, count: int) -> None:
    """What was shown is removed, and new ones come at the end, between any two pages."""
    jobs = clock.unconfirmed(9)
    first = sorted(jobs)
    shown: list[str] = []
    cursor = ""
    while True:
        cursor, ids = clock.run(
            operator_calls.page_jobs(clock.account, "unconfirmed", cursor, count)
        )
        shown += ids
        if ids:
            settle(clock, "fail", *ids[-2:])
        if len(shown) < 6:
            clock.wait(1)
            jobs += clock.unconfirmed(1)
        if not cursor:
            break
    assert shown == first + jobs[9:]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_page_costs_as_many_commands_however_many_jobs_have_the_time_of_its_cursor(
    clock: Clockwork, *, is_gone: bool
) -> None:
    jobs = [f"n{i:023d}" for i in range(20_000)]
    clock.client.zadd(clock.key("due"), dict.fromkeys(jobs, clock.now))
    if is_gone:
        clock.client.zrem(clock.key("due"), jobs[-50])
    page = operator_calls.page_jobs(clock.account, "due", f"{clock.now} {jobs[-50]}", 100)
    assert clock.run(page) == ("", jobs[-49:])
    assert clock.commands(page) < 30
