"""When the server says too fast, fails, or refuses all, and when a job kills who submits it."""

from collections.abc import Sequence

import pytest

from runqueue.records.claim_items import Lost
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import SECOND, Clockwork

# The pace.


def rate(clock: Clockwork) -> float:
    """Submissions a second that claims get over the next second, read off two grants."""
    clock.heartbeat(first=True)
    first = clock.claim(1)
    while not first.items:
        clock.now = first.next_us
        first = clock.claim(1)
    second = clock.claim(1)
    assert not second.items
    return SECOND / (second.next_us - clock.now)


def limited(clock: Clockwork, *, wait: float = 0, named: float = 0.0) -> None:
    """Have the server say 429 to one submission, which is in its lane again afterwards."""
    clock.heartbeat(first=True)
    taken = clock.claim(1)
    while not taken.items:
        clock.now = taken.next_us
        taken = clock.claim(1)
    (item,) = taken.items
    clock.give_back(item.job_id, "limited", item.attempt, wait=wait, named=named)


def pace_top(clock: Clockwork) -> float:
    raw = clock.client.hget(clock.key("meta"), "pace_top")
    return float(raw or 0)


def test_after_a_429_the_rate_is_halved_and_back_at_97_percent_after_a_second_and_a_half(
    clock: Clockwork,
) -> None:
    clock.limit(submissions_per_second=100)
    clock.enqueue(1_000)
    limited(clock)
    said = clock.now
    for seconds, share in [(0.0, 0.5), (0.75, 0.735), (1.5, 0.97), (3.5, 0.98)]:
        clock.now = said + round(seconds * SECOND)
        assert rate(clock) == pytest.approx(100 * share, rel=0.02)


def test_the_pace_is_forgotten_when_it_binds_no_longer(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100)
    clock.enqueue(100)
    limited(clock)
    clock.wait(7.4)
    clock.heartbeat(first=True)
    clock.claim(0)
    assert pace_top(clock) == 100
    clock.wait(0.2)
    clock.claim(0)
    assert pace_top(clock) == 0
    assert rate(clock) == 100


def test_without_a_limit_the_pace_begins_at_what_went_in_the_last_second_and_ends_at_four_times(
    clock: Clockwork,
) -> None:
    clock.enqueue(1_000)
    assert len(clock.claimed(40)) == 40
    clock.wait(1)
    limited(clock)
    assert pace_top(clock) == 40
    assert rate(clock) == pytest.approx(20, rel=0.02)
    clock.wait(190)
    clock.heartbeat(first=True)
    clock.claim(0)
    assert pace_top(clock) == 40
    clock.wait(3)
    clock.claim(0)
    assert pace_top(clock) == 0
    assert len(clock.claimed(500)) == 500


def test_a_burst_of_429s_within_a_second_counts_once(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100, burst_size=20)
    jobs = clock.enqueue(20)
    clock.claimed(20)
    for job in jobs[:10]:
        assert clock.give_back(job, "limited") == 1
        clock.wait(0.09)
    assert pace_top(clock) == 100
    clock.wait(0.1)
    clock.give_back(jobs[10], "limited")
    assert pace_top(clock) == pytest.approx(81.3, rel=0.01), "the pace after a second"


def test_a_429_at_a_lower_pace_cuts_that_to_70_percent(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100)
    clock.enqueue(100)
    limited(clock)
    clock.wait(3)
    limited(clock)
    assert rate(clock) == pytest.approx(0.7 * 97.75, rel=0.02)


def test_a_rate_that_the_server_names_is_believed_and_crept_up_to(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100)
    clock.enqueue(100)
    limited(clock, named=10)
    said = clock.now
    assert rate(clock) == pytest.approx(9.5, rel=0.02)
    clock.now = said + 20 * SECOND
    assert rate(clock) == pytest.approx(10, rel=0.02)


def test_a_named_rate_above_the_limit_changes_little_and_never_raises_it(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=10)
    clock.enqueue(100)
    limited(clock, named=50)
    assert rate(clock) == pytest.approx(9.5, rel=0.02)
    clock.wait(60)
    assert rate(clock) == pytest.approx(10, rel=0.02)


def test_the_pace_never_falls_below_one_job_in_ten_seconds(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100)
    clock.enqueue(1)
    for _ in range(20):
        limited(clock, named=0.001)
        clock.wait(1)
    limited(clock)
    assert pace_top(clock) == pytest.approx(0.1, abs=0.01)
    assert 0.1 <= rate(clock) < 0.12


def test_a_429_holds_nothing_by_itself_and_no_job_s_attempts_count(clock: Clockwork) -> None:
    clock.enqueue(3)
    limited(clock)
    stats = clock.run(job_calls.stats(clock.account))
    assert stats.hold_seconds == 0
    assert stats.totals["given_back:limited"] == 1


