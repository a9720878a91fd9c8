"""Lists of jobs, page by page, under a clock that the test moves."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from runqueue.errors import InvalidRequest
from runqueue.producer import listing
from runqueue.producer.listing import Filter
from runqueue.producer.pages import list_jobs
from runqueue.records.batch import JobPage
from runqueue.records.job import JobState, moment
from runqueue.store import job_calls, operator_calls
from runqueue.store.keys import Keys
from tests.runqueue.lua.clockwork import DAY, RETENTION, SECOND, WORKFLOW_RUN, Clockwork


def pages(clock: Clockwork, limit: int = 3, **wanted: str) -> list[list[str]]:
    """The ids of every page."""
    found, cursor = [], ""
    for _ in range(500):
        page = one(clock, cursor, limit, **wanted)
        found.append([job.id for job in page.jobs])
        cursor = page.cursor
        if not cursor:
            return found
    raise AssertionError("no end")


def one(clock: Clockwork, cursor: str = "", limit: int = 3, **wanted: Any) -> JobPage:
    which = Filter(**wanted).checked()
    return list_jobs(clock.run, clock.account, which, cursor, limit)


def listed(clock: Clockwork, limit: int = 3, **wanted: str) -> list[str]:
    return [job_id for page in pages(clock, limit, **wanted) for job_id in page]


def ended(clock: Clockwork, n: int, state: str = "completed") -> list[str]:
    """Jobs that ended one second after the other."""
    done = []
    for _ in range(n):
        clock.enqueue(1)
        clock.wait(1)
        done += clock.end_all(state)
    return done


def test_the_words_of_a_filter_give_its_times_in_utc() -> None:
    since = datetime.fromisoformat("2030-01-31T12:00:00+02:00")
    assert listing.Filter(since=since).words == "since 2030-01-31 10:00:00 UTC"


def test_a_filter_of_what_an_archive_finds_is_read_and_put_in_words() -> None:
    wanted = Filter(text="inv 4711", metadata={"order": "17"}, workflow="wpid_1", error="-5")
    read = wanted.checked()
    assert (read.metadata, read.error) == ((("order", "17"),), -5)
    assert read == read.checked()
    assert read.words == "text “inv 4711”, metadata order=17, workflow wpid_1, error -5"
    assert (read.archived_field, Filter(state="failed").archived_field) == ("text", "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", ""),
        ("text", " _%'\" "),
        ("text", "a b c d e f g h i"),
        ("text", "x" * 501),
        ("text", 5),
        ("metadata", ("order",)),
        ("metadata", {"order": 17}),
        ("metadata", 5),
        ("metadata", {"a b": "17"}),
        ("error", "x"),
        ("error", ""),
        ("error", True),
        ("error", 2**63),
    ],
)
def test_a_filter_says_which_field_is_none(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Filter(**{field: value}).checked()  # type: ignore[arg-type]
    assert [error.field for error in caught.value.errors] == [field]


# Of a batch.


def test_jobs_of_a_batch_come_in_the_order_of_the_upload(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(8)
    assert pages(clock, batch=batch) == [jobs[:3], jobs[3:6], jobs[6:]]
    clock.end_all("completed", "failed")
    clock.enqueue(4)
    assert listed(clock, batch=batch) == jobs
    assert listed(clock, batch=batch, state="failed") == jobs[1:2]
    assert listed(clock, batch=batch, state="ready") == jobs[2:]
    assert listed(clock, batch=batch, group="other") == []


def test_a_filter_of_a_batch_looks_further_than_the_page(clock: Clockwork) -> None:
    batch = clock.open_batch()
    jobs = [clock.enqueue(700, batch=batch, group=f"g{n}") for n in range(4)]
    clock.seal(batch)
    found = pages(clock, 300, batch=batch, group="g2")
    assert [job for page in found for job in page] == jobs[2]
    assert len(found) <= 6
    assert all(len(page) <= 300 for page in found)


def test_a_job_that_another_batch_took_over_is_not_listed(clock: Clockwork) -> None:
    old, new = clock.open_batch(), clock.open_batch()
    mine = clock.enqueue(names=["a", "b"], batch=old)
    clock.enqueue(names=["a"], batch=new)
    assert listed(clock, batch=old) == mine[1:]


def test_a_batch_of_another_account_or_of_nobody_has_no_jobs(clock: Clockwork) -> None:
    other = Clockwork(clock.client, "other")
    theirs, _ = other.batch_of(2)
    assert pages(clock, batch=theirs) == pages(clock, batch="nonsense") == [[]]
    assert pages(clock, batch=clock.new_id()) == [[]]


def test_what_waits_in_a_canceled_batch_is_listed_as_canceled(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(2)
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    assert listed(clock, batch=batch, state="canceled") == jobs
    assert listed(clock, batch=batch, state="ready") == []


# Of a state that has an index.


def test_jobs_of_an_indexed_state_come_the_first_in_time_first(clock: Clockwork) -> None:
    later = clock.enqueue(4, run_at=clock.now + 9 * SECOND)
    soon = clock.enqueue(3, run_at=clock.now + 5 * SECOND, group="g")
    found = listed(clock, state="scheduled")
    assert found[:3] == sorted(soon)
    assert sorted(found) == sorted(later + soon)
    assert sorted(listed(clock, state="scheduled", group="g")) == sorted(soon)


def test_unconfirmed_jobs_without_a_slot_are_listed_too(clock: Clockwork) -> None:
    jobs = clock.unconfirmed(5)
    clock.wait(7_201)
    clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN)
    assert len(clock.members("unconfirmed_no_slot")) == 5
    jobs += clock.unconfirmed(2)
    assert sorted(listed(clock, 2, state="unconfirmed")) == sorted(jobs)


def test_dead_and_running_jobs_are_listed(clock: Clockwork) -> None:
    running = clock.running(4)
    dead = clock.enqueue(4)
    assert clock.claimed(10) == dead
    for job in dead:
        clock.refuse(job)
    assert sorted(listed(clock, state="running")) == sorted(running)
    assert sorted(listed(clock, state="dead")) == sorted(dead)


# Of a state that jobs end in.


def test_jobs_that_ended_come_the_newest_first_over_days(clock: Clockwork) -> None:
    jobs = []
    for _ in range(3):
        jobs += ended(clock, 4)
        clock.wait(DAY / SECOND)
    ended(clock, 2, "failed")
    assert listed(clock, state="completed") == jobs[::-1]
    assert len(listed(clock, state="failed")) == 2
    assert listed(clock, state="canceled") == []


def test_ends_that_come_meanwhile_neither_skip_nor_repeat_others(clock: Clockwork) -> None:
    jobs = ended(clock, 7)
    seen: list[str] = []
    cursor = ""
    while True:
        page = one(clock, cursor, 2, state="completed")
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if not cursor:
            break
        ended(clock, 1)
    assert seen == jobs[::-1]


def test_midnight_between_two_pages_changes_nothing(clock: Clockwork) -> None:
    jobs = ended(clock, 5)
    page = one(clock, "", 2, state="completed")
    clock.wait(DAY / SECOND)
    ended(clock, 3)
    rest = one(clock, page.cursor, 10, state="completed")
    assert [job.id for job in page.jobs + rest.jobs] == jobs[::-1]


def test_a_job_that_ended_twice_is_listed_once_where_it_ended_last(clock: Clockwork) -> None:
    first, second = ended(clock, 2, "failed")
    assert replay(clock, first) == [1]
    clock.wait(1)
    assert clock.end_all("failed") == [first]
    assert listed(clock, 1, state="failed") == [first, second]
    assert replay(clock, second) == [1]
    clock.wait(DAY / SECOND)
    assert clock.end_all("failed") == [second]
    assert listed(clock, 1, state="failed") == [second, first]


def test_a_range_of_times_reads_only_the_days_and_ends_in_it(clock: Clockwork) -> None:
    jobs, times = [], []
    for _ in range(5):
        jobs += ended(clock, 4)
        times += [clock.now]
        clock.wait(DAY / SECOND)
    since, until = at(times[1]), at(times[3])
    which = Filter(state="completed", since=since, until=until).checked()
    found, calls, cursor = [], 0, ""
    while calls == 0 or cursor:
        page = list_jobs(clock.run, clock.account, which, cursor, 3)
        found += [job.id for job in page.jobs]
        cursor, calls = page.cursor, calls + 1
    assert found == [*jobs[12:15][::-1], *jobs[8:12][::-1], jobs[7]]
    assert calls <= 4


def at(microseconds: int) -> datetime:
    found = moment(microseconds)
    assert found is not None
    return found


def replay(clock: Clockwork, *job_ids: str) -> list[int]:
    """Have jobs done again."""
    return clock.run(operator_calls.replay(clock.account, clock.seen(*job_ids)))


def test_retention_between_two_pages_repeats_nothing(clock: Clockwork) -> None:
    old = ended(clock, 4)
    clock.wait(2)
    new = ended(clock, 4)
    clock.wait((RETENTION - 6 * SECOND) / SECOND)
    page = one(clock, "", 2, state="completed")
    clock.sweep("retire")
    left = [job for job in old if clock.state(job)]
    assert 0 < len(left) < 4 or not left
    rest = one(clock, page.cursor, 10, state="completed")
    seen = [job.id for job in page.jobs + rest.jobs]
    assert seen == (left + new)[::-1]


def test_a_page_looks_at_a_bounded_number_of_ends(clock: Clockwork) -> None:
    failed = ended(clock, 1, "failed")
    for _ in range(3):
        clock.cancel(*clock.enqueue(1_000))
    first = one(clock, "", 10, state="failed")
    assert (first.jobs, bool(first.cursor)) == ([], True)
    assert listed(clock, state="failed") == failed


def test_many_that_ended_in_one_script_come_once_each(clock: Clockwork) -> None:
    jobs = clock.enqueue(500)
    clock.cancel(*jobs)
    assert Counter(listed(clock, 7, state="canceled")) == Counter(jobs)
    clock.wait(1)
    assert set(replay(clock, *jobs)) == {1}
    clock.wait(1)
    clock.cancel(*jobs)
    assert Counter(listed(clock, 7, state="canceled")) == Counter(jobs), "twice, as one"


# All others.


@pytest.mark.parametrize("limit", [1, 10, 1_000])
def test_ready_and_submitting_jobs_are_found_through_the_keys(clock: Clockwork, limit: int) -> None:
    jobs = clock.enqueue(60)
    others = clock.enqueue(3, group="g")
    taken = clock.claimed(5)
    assert set(listed(clock, limit, state="submitting")) == set(taken)
    assert set(listed(clock, limit, state="ready")) == set(jobs + others) - set(taken)
    assert set(listed(clock, limit)) == set(jobs + others)
    assert set(listed(clock, limit, group="g")) == set(others)


def test_no_page_through_the_keys_has_more_jobs_than_its_limit(clock: Clockwork) -> None:
    jobs = clock.enqueue(200)
    for limit in (1, 3):
        found = pages(clock, limit)
        assert max(map(len, found)) == limit
        assert {job for page in found for job in page} == set(jobs)


def test_what_a_page_had_no_room_for_comes_although_other_jobs_went(clock: Clockwork) -> None:
    jobs = clock.enqueue(200)
    page = one(clock, limit=1)
    while ":" not in page.cursor:
        page = one(clock, page.cursor, limit=1)
    left = page.cursor.split(":")[1:]
    clock.cancel(*[job for job in jobs if job not in left])
    assert one(clock, page.cursor, limit=1).jobs[0].id == left[0]
    ready = one(clock, page.cursor, limit=1_000, state="ready").jobs
    assert set(left) <= {job.id for job in ready}


def test_no_call_for_a_page_reads_more_than_a_hundred_jobs(
    clock: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    readable_jobs = job_calls.readable_jobs

    def counted(account: str, job_ids: Sequence[str]) -> Any:
        read.append(len(job_ids))
        return readable_jobs(account, job_ids)

    monkeypatch.setattr(job_calls, "readable_jobs", counted)
    jobs = clock.enqueue(250)

    assert set(listed(clock, 1_000)) == set(jobs)
    assert max(read) == 100
    assert 250 <= sum(read) < 500  # some may come twice


# What is refused.


@pytest.mark.parametrize(
    ("wanted", "cursor", "limit", "field"),
    [
        ({}, "", 0, "limit"),
        ({}, "", 1_001, "limit"),
        ({}, "scan-x", 5, "cursor"),
        ({}, "scan-5:x", 5, "cursor"),
        ({}, "batch-5", 5, "cursor"),
        ({"state": "completed"}, "scan-5", 5, "cursor"),
        ({"state": "completed"}, "ended-1:2", 5, "cursor"),
        ({"state": "dead"}, "index-0:17", 5, "cursor"),
        ({"state": "nearly"}, "", 5, "state"),
    ],
)
def test_what_is_no_page_is_refused(
    clock: Clockwork, wanted: dict[str, str], cursor: str, limit: int, field: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        one(clock, cursor, limit, **wanted)


def test_an_account_with_nothing_has_empty_lists(clock: Clockwork) -> None:
    assert clock.client.exists(Keys(clock.account).meta) == 0
    for state in JobState:
        assert listed(clock, state=state.value) == []
    assert listed(clock) == []
