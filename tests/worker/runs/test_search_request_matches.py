"""Equal requests whose runs show no marker: who is given which run, and what puts it right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from api_client import ListedRun
from runqueue import JobState, ids
from runqueue.records.claim_items import RunAccepted
from runqueue.store import delivery_calls, worker_calls
from simulator.model.runs import LIVE_STATUSES
from tests.runqueue.lua.webhooks import told
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
    record,
    show_requests,
    task,
    task_v2,
)
from tests.worker.working import Bench, Work
from worker.runs.listed_runs import Listing, Runs
from worker.runs.search import SearchMessage

pytestmark = pytest.mark.usefixtures("no_waiting")


def without_markers(shown: dict[str, Any]) -> dict[str, Any]:
    """What a server shows of a request that shows neither title nor webhook."""
    return {name: shown[name] for name in shown if name not in {"webhook_url", "title"}}


async def own_run(bench: Bench, job_id: str) -> str:
    """The run of a job, by the address that its webhook goes to."""
    async with bench.api.session.get(f"{bench.api.url}/_ledger") as answer:
        lines = (await answer.text()).splitlines()
    (found,) = [line for line in lines if f"/{job_id}/1/" in line]
    ledger = orjson.loads(found)
    return str(ledger.get("run_id") or ledger["id"])


@pytest.mark.parametrize("told_by", ["webhook", "answer"])
async def test_once_a_run_is_told_to_be_a_job_s_own_its_match_serves_the_equal_job(
    work: Work, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    settings = {"public_url": "https://hooks.test", "run_tags": False, **SOON["settings"]}
    async with work(settings=settings) as bench:
        show_requests(monkeypatch, bench, without_markers)
        a, b = await lose_many(bench, flow(), MADE, 2)
        run_a, run_b = await own_run(bench, a), await own_run(bench, b)
        # A search saw the run of `b` first.
        matched = worker_calls.mark_running(
            "default", [RunAccepted(a, 1, run_b, "running", 0)], by_request=True
        )
        assert await bench.account.send(matched) == [1]

        if told_by == "webhook":
            news = told(a, run_id=run_a, state="")
            await bench.account.send(delivery_calls.record_webhook("default", [news]))
        else:
            late = [RunAccepted(a, 1, run_a, "running", 0)]
            await bench.account.send(worker_calls.mark_running("default", late))
        await control(bench, flow())
        await look(bench, 3)
        await bench.one_pass("submit")

        assert (bench.job(a).run_id, bench.job(b).run_id) == (run_a, run_b)
        assert len(await bench.runs()) == 3, "the runs of both, and of the control"


async def test_a_run_that_is_tagged_as_another_waiting_job_s_is_not_matched_to_be_an_equal_one_s(
    work: Work,
) -> None:
    async with work(**SOON) as bench:
        a = await lose(bench, flow(), LOST)
        b = await lose(bench, flow(), MADE)
        (run,) = await bench.runs()

        await look(bench, only={a})

        assert (bench.job(a).run_id, bench.job(b).run_id) == (None, run["run_id"])


async def test_a_tag_that_is_written_late_is_waited_for_before_equal_runs_are_matched(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags: dict[str, set[str]] = {}

    async def tagged(tag: str) -> set[str]:
        return tags.get(tag, set())

    async with work() as bench:
        filter_by_tags(monkeypatch, bench, tagged)
        a = await lose(bench, flow(), LOST)
        b = await lose(bench, flow(), MADE)
        (run,) = await bench.runs()

        for due in ({b}, {a}, {a, b}):
            await look(bench, only=due)
            assert {bench.job(a).run_id, bench.job(b).run_id} == {None}

        tags[ids.tag_marker(b, 1)] = {run["run_id"]}
        await look(bench, only={a})
        assert (bench.job(a).run_id, bench.job(b).run_id) == (None, run["run_id"])


async def test_while_tags_cannot_be_asked_for_no_equal_run_is_matched(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        a = await lose(bench, flow(), LOST)
        b = await lose(bench, flow(), MADE)

        read = Runs.first_page

        async def silent(runs: Runs, **wanted: Any) -> Listing | None:
            return None if "tags" in wanted else await read(runs, **wanted)

        monkeypatch.setattr(Runs, "first_page", silent)
        await look(bench, only={a})

        assert {bench.job(a).run_id, bench.job(b).run_id} == {None}


@pytest.mark.parametrize("tagged", [True, False])
async def test_equal_runs_are_matched_once_the_tags_of_all_jobs_that_wait_were_looked_for(
    work: Work, monkeypatch: pytest.MonkeyPatch, *, tagged: bool
) -> None:
    monkeypatch.setattr("worker.runs.search.MOST_REQUESTS", 2)
    settings = {"run_tags": tagged, **SOON["settings"]}
    async with work(settings=settings) as bench:
        show_requests(monkeypatch, bench, without_markers)
        first, *others = [await lose(bench, flow(), LOST) for _ in range(5)]
        theirs = await bench.api.run_workflow(workflow_id="wpid_1", parameters={"sim_end": "never"})

        await look(bench, only={first})
        assert bench.job(first).run_id == (None if tagged else theirs), "two tags a pass"
        await look(bench, only={first})

        assert bench.job(first).run_id == theirs
        assert all(bench.job(job_id).run_id is None for job_id in others)


# Jobs that are to be canceled.


async def statuses(bench: Bench) -> dict[str, str]:
    """How the runs that exist are; of live ones only that, since they go on by the clock."""
    return {
        run["run_id"]: "live" if run["status"] in LIVE_STATUSES else run["status"]
        for run in await bench.runs()
    }


async def test_of_equal_jobs_one_that_is_not_canceled_gets_the_run(work: Work) -> None:
    async with work(**SOON) as bench:
        a = await lose(bench, task_v2(), LOST)
        b = await lose(bench, task_v2(), MADE)
        (run,) = await bench.runs()
        bench.queue.cancel(a)
        await control(bench, task_v2())

        await look(bench, 3)
        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert (bench.job(a).state, bench.job(a).run_id) == (JobState.CANCELED, None)
        assert (bench.job(b).state, bench.job(b).run_id) == (JobState.RUNNING, run["run_id"])
        assert (await statuses(bench))[run["run_id"]] == "live"


async def test_where_each_equal_job_has_a_run_the_canceled_one_s_is_canceled(work: Work) -> None:
    async with work(**SOON) as bench:
        a = await lose(bench, task_v2(), MADE)
        b = await lose(bench, task_v2(), MADE)
        bench.queue.cancel(a)

        await look(bench)
        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert (bench.job(a).state, bench.job(b).state) == (JobState.CANCELED, JobState.RUNNING)
        left = str(bench.job(b).run_id)
        assert sorted((await statuses(bench)).values()) == ["canceled", "live"]
        assert (await statuses(bench))[left] == "live"


async def test_where_others_submit_too_no_run_is_canceled_for_being_equal(work: Work) -> None:
    async with work(shared_account=True, **SOON) as bench:
        a = await lose(bench, task_v2(), LOST)
        theirs = await bench.api.run_task(
            prompt="p", url=task_v2().model_dump()["url"], engine="skyvern-2.0"
        )
        bench.queue.cancel(a)

        await look(bench)
        await bench.one_pass("cancel")

        assert bench.job(a).state is JobState.UNCONFIRMED
        assert record(bench, a, "search_message") == SearchMessage.SHARED
        assert set(candidates(bench, a)) == {theirs}
        assert await statuses(bench) == {theirs: "live"}


@pytest.mark.parametrize("is_read", [True, False])
async def test_where_others_submit_too_an_equal_run_is_given_to_no_job_while_another_is_unread(
    work: Work, monkeypatch: pytest.MonkeyPatch, *, is_read: bool
) -> None:
    async with work(shared_account=True, **SOON) as bench:
        a = await lose(bench, task_v2(), MADE)
        (own,) = await bench.runs()
        theirs = await bench.api.run_task(
            prompt="p" if not is_read else "another",
            url=task_v2().model_dump()["url"],
            engine="skyvern-2.0",
        )
        hidden = None if is_read else own["run_id"]
        read = Runs.request

        async def request(runs: Runs, run: ListedRun) -> Mapping[str, Any] | None:
            return None if run.run_id == hidden else await read(runs, run)

        monkeypatch.setattr(Runs, "request", request)
        await look(bench)

        assert bench.job(a).run_id == (own["run_id"] if is_read else None)
        if not is_read:
            assert record(bench, a, "search_message") == SearchMessage.SHARED
            assert set(candidates(bench, a)) == {own["run_id"], theirs}


# Runs that were somebody's.


async def test_an_orphan_that_a_person_had_canceled_is_not_given_to_an_equal_job(
    work: Work,
) -> None:
    async with work(**SOON) as bench:
        a = await lose(bench, task_v2(), MADE)
        (run,) = await bench.runs()
        queue = bench.queue
        queue.fail([a])
        late = [RunAccepted(a, 1, run["run_id"], "running", 10**6)]
        assert await bench.account.send(worker_calls.mark_running("default", late)) == [2]
        b = await lose(bench, task_v2(), LOST)
        queue.cancel_orphans(queue.orphans())
        await bench.one_pass("cancel")
        assert list(queue.orphans()) == []
        await control(bench, task_v2())

        await look(bench, 3)
        await bench.one_pass("submit")

        assert bench.job(b).state is JobState.RUNNING
        assert bench.job(b).run_id != run["run_id"]


async def test_a_job_older_than_what_is_remembered_is_given_no_run_by_its_request(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        a = await lose(bench, task_v2(), MADE)
        (run,) = await bench.runs()
        monkeypatch.setattr("worker.runs.search.SURELY_RETAINED_SECONDS", 0.0)

        await look(bench)

        assert bench.job(a).state is JobState.UNCONFIRMED
        assert set(candidates(bench, a)) == {run["run_id"]}, "a person may say that it is its own"


# Requests that were copied from a run.


@pytest.mark.parametrize("by", ["title", "webhook", "tag"])
async def test_a_copy_of_a_lost_job_s_request_keeps_its_own_run(work: Work, by: str) -> None:
    async with work(**SOON) as bench:
        lost = task() if by == "title" else flow(webhook_url="https://u.test/")
        x = await lose(bench, lost, LOST)
        copies: dict[str, Any] = {
            "title": task(prompt="another", title=f"copied {ids.title_marker(x, 1)}"),
            "webhook": flow(
                parameters={"sim_end": "never", "n": "2"},
                webhook_url=f"https://u.test/?{ids.url_marker(x, 1)}",
            ),
            "tag": flow(
                parameters={"sim_end": "never", "n": "2"},
                run_metadata={"rq_job": ids.tag_value(x, 1)},
            ),
        }
        y = bench.queue.enqueue(copies[by]).job_id
        await bench.one_pass("submit")
        run = bench.job(y).run_id

        await look(bench, 3)

        assert (bench.job(y).state, bench.job(y).run_id) == (JobState.RUNNING, run)
        assert bench.job(x).run_id is None