def test_retry_after_holds_in_addition_to_the_slower_pace(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100)
    clock.enqueue(10)
    limited(clock, wait=30)
    assert clock.run(job_calls.stats(clock.account)).hold_seconds == 30
    assert pace_top(clock) == 100
    clock.wait(29.9)
    assert clock.claimed() == []
    clock.wait(0.1)
    assert len(clock.claimed()) == 1


def test_a_429_sent_again_slows_nothing_down_again(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100)
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job, "limited")
    before = clock.dump()
    assert clock.give_back(job, "limited") == 0
    clock.wait(5)
    assert clock.give_back(job, "limited") == 0
    assert clock.dump() == before


# The breaker, and refusals.


def trouble(clock: Clockwork, n: int) -> list[str]:
    """Have n submissions fail by the server's fault, one after another."""
    failed: list[str] = []
    clock.heartbeat(first=True)
    while len(failed) < n:
        for item in clock.claim(n - len(failed)).items:
            assert clock.lose(item.job_id, item.attempt, trouble=True) == 1
            failed.append(item.job_id)
    return failed


def hold_of(clock: Clockwork) -> float:
    return clock.run(job_calls.stats(clock.account)).hold_seconds


def test_ten_troubles_in_a_row_hold_submissions_for_five_seconds_and_then_probe_with_one(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(15)
    trouble(clock, 9)
    assert hold_of(clock) == 0
    trouble(clock, 1)
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.hold_seconds, stats.hold_reason) == (5, "10 in a row: cut off")
    clock.wait(4.999)
    assert clock.claimed() == []
    clock.wait(0.001)
    assert clock.claimed() == [jobs[10]]
    assert clock.claimed() == []


def test_an_acceptance_closes_the_breaker(clock: Clockwork) -> None:
    jobs = clock.enqueue(15)
    trouble(clock, 10)
    clock.wait(5)
    clock.heartbeat(first=True)
    assert clock.accept(clock.claim(10).items) == [1]
    assert hold_of(clock) == 0
    assert clock.claimed(10) == jobs[11:]


def test_nine_troubles_an_acceptance_and_nine_troubles_hold_nothing(clock: Clockwork) -> None:
    clock.enqueue(30)
    trouble(clock, 9)
    clock.accept(clock.claim(1).items)
    trouble(clock, 9)
    assert hold_of(clock) == 0
    trouble(clock, 1)
    assert hold_of(clock) == 5


def test_many_troubles_of_one_moment_open_the_breaker_once(clock: Clockwork) -> None:
    jobs = clock.enqueue(30)
    assert clock.claimed(30) == jobs
    items = [Lost(job, 1, "cut off", trouble=True) for job in jobs[:25]]
    call = worker_calls.mark_unconfirmed(clock.account, items)
    assert clock.run(call) == [1] * 25
    assert hold_of(clock) == 5
    before = clock.dump()
    assert clock.run(call) == [0] * 25
    assert clock.dump() == before
    clock.wait(1)
    clock.lose(jobs[25], trouble=True)
    assert hold_of(clock) == 4


def test_lost_answers_that_are_nobody_s_trouble_open_no_breaker(clock: Clockwork) -> None:
    jobs = clock.enqueue(30)
    clock.claimed(30)
    assert [clock.lose(job) for job in jobs] == [1] * 30
    assert hold_of(clock) == 0


def probes(clock: Clockwork, n: int) -> Sequence[float]:
    """Let n probes fail half a second after each went out; returns how long each failure holds."""
    holds = []
    for _ in range(n):
        clock.wait(hold_of(clock))
        clock.heartbeat(first=True)
        (probe,) = clock.claim(10).items
        clock.wait(0.5)
        clock.lose(probe.job_id, probe.attempt, trouble=True)
        holds.append(hold_of(clock))
    return holds


def test_a_failed_probe_doubles_the_hold_up_to_a_minute(clock: Clockwork) -> None:
    clock.enqueue(30)
    trouble(clock, 10)
    assert probes(clock, 6) == [10, 20, 40, 60, 60, 60]


