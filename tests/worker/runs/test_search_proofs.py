"""That a lost submission made no run: for each thing that has to hold, what happens without it.

Every test begins with what would have a job submitted again (`denied`), and takes one thing away:
then the job stays, is shown with the reason, and nothing is paid twice.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest

from api_client import ReadClass, RunPage
from runqueue import JobState, TaskRunRequest, ids
from runqueue.records.claim_items import Lost
from runqueue.store import worker_calls
from runqueue.store.scripts import ScriptCall
from tests.worker.searching import (
    LOST,
    MADE,
    SOON,
    candidates,
    control,
    filter_by_tags,
    flow,
    look,
    lose,
    lose_many,
    lose_with_control,
    make_older,
    record,
    settled,
    show_lists,
    show_pages,
    show_requests,
    task,
    task_v2,
    trouble,
)
from tests.worker.working import ENDLESS, KEYS, Bench, Send, Work, wrap_send
from worker.runs.search import SearchMessage

pytestmark = pytest.mark.usefixtures("no_waiting")

REQUESTS = {"a task": task(), "a task 2.0": task_v2(), "a workflow": flow()}
each_request = pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)


#: No tag finds a workflow's run: it is told by its request.
UNTAGGED: dict[str, Any] = {"settings": {**SOON["settings"], "run_tags": False}}


async def stays(bench: Bench, *job_ids: str, note: str = "", looks: int = 4) -> None:
    """Have jobs looked for again and again; they stay, for the reason, and nothing is submitted."""
    before = await bench.submissions()
    await look(bench, looks)
    await bench.one_pass("submit")
    assert {bench.job(job_id).state for job_id in job_ids} == {JobState.UNCONFIRMED}
    assert await bench.submissions() == before
    if note:
        assert {record(bench, job_id, "search_message") for job_id in job_ids} == {note}


async def denied(bench: Bench, *job_ids: str) -> None:
    """Have jobs looked for twice; each of them is to be submitted again."""
    await look(bench, 2)
    assert {bench.job(job_id).state for job_id in job_ids} == {JobState.READY}


async def other_runs(bench: Bench, n: int) -> None:
    """Make runs that are nobody's, and no job's equal."""
    for i in range(n):
        await bench.api.run_task(prompt=f"other {i}", url=ENDLESS, title=f"title {i}")
        await bench.api.run_workflow(workflow_id=f"wpid_other{i}")


# The list.


@each_request
async def test_without_the_server_s_date_nothing_is_denied(
    work: Work, monkeypatch: pytest.MonkeyPatch, request_of: Any
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, request_of, LOST)
        show_lists(monkeypatch, bench, lambda page, _: dataclasses.replace(page, server_date=None))

        await stays(bench, job_id, note=SearchMessage.NO_DATE)


def full_pages(page: int, _: int) -> tuple[int, int]:
    return 5 * page - 5, 5 * page


@each_request
@pytest.mark.parametrize("is_read", [True, False])
async def test_a_list_of_several_pages_denies_only_if_all_of_them_are_read(
    work: Work, monkeypatch: pytest.MonkeyPatch, request_of: Any, is_read: bool
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, request_of, LOST)
        await other_runs(bench, 6)
        show_pages(monkeypatch, bench, full_pages, full=5)
        if is_read:
            await denied(bench, job_id)
        else:
            show_lists(monkeypatch, bench, lambda page, number: trouble() if number == 2 else page)
            await stays(bench, job_id, note=SearchMessage.INCOMPLETE)


Paging = Callable[[int, int], tuple[int, int]]

BOUNDED: dict[str, tuple[Paging, int | None]] = {
    "no more than the newest ten": (lambda page, _: (min(5 * page - 5, 10), min(5 * page, 10)), 5),
    "page sizes bounded": (
        lambda page, size: ((page - 1) * min(size, 10), page * min(size, 10)),
        None,
    ),
    "page sizes ignored": (lambda page, _: (10 * page - 10, 10 * page), None),
    "odd page sizes ignored": (lambda page, _: (9 * page - 9, 9 * page), None),
    "pages ignored": (lambda _, size: (0, min(size, 10)), None),
    "pages and their sizes ignored": (lambda *_: (0, 10), None),
}


@pytest.mark.parametrize("bound", BOUNDED)
@pytest.mark.parametrize("others", [5, 8])
async def test_of_a_list_that_is_silently_bounded_nothing_is_denied(
    work: Work, monkeypatch: pytest.MonkeyPatch, bound: str, others: int
) -> None:
    paging, full = BOUNDED[bound]
    async with work(**SOON) as bench:
        equal = task_v2()
        job_id = await lose(bench, equal, MADE)  # its run is the oldest, and not among those shown
        await other_runs(bench, others)
        await control(bench, equal)
        show_pages(monkeypatch, bench, paging, full=full)

        await look(bench, 4)
        await bench.one_pass("submit")

        assert bench.job(job_id).attempts == 1, "it is not submitted again"
        assert bench.job(job_id).state in {JobState.UNCONFIRMED, JobState.RUNNING}


async def test_a_list_that_shows_nothing_newer_than_the_loss_may_be_behind(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.search.NEWER", 2.0)
    ago = [-30.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        await control(bench, task())
        ago[0] = 0.0
        job_id = await lose(bench, task(), LOST)

        await stays(bench, job_id, note=SearchMessage.NOTHING_NEWER)
        assert bench.stats().live == 1, "the control's: nothing that is seen takes the job's slot"

        monkeypatch.setattr("worker.runs.search.NEWER", 0.0)
        await control(bench, task())
        await denied(bench, job_id)


async def test_a_list_that_shows_something_newer_than_the_claim_alone_may_be_behind(
    work: Work,
) -> None:
    ago = [-30.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        await control(bench, task())
        ago[0] = 0.0
        job_id = await lose(bench, task(), LOST)
        # Its submission took a minute: the run may have been made at the end of it.
        minute_ago, key = bench.now_us() - 60_000_000, f"{KEYS.prefix}job:{job_id}"
        bench.client.hset(key, "claimed", minute_ago)
        bench.client.hdel(key, "claimed_server_time")

        await stays(bench, job_id, note=SearchMessage.NOTHING_NEWER)


async def test_times_that_are_ahead_of_the_server_s_own_show_nothing_newer(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.search.NEWER", 2.0)
    ago = [-30.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        await other_runs(bench, 1)
        ago[0] = 0.0
        job_id = await lose(bench, task(), LOST)

        def ahead(page: RunPage, _: int) -> RunPage:
            runs = [dataclasses.replace(r, created=(r.created or 0) + 7_200) for r in page.runs]
            return dataclasses.replace(page, runs=tuple(runs))

        show_lists(monkeypatch, bench, ahead)  # a server that tells local time for UTC
        await stays(bench, job_id, note=SearchMessage.NOTHING_NEWER)


# ListControls.


@each_request
async def test_a_run_of_somebody_else_is_no_control(work: Work, request_of: Any) -> None:
    async with work(**SOON) as bench:
        job_id = await lose(bench, request_of, LOST)
        await bench.api.run_task(prompt="x", url=ENDLESS)
        await bench.api.run_task(prompt="x", url=ENDLESS, engine="skyvern-2.0")
        await bench.api.run_workflow(workflow_id="wpid_2")

        await stays(bench, job_id, note=SearchMessage.NO_CONTROL)


async def test_a_run_that_was_told_by_its_request_alone_is_no_control(work: Work) -> None:
    async with work(**SOON) as bench:
        job_id = await lose(bench, task_v2(), LOST)
        found = await lose(bench, task_v2(prompt="another"), MADE)
        await look(bench, only=[found])
        assert bench.job(found).state is JobState.RUNNING

        await stays(bench, job_id, note=SearchMessage.NO_CONTROL)


@pytest.mark.parametrize("shows_titles", [True, False])
async def test_a_run_without_a_title_is_a_candidate_only_where_no_title_is_seen(
    work: Work, monkeypatch: pytest.MonkeyPatch, shows_titles: bool
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose(bench, task(), LOST)
        others = {await bench.api.run_task(prompt="p", url=ENDLESS) for _ in range(2)}
        await control(bench, task())

        def untitled(page: RunPage, _: int) -> RunPage:
            runs = [dataclasses.replace(run, title=None) for run in page.runs]
            return dataclasses.replace(page, runs=tuple(runs))

        if shows_titles:
            await denied(bench, job_id)  # the control shows its title, and those two none of ours
        else:
            show_lists(monkeypatch, bench, untitled)
            await stays(bench, job_id, note=SearchMessage.CANDIDATES)
            assert set(candidates(bench, job_id)) == others


# Runs that may be the job's.


@pytest.mark.parametrize("request_of", [task_v2(), flow()], ids=["a task 2.0", "a workflow"])
async def test_a_run_that_cannot_be_read_may_be_the_job_s(
    work: Work, monkeypatch: pytest.MonkeyPatch, request_of: Any
) -> None:
    async with work(**UNTAGGED) as bench:
        job_id = await lose(bench, request_of, MADE)
        [run] = await bench.runs()
        await control(bench, request_of)
        read = bench.account.client.get_run

        async def get_run(run_id: str, seconds: float) -> Any:
            reading = await read(run_id, seconds)
            if run_id != run["run_id"]:
                return reading
            return dataclasses.replace(reading, outcome=ReadClass.TROUBLE, body=b"")

        monkeypatch.setattr(bench.account.client, "get_run", get_run)
        await stays(bench, job_id, note=SearchMessage.CANDIDATES)
        (candidate,) = candidates(bench, job_id).values()
        assert candidate["run_id"] == run["run_id"]
        assert set(candidate["equal"]) <= {"workflow_id"}
        assert candidate["different"] == []


@pytest.mark.parametrize("request_of", [task_v2(), flow()], ids=["a task 2.0", "a workflow"])
@pytest.mark.parametrize("runs", [2, 3])
async def test_of_more_equal_runs_than_jobs_none_is_adopted(
    work: Work, request_of: Any, runs: int
) -> None:
    async with work(**UNTAGGED) as bench:
        job_id = await lose(bench, request_of, MADE)
        fields = request_of.model_dump(exclude_unset=True)
        make = bench.api.run_workflow if request_of.kind == "workflow" else bench.api.run_task
        for _ in range(runs - 1):
            await make(**fields)
        await control(bench, request_of)

        await stays(bench, job_id, note=SearchMessage.CANDIDATES)
        assert len(candidates(bench, job_id)) == runs


@pytest.mark.parametrize("first_made", [True, False])
async def test_a_run_that_two_unequal_jobs_may_have_made_is_adopted_by_neither(
    work: Work, first_made: bool
) -> None:
    async with work(**SOON) as bench:
        # Servers show no user agent.
        outcomes = (MADE, LOST) if first_made else (LOST, MADE)
        jobs = [
            await lose(bench, task_v2(user_agent=name), outcome)
            for name, outcome in zip(("me", "you"), outcomes, strict=True)
        ]
        [run] = await bench.runs()
        await control(bench, task_v2())

        await stays(bench, *jobs, note=SearchMessage.CANDIDATES)
        for job_id in jobs:
            assert set(candidates(bench, job_id)) == {run["run_id"]}


async def test_a_run_that_may_just_as_well_be_an_unequal_job_s_is_not_adopted(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        plain = await lose(bench, task_v2(), LOST)
        with_steps = await lose(bench, task_v2(max_steps=4), MADE)
        await control(bench, task_v2())
        # The server shows a default of its own: the run's own job is not sure that it is its own.
        show_requests(monkeypatch, bench, lambda shown: {**shown, "max_steps": 10})

        await stays(bench, plain, with_steps, note=SearchMessage.CANDIDATES)


async def test_runs_are_counted_back_to_the_claim_of_the_oldest_equal_job(work: Work) -> None:
    ago = [-600.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        old = await lose(bench, task_v2(), MADE)
        make_older(bench, old, 600)
        ago[0] = 0.0
        new = await lose(bench, task_v2(), MADE)
        made = {run["run_id"] for run in await bench.runs()}
        await control(bench, task_v2())

        # The younger one's look comes first, and needs the list of the last minute alone.
        await look(bench, 3, only=[new])
        await bench.one_pass("submit")
        await look(bench, 3)
        await bench.one_pass("submit")

        assert {bench.job(old).run_id, bench.job(new).run_id} == made
        assert settled(bench, old, new) == [JobState.RUNNING, JobState.RUNNING]
        assert [bench.job(job_id).attempts for job_id in (old, new)] == [1, 1]


async def test_an_equal_run_made_since_a_submission_under_way_is_not_adopted(work: Work) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, task_v2(), LOST)
        await bench.account.send(
            worker_calls.heartbeat("default", "other", 60_000_000, -1, 0, first=True)
        )
        waiting = bench.queue.enqueue(task_v2()).job_id
        assert (await bench.account.send(worker_calls.claim("default", "other", "c1", 10, 0))).items
        run = await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")

        await stays(bench, job_id, note=SearchMessage.IN_FLIGHT)
        assert set(candidates(bench, job_id)) == {run}
        assert bench.job(waiting).state is JobState.SUBMITTING


async def test_in_an_account_that_is_shared_counting_denies_nothing(work: Work) -> None:
    async with work(shared_account=True, **SOON) as bench:
        jobs = [await lose(bench, task_v2(), outcome) for outcome in (MADE, LOST)]
        await control(bench, task_v2())

        await stays(bench, *jobs, note=SearchMessage.SHARED)


@pytest.mark.parametrize("stored", [b"nonsense", b"[]", b"1", b'{"k":"t"}\n[]', b'{"k":[]}\n{}'])
async def test_a_job_that_waits_with_a_broken_request_may_be_any_run_s_and_keeps_none_from_its_end(
    work: Work, stored: bytes
) -> None:
    async with work(**SOON) as bench:
        broken = await lose(bench, task_v2(prompt="broken"), LOST)
        lost = await lose(bench, task_v2(prompt="lost"), LOST)
        job_id = await lose_with_control(bench, task_v2(), MADE)
        bench.client.set(f"{KEYS.prefix}body:{broken}", stored)

        await look(bench, 3)
        await bench.one_pass("submit")

        states = [record(bench, job, "state") for job in (broken, job_id)]
        assert states == ["unconfirmed", "unconfirmed"]
        assert record(bench, broken, "search_message") == SearchMessage.UNREADABLE
        assert record(bench, job_id, "search_message") == SearchMessage.CANDIDATES
        assert bench.job(lost).state is JobState.RUNNING, "it had no run, and was submitted again"


# Times.


async def test_a_task_without_a_url_is_denied_only_after_a_quarter_of_an_hour(work: Work) -> None:
    request_of = TaskRunRequest(prompt="p", engine="skyvern-1.0")
    async with work(**SOON) as bench:
        job_id = await lose(bench, request_of, LOST)
        await control(bench, task())

        await stays(bench, job_id)
        assert (
            record(bench, job_id, "not_found_count")
            == record(bench, job_id, "not_seen_count")
            == ""
        )

        make_older(bench, job_id, 901)
        await denied(bench, job_id)


async def test_a_run_that_is_listed_late_is_found_between_two_searches(work: Work) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, task_v2(), LOST)
        await look(bench)
        assert record(bench, job_id, "not_found_count") == "1"

        run = await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        await look(bench)

        assert bench.job(job_id).run_id == run


# Tags.


async def test_a_run_is_found_by_its_tag_where_the_server_filters_by_tags(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        first = await lose(bench, flow(), MADE)
        second = await lose(bench, flow(), MADE)
        one, two = [run["run_id"] for run in await bench.runs()]
        runs = {ids.tag_marker(first, 1): {two}, ids.tag_marker(second, 1): {one}}

        async def tagged(tag: str) -> set[str]:
            return runs.get(tag, set())

        filter_by_tags(monkeypatch, bench, tagged)
        await look(bench)

        assert [bench.job(job_id).run_id for job_id in (first, second)] == [two, one]


async def test_a_server_that_shows_all_runs_for_any_tag_finds_nothing_by_tags(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        filter_by_tags(monkeypatch, bench, None)
        job_id = await lose(bench, flow(), LOST)
        await bench.api.run_workflow(workflow_id="wpid_2")
        await control(bench, flow())

        await denied(bench, job_id)


async def test_a_server_that_ignores_tags_is_not_believed_for_having_been_empty(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        filter_by_tags(monkeypatch, bench, None)
        job_id = await lose(bench, flow(), LOST)
        await look(bench)  # a server without runs shows none for any tag
        other = await bench.api.run_workflow(workflow_id="wpid_2")

        await look(bench)

        assert bench.job(job_id).run_id is None, f"{other} is another's"


async def test_one_run_that_comes_for_two_tags_is_adopted_by_neither(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        jobs = [await lose(bench, flow(workflow_id=f"wpid_{name}"), LOST) for name in ("a", "b")]
        other = await bench.api.run_workflow(workflow_id="wpid_2")

        async def tagged(tag: str) -> set[str]:
            return set() if ids.tag_marker("0" * ids.ID_LENGTH, 1) == tag else {other}

        filter_by_tags(monkeypatch, bench, tagged)
        await look(bench)

        assert {bench.job(job_id).run_id for job_id in jobs} == {None}


@pytest.mark.parametrize("shown", ["the request", "a webhook's marker", "nothing"])
async def test_a_run_that_a_mixed_up_answer_shows_for_a_tag_is_not_taken(
    work: Work, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    async with work() as bench:
        orders = [{"sim_end": "never", "order": name} for name in "ab"]
        if shown == "a webhook's marker":
            orders = [{"sim_end": "never"}] * 2
        jobs = [
            await lose(bench, flow(parameters=order, webhook_url="https://u.test/"), MADE)
            for order in orders
        ]
        runs = [run["run_id"] for run in await bench.runs()]
        tags = {
            ids.tag_marker(job, 1): {run} for job, run in zip(jobs, reversed(runs), strict=True)
        }

        async def tagged(tag: str) -> set[str]:
            return tags.get(tag, set())

        filter_by_tags(monkeypatch, bench, tagged)
        if shown == "the request":
            show_requests(monkeypatch, bench, lambda request: {**request, "webhook_url": None})
        elif shown == "nothing":
            show_requests(monkeypatch, bench, lambda _: None)
        await look(bench)

        # What shows nothing is believed: only its tag says whose it is.
        expected = reversed(runs) if shown == "nothing" else runs
        assert [bench.job(job_id).run_id for job_id in jobs] == list(expected)


async def test_no_tag_that_is_missing_denies(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async with work(**SOON) as bench:
        jobs = [await lose(bench, flow(), MADE) for _ in range(2)]
        await control(bench, flow())

        async def tagged(tag: str) -> set[str]:
            return set()

        filter_by_tags(monkeypatch, bench, tagged)
        await look(bench, 2)

        assert settled(bench, *jobs) == [JobState.RUNNING] * 2, "they are found by their requests"


# One job does not hold up the others.


async def test_an_old_job_that_the_list_does_not_reach_back_to_keeps_no_other_from_its_end(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    ago = [-600.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        await other_runs(bench, 6)
        ago[0] = 0.0
        old = await lose(bench, task(), LOST)
        make_older(bench, old, 86_400)
        young = await lose_with_control(bench, task(), LOST)
        # No more than three pages are shown: ten minutes of the list, of the day that there is.
        show_pages(monkeypatch, bench, full_pages, full=5)
        show_lists(monkeypatch, bench, lambda page, number: trouble() if number > 2 else page)

        await look(bench, 2)

        assert bench.job(young).state is JobState.READY
        assert bench.job(old).state is JobState.UNCONFIRMED
        assert record(bench, old, "search_message") == SearchMessage.INCOMPLETE


async def test_runs_beyond_those_that_are_read_in_a_pass_keep_only_older_jobs_open(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.search.MOST_REQUESTS", 3)
    ago = [-600.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        old = await lose(bench, task_v2(prompt="old"), LOST)
        make_older(bench, old, 600)
        await other_runs(bench, 7)
        ago[0] = 0.0
        young = await lose(bench, task_v2(prompt="young"), LOST)
        await control(bench, task_v2())

        await look(bench, 2)

        assert bench.job(young).state is JobState.READY
        assert bench.job(old).state is JobState.UNCONFIRMED
        assert record(bench, old, "search_message") == SearchMessage.INCOMPLETE

        await look(bench, 4)

        assert bench.job(old).state is JobState.READY  # each pass read some more of them


# Candidates.


async def test_candidates_are_few_and_name_fields_in_few_characters(work: Work) -> None:
    async with work(**UNTAGGED) as bench:
        long = {f"{i}{'n' * 10_000}": "secret" for i in range(20)}
        request_of = flow(parameters={"sim_end": "never", **long})
        job_id = await lose(bench, request_of, LOST)
        for _ in range(8):
            await bench.api.run_workflow(**request_of.model_dump(exclude_unset=True))

        await look(bench)

        stored = record(bench, job_id, "candidates")
        assert len(candidates(bench, job_id)) == 5
        assert len(stored) < 10_000
        assert "secret" not in stored


# Many.


async def test_where_a_job_is_passed_over_between_two_pages_no_run_is_told_by_its_request(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.search.UNCONFIRMED_PAGE", 2)
    async with work(**SOON) as bench:
        jobs = [await lose(bench, task_v2(prompt=f"p{n}"), LOST) for n in range(3)]
        jobs.append(await lose(bench, task_v2(prompt="made"), MADE))
        await control(bench, task_v2())
        offsets: list[int] = []

        async def around(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script is worker_calls.read_unconfirmed("default", 0, 1).script:
                offsets.append(int(call.arguments[0]))
                if len(offsets) == 2:  # one leaves the first page, and another comes at the end
                    bench.queue.fail(jobs[:1])
                    joined = bench.queue.enqueue(task_v2(prompt="late")).job_id
                    own = bench.account.lease.name
                    assert (await send(worker_calls.claim("default", own, "late", 10, 0))).items
                    lost = Lost(joined, 1, "cut off", trouble=False)
                    assert await send(worker_calls.mark_unconfirmed("default", [lost])) == [1]
            return await send(call)

        wrap_send(monkeypatch, bench.account, around)
        await look(bench, only=[jobs[3]])

        assert len(offsets) >= 2
        assert record(bench, jobs[3], "search_message") == SearchMessage.CANDIDATES


@pytest.mark.parametrize("size", [2, 3, 4, 5, 100])
async def test_all_unconfirmed_jobs_are_read_whatever_their_pages(
    work: Work, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("worker.runs.search.UNCONFIRMED_PAGE", size)
    async with work(**SOON) as bench:
        jobs = await lose_many(bench, task_v2(), LOST, 5)
        await control(bench, task_v2())

        await look(bench, 2, only=[jobs[4]])

        assert bench.job(jobs[4]).state is JobState.READY
