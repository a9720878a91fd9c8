"""What the tests of unconfirmed jobs share: losing answers, looking, and servers that show less."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import orjson
import pytest

from api_client import ListClass, RunPage
from runqueue import JobState, TaskRunRequest, WorkflowRunRequest
from tests.worker.working import ENDLESS, KEYS, Bench

#: What becomes of a submission: its answer is lost, and no run was made, or one was.
LOST: dict[str, Any] = {"close": True}
MADE: dict[str, Any] = {"close": True, "committed": True}
SUBMISSION = {"method": "POST"}
SOON: dict[str, Any] = {"settings": {"unconfirmed_grace_seconds": 0}}


def task(**fields: Any) -> TaskRunRequest:
    """A task that never ends; `engine=None` leaves the engine to the server."""
    body = {"prompt": "p", "url": ENDLESS, "engine": "skyvern-1.0"} | fields
    if body["engine"] is None:
        del body["engine"]
    return TaskRunRequest(**body)


def flow(**fields: Any) -> WorkflowRunRequest:
    """A workflow run that never ends."""
    return WorkflowRunRequest(
        **{"workflow_id": "wpid_1", "parameters": {"sim_end": "never"}} | fields
    )


def task_v2(**fields: Any) -> TaskRunRequest:
    """A task of which the server's list shows no title of ours."""
    return task(**{"engine": "skyvern-2.0"} | fields)


async def look(bench: Bench, times: int = 1, *, only: Collection[str] = ()) -> None:
    """Have unconfirmed jobs looked for now: all of them, or some."""
    for _ in range(times):
        key = f"{KEYS.prefix}reconcile"
        members: Any = bench.client.zrange(key, 0, -1)
        due = [m for m in members if not only or m.decode() in only]
        bench.client.zadd(key, dict.fromkeys([*due, "nobody"], 0))
        if only:
            later = dict.fromkeys(set(members) - set(due), bench.now_us() + 10**12)
            if later:
                bench.client.zadd(key, later)
        await bench.one_pass("reconcile", want=1)


async def lose(bench: Bench, request: Any, action: dict[str, Any], **options: Any) -> str:
    """Submit a job whose answer is lost, and return its id."""
    await bench.api.fault(action, match=SUBMISSION, times=1)
    job_id = bench.queue.enqueue(request, **options).job_id
    await bench.one_pass("submit")
    assert bench.job(job_id).state is JobState.UNCONFIRMED
    return job_id


async def lose_many(bench: Bench, request: Any, action: dict[str, Any], n: int) -> list[str]:
    """Submit equal jobs at once, all of whose answers are lost, and return their ids."""
    await bench.api.fault(action, match=SUBMISSION, times=n)
    job_ids = [bench.queue.enqueue(request).job_id for _ in range(n)]
    await bench.one_pass("submit")
    assert {bench.job(job_id).state for job_id in job_ids} == {JobState.UNCONFIRMED}
    return job_ids


async def control(bench: Bench, request: Any) -> str:
    """Submit a job of that kind that is no other's equal, and has its answer; return its id."""
    if isinstance(request, WorkflowRunRequest):
        fields = request.model_dump(exclude_unset=True)
        parameters = {**fields.get("parameters", {}), "control": "1"}
        other: Any = WorkflowRunRequest(**{**fields, "parameters": parameters})
    else:
        other = TaskRunRequest(**{**request.model_dump(exclude_unset=True), "prompt": "control"})
    job_id = bench.queue.enqueue(other).job_id
    await bench.one_pass("submit")
    assert bench.job(job_id).state is JobState.RUNNING
    return job_id


async def lose_with_control(bench: Bench, request: Any, action: dict[str, Any]) -> str:
    """Submit a job whose answer is lost, then its `control`; return the job's id."""
    job_id = await lose(bench, request, action)
    await control(bench, request)
    return job_id


def make_older(bench: Bench, job_id: str, seconds: int) -> None:
    """Have an unconfirmed job be claimed so long ago."""
    then = bench.now_us() - seconds * 1_000_000
    bench.set(job_id, "claimed", then)
    bench.client.zadd(f"{KEYS.prefix}unconfirmed", {job_id: then})