def test_a_probe_whose_answer_never_comes_is_followed_by_another_after_a_minute(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(15)
    trouble(clock, 10)
    clock.wait(5)
    assert clock.claimed() == [jobs[10]]
    clock.wait(59.9)
    assert clock.claimed() == []
    clock.wait(0.1)
    assert clock.claimed() == [jobs[11]]


def test_twenty_refusals_in_a_row_hold_submissions_and_one_job_a_minute_is_tried(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(25)
    clock.claimed(20)
    for job in jobs[:19]:
        clock.refuse(job)
    assert hold_of(clock) == 0
    clock.refuse(jobs[19])
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.hold_seconds, stats.hold_reason) == (60, "20 in a row: refused, 422")
    for n in (20, 21):
        clock.wait(59.9)
        assert clock.claimed() == []
        clock.wait(0.1)
        assert clock.claimed() == [jobs[n]]
        clock.refuse(jobs[n])
        assert hold_of(clock) == 60
    clock.run(job_calls.resume(clock.account))
    assert len(clock.claimed()) == 3


def test_an_acceptance_begins_the_count_of_refusals_anew(clock: Clockwork) -> None:
    jobs = clock.enqueue(60)
    clock.claimed(60)
    for n in range(2):
        for job in jobs[20 * n : 20 * n + 19]:
            clock.refuse(job)
        assert clock.found(jobs[20 * n + 19], 1, f"run{n}") == 1
    assert hold_of(clock) == 0
    for job in jobs[40:]:
        clock.refuse(job)
    assert hold_of(clock) == 60


def test_troubles_never_shorten_or_probe_a_hold_while_claims_are_recovered(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(40)
    clock.claimed(40)
    clock.heartbeat(sequence=1_000)
    before = hold_of(clock)
    for job in jobs[:20]:
        clock.lose(job, trouble=True)
    for job in jobs[20:]:
        clock.refuse(job)
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.hold_kind, stats.hold_seconds) == ("redis", before)
    assert "lost claims" in str(stats.hold_reason)


def test_an_older_acceptance_leaves_a_wait_that_was_asked_for_while_the_breaker_was_open(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(12)
    clock.claimed(12)
    for job in jobs[:10]:
        clock.lose(job, trouble=True)
    clock.give_back(jobs[10], "busy", wait=300)
    assert clock.found(jobs[11], 1, "run1") == 1
    assert hold_of(clock) == 300


# Jobs that kill.


#: Seconds within which a job goes again whose process died, and after a second death.
WITHIN = (60, 600)


def haunted(clock: Clockwork, deaths: int = 1, names: Sequence[str] = ("killer",)) -> list[str]:
    """Jobs whose process dies so many times; surely no run came of them. Their time has come."""
    jobs = clock.enqueue(names=names)
    for attempt in range(1, deaths + 1):
        assert sorted(one_by_one(clock, len(jobs), f"victim{attempt}")) == sorted(jobs)
        clock.die()
        for _ in range(2):
            clock.wait(30)
            for job in jobs:
                clock.search(job, attempt=attempt)
        assert clock.states(jobs) == {"scheduled"}
        clock.wait(WITHIN[attempt - 1])
        clock.sweep("promote_due")
    return jobs


def one_by_one(clock: Clockwork, n: int, process: str) -> list[str]:
    """Claim so many jobs, in as many claims as that takes."""
    clock.heartbeat(process, first=True)
    return [item.job_id for _ in range(n) for item in clock.claim(n, process).items]


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_job_whose_process_died_goes_again_within_a_minute_or_ten(
    clock: Clockwork, deaths: int
) -> None:
    jobs = haunted(clock, deaths - 1, [f"killer{n}" for n in range(20)])
    one_by_one(clock, 20, "p1")
    clock.die()
    for _ in range(2):
        clock.wait(30)
        for job in jobs:
            clock.search(job, attempt=deaths)

    waits = [int(clock.field(job, "run_at") or 0) - clock.now for job in jobs]

    assert clock.states(jobs) == {"scheduled"}
    assert set(clock.members("due")) == set(jobs)
    assert all(0 <= wait <= WITHIN[deaths - 1] * SECOND for wait in waits)
    assert max(waits) - min(waits) > WITHIN[deaths - 1] * SECOND / 2, "at random times"


def test_a_job_whose_process_died_is_taken_beside_no_job_before_it(clock: Clockwork) -> None:
    (job,) = haunted(clock)
    first = clock.enqueue(3, priority=1)
    later = clock.enqueue(2)

    assert clock.claimed() == first
    assert clock.claimed() == [job]
    assert clock.claimed() == later


def test_the_third_death_is_the_last_only_once_a_search_says_that_there_is_no_run(
    clock: Clockwork,
) -> None:
    (job,) = haunted(clock, 2)
    assert clock.claimed() == [job]
    clock.die()
    assert clock.field(job, "deaths") == "3"
    clock.wait(30)
    assert clock.search(job, attempt=3) == 1
    assert clock.state(job) == "unconfirmed"
    clock.wait(30)
    assert clock.search(job, attempt=3) == 2
    assert clock.state(job) == "dead"
    assert "crash loop: 3 workers died" in str(clock.field(job, "reason"))
    assert clock.run(job_calls.stats(clock.account)).totals["crash_loops"] == 1


def test_the_run_of_a_job_that_killed_three_workers_is_followed(clock: Clockwork) -> None:
    (job,) = haunted(clock, 2)
    clock.claimed()
    clock.die()
    assert clock.found(job, 3, "run1") == 1
    assert clock.state(job) == "running"


def test_an_answer_that_brings_no_run_is_no_death(clock: Clockwork) -> None:
    (job,) = haunted(clock)
    for attempt in (2, 3, 4):
        assert clock.claimed() == [job]
        assert clock.give_back(job, "busy", attempt) == 1
        assert clock.state(job) == "ready"
        clock.wait(60)
    assert clock.field(job, "deaths") == "1"


def test_a_run_clears_its_job_of_the_deaths(clock: Clockwork) -> None:
    (job,) = haunted(clock)
    clock.claimed()
    assert clock.found(job, 2, "run1") == 1
    assert clock.field(job, "deaths") is None


def test_a_run_that_was_found_later_says_nothing_about_the_account(clock: Clockwork) -> None:
    (old,) = clock.unconfirmed()
    clock.enqueue(20)
    for job in clock.claimed(20):
        clock.refuse(job)
    assert clock.found(old, 1, "run1") == 1, "it was made before the trouble"
    assert clock.run(job_calls.stats(clock.account)).hold_seconds == 60


@pytest.mark.parametrize(
    ("why", "holds"), [("void", 0), ("limited", 0), ("busy", 10), ("account", 60)]
)
def test_a_probe_that_comes_back_without_a_run_does_not_hold_the_others_for_its_minute(
    clock: Clockwork, why: str, holds: int
) -> None:
    clock.enqueue(12)
    for job in clock.claimed(10):
        clock.lose(job, trouble=True)
    clock.wait(5)
    (probe,) = clock.claimed(10)
    assert clock.run(job_calls.stats(clock.account)).hold_seconds == 60
    assert clock.give_back(probe, why) == 1
    assert clock.run(job_calls.stats(clock.account)).hold_seconds == holds
    clock.wait(holds)
    assert len(clock.claimed(10)) == 1, "the next is a probe again"


def test_a_probe_that_the_server_refuses_closes_the_breaker(clock: Clockwork) -> None:
    clock.enqueue(14)
    for job in clock.claimed(10):
        clock.lose(job, trouble=True)
    clock.wait(5)
    (probe,) = clock.claimed(10)
    clock.refuse(probe)
    assert clock.run(job_calls.stats(clock.account)).hold_reason is None
    (*_, last) = clock.claimed(10)
    clock.lose(last, trouble=True)
    assert clock.run(job_calls.stats(clock.account)).hold_seconds == 0, "a row begins anew"


def test_a_job_that_is_not_the_probe_ends_no_probe(clock: Clockwork) -> None:
    jobs = clock.enqueue(14)
    clock.claimed(12)
    for job in jobs[:10]:
        clock.lose(job, trouble=True)
    clock.wait(6)
    assert len(clock.claimed(10)) == 1
    assert clock.give_back(jobs[10], "void") == 1
    assert clock.refuse(jobs[11]) == 1
    assert clock.claimed(10) == []
    assert clock.run(job_calls.stats(clock.account)).hold_seconds == 60


# What is the request's own.


def test_a_job_that_is_to_come_later_waits_apart_and_holds_nobody(clock: Clockwork) -> None:
    first, second = clock.enqueue(2)
    assert clock.claimed(1) == [first]
    assert clock.give_back(first, "later", reason="try again") == 1
    assert (clock.state(first), clock.field(first, "reason")) == ("scheduled", "try again")
    assert clock.claimed() == [second], "the account is not held"
    for wait in (30, 60, 120, 240, 480, 600, 600):
        clock.wait(wait - 1)
        clock.sweep("promote_due")
        assert clock.state(first) == "scheduled"
        clock.wait(1)
        clock.sweep("promote_due")
        assert clock.claimed() == [first]
        clock.give_back(first, "later", int(clock.field(first, "attempt") or 0))


def test_a_job_that_never_can_ends_dead_with_the_server_s_words(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    tries = 0
    while clock.state(job) != "dead":
        clock.wait(600)
        clock.sweep("promote_due")
        assert clock.claimed() == [job]
        clock.give_back(job, "later", int(clock.field(job, "attempt") or 0), reason="no model")
        tries += 1
    assert tries == 20
    assert clock.field(job, "reason") == "no model"


def test_a_run_of_it_that_is_named_late_is_its_own(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job, "later", reason="no model")
    assert clock.found(job, 1, "run1") == 1
    assert clock.state(job) == "running"
    assert clock.field(job, "reason") is None
    clock.wait(600)
    clock.sweep("promote_due")
    assert clock.claimed() == [], "it is not submitted again"
