from __future__ import annotations

import pytest

from simulator.model.fields import TaskFields
from simulator.model.options import Options
from simulator.model.runs import Status
from simulator.model.search import Found, ListQuery, find
from simulator.model.store import Store
from simulator.model.submissions import task_submission
from simulator.model.tags import Terms
from tests.simulator.simulating import KEY, FakeClock, simulating


@pytest.mark.parametrize(
    ("kind", "fields", "found"),
    [
        ("task", {"title": "Has the NEEDLE within"}, True),
        ("task", {"url": "https://a.test/needle"}, True),
        ("task", {"extra_http_headers": {"x-mark": "needle"}}, False),
        ("workflow", {"webhook_url": "https://a.test/?rq=needle"}, True),
        ("workflow", {"parameters": {"who": "needle"}}, True),
        ("workflow", {"parameters": {"who": {"deep": "needle"}}}, True),
        ("workflow", {"extra_http_headers": {"x-mark": "needle"}}, True),
        ("task", {"title": "the needle", "engine": "skyvern-2.0"}, False),
        ("task", {"prompt": "needle"}, False),
        ("task", {"webhook_url": "https://a.test/?rq=needle"}, False),
        ("workflow", {"title": "needle"}, False),
        ("workflow", {"workflow_id": "needle"}, True),
        ("workflow", {"run_metadata": {"mark": "needle"}}, False),
        ("workflow", {"parameters": {"undeclared": "needle"}}, False),
    ],
)
async def test_a_search_looks_into_the_searchable_fields_only(
    kind: str, fields: dict[str, object], found: bool
) -> None:
    declared = frozenset({"who"})
    # The clock stands still, so that no webhook is ever due.
    async with simulating(FakeClock(), declared_parameters=declared) as client:
        run_id = await getattr(client, f"run_{kind}")(**fields)

        assert await client.search("search_key=Needle") == ([run_id] if found else [])


async def test_runs_are_listed_newest_first_in_pages() -> None:
    async with simulating() as client:
        runs = [await client.run_task() for _ in range(7)]

        assert await client.search("page_size=3") == runs[:3:-1]
        assert await client.search("page_size=3&page=3") == runs[:1]
        assert await client.search("page_size=3&page=4") == []


async def test_workflow_runs_are_listed_in_pages_with_those_beneath_tasks_of_engine_2() -> None:
    ui = {"x-user-agent": "skyvern-ui"} | KEY
    async with simulating(FakeClock()) as client:
        await client.run_task()
        two = await client.run_task(engine="skyvern-2.0", webhook_url="http://127.0.0.1:9/")
        api = await client.run_workflow(webhook_url="http://127.0.0.1:9/")
        _, by_hand = await client.call("POST", "/v1/run/workflows", {"workflow_id": "w"}, ui)

        listed = await client.get("/v1/workflows/runs")
        assert listed == await client.get("/v1/agents/runs")
        assert [one["trigger_type"] for one in listed] == ["manual", "api", "api"]
        assert [one["workflow_run_id"] for one in listed[:2]] == [by_hand["run_id"], api]
        beneath = listed[2]["workflow_run_id"]
        assert (await client.get(f"/v1/runs/{beneath}"))["run_id"] == two
        assert (listed[2]["webhook_callback_url"], listed[2]["credits_used"]) == (None, 0)
        assert beneath not in await client.search("")
        for query in ("page_size=2&page=2", "search_key=" + beneath):
            assert await client.get(f"/v1/workflows/runs?{query}") == [listed[2]]
        assert await client.get("/v1/workflows/runs?page=101") == []


async def test_workflow_runs_are_listed_by_status_and_by_the_code_of_an_error() -> None:
    clock = FakeClock()
    async with simulating(clock, duration=1, failed=1.0) as client:
        failed = await client.run_workflow()
        clock.advance(60)
        live = await client.run_workflow()
        for query, found in [
            ("status=failed", [failed]),
            ("status=created&status=queued", [live]),
            ("error_code=SIMULATED", [failed]),
            ("error_code=SIMULATE", []),
        ]:
            listed = await client.get(f"/v1/workflows/runs?{query}")
            assert [one["workflow_run_id"] for one in listed] == found
        for query in ("status=new", "page=0", "page_size=0", "search_key=" + "x" * 501):
            assert (await client.call("GET", f"/v1/workflows/runs?{query}"))[0] == 422


async def test_a_run_is_listed_by_the_status_it_has_now() -> None:
    clock = FakeClock()
    live = "status=created&status=queued&status=running&status=paused"
    async with simulating(clock, duration=10) as client:
        old = await client.run_task()
        clock.advance(8)
        new = await client.run_task()

        assert await client.search(live) == [new, old]
        clock.advance(3)
        assert await client.search(live) == [new]
        assert await client.search("status=completed") == [old]
        assert await client.search("status=completed&status=running") == [new, old]


def test_live_runs_are_walked_once_a_second_and_none_that_ended_since_is_listed() -> None:
    clock = FakeClock()
    store = Store(Options(duration=10), clock, lambda _: None)
    submission = task_submission(TaskFields(prompt="Read it.")).submission
    old = store.create(submission, "k")
    clock.advance(9.5)
    new = store.create(submission, "k")
    live = ListQuery(status=[Status.CREATED, Status.QUEUED, Status.RUNNING])
    assert find(store, live, Terms(), clock()) == [Found(new), Found(old)]

    clock.advance(0.7)

    assert find(store, live, Terms(), clock()) == [Found(new)]
    assert list(store.live_newest_first()) == [new, old]
    clock.advance(0.5)
    assert list(store.live_newest_first()) == [new]


async def test_a_search_sees_the_first_thousand_matches_only() -> None:
    async with simulating() as client:
        for _ in range(1002):
            await client.run_task(title="needle")

        query = "search_key=needle&page_size=90&page="
        assert len(await client.search(f"{query}12")) == 10
        status, answer = await client.call("GET", f"/v1/runs?{query}13")
        assert len(await client.search("page_size=90&page=12")) == 12
    assert status == 400
    assert "the first 1000 matches" in answer["detail"]


async def test_an_older_server_has_no_list() -> None:
    async with simulating(list_supported=False) as client:
        run_id = await client.run_task()

        assert await client.call("GET", "/v1/runs") == (404, {"detail": "Not Found"})
        assert await client.status(run_id) == "created"