def settled(bench: Bench, *job_ids: str) -> list[JobState]:
    """The states of jobs, sorted."""
    return sorted(bench.job(job_id).state for job_id in job_ids)


def record(bench: Bench, job_id: str, name: str) -> str:
    """Read a field of a job's record; '' = it has none."""
    raw: Any = bench.client.hget(f"{KEYS.prefix}job:{job_id}", name)
    return "" if raw is None else raw.decode()


def candidates(bench: Bench, job_id: str) -> dict[str, Any]:
    """The runs that may be a job's own, by their ids."""
    found = record(bench, job_id, "candidates")
    return {one["run_id"]: one for one in orjson.loads(found or "[]")}


async def requests(bench: Bench) -> int:
    """How many calls the API has seen."""
    async with bench.api.session.get(f"{bench.api.url}/_ledger/summary") as answer:
        return int((await answer.json())["requests"])


# Servers that show less, or other things.

Echo = Callable[[dict[str, Any]], dict[str, Any] | None]


def show_requests(monkeypatch: pytest.MonkeyPatch, bench: Bench, change: Echo) -> None:
    """Have the server show requests otherwise; None = not at all."""
    read = bench.account.client.get_run

    async def get_run(run_id: str, seconds: float) -> Any:
        reading = await read(run_id, seconds)
        shown = orjson.loads(reading.body)
        if "run_request" not in shown:
            return reading  # there is no such run
        shown["run_request"] = change(shown["run_request"])
        return dataclasses.replace(reading, body=orjson.dumps(shown))

    monkeypatch.setattr(bench.account.client, "get_run", get_run)


def show_lists(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, change: Callable[[RunPage, int], RunPage]
) -> None:
    """Have the server show its lists otherwise: page by page, by its number."""
    read = bench.account.client.list_runs

    async def list_runs(*, page: int = 1, **query: Any) -> RunPage:
        return change(await read(page=page, **query), page)

    monkeypatch.setattr(bench.account.client, "list_runs", list_runs)


def show_pages(
    monkeypatch: pytest.MonkeyPatch,
    bench: Bench,
    runs_of: Callable[[int, int], tuple[int, int]],
    *,
    full: int | None = None,
) -> None:
    """Have the server page its list as it likes.

    Args:
        monkeypatch, bench: of the test.
        runs_of: from page and page size as asked for, the first run and the one behind the last.
        full: so many runs make a full page for whoever asks; None = as many as were asked for.
    """
    read = bench.account.client.list_runs

    async def list_runs(*, page: int = 1, page_size: int = 100, **query: Any) -> RunPage:
        everything = await read(page=1, page_size=100, **query)
        first, last = runs_of(page, page_size)
        shown = everything.runs[first:last]
        is_short = len(shown) < (full or page_size)
        return dataclasses.replace(everything, runs=shown, is_short=is_short)

    monkeypatch.setattr(bench.account.client, "list_runs", list_runs)


Tagged = Callable[[str], Awaitable[Collection[str]]]


def filter_by_tags(monkeypatch: pytest.MonkeyPatch, bench: Bench, tagged: Tagged | None) -> None:
    """Have the server filter its list by tags, or show all runs for any tag (None).

    Args:
        monkeypatch, bench: of the test.
        tagged: the runs that carry a tag.
    """
    read = bench.account.client.list_runs

    async def list_runs(*, tags: Collection[str] = (), **query: Any) -> RunPage:
        page = await read(**query)
        if not tags or tagged is None:
            return page
        (tag,) = tags
        runs = await tagged(tag)
        return dataclasses.replace(page, runs=tuple(r for r in page.runs if r.run_id in runs))

    monkeypatch.setattr(bench.account.client, "list_runs", list_runs)


def trouble() -> RunPage:
    """A page that could not be read."""
    return RunPage(ListClass.TROUBLE, detail="500", status_code=500)
