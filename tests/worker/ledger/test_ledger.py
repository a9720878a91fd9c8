"""`runqueue ledger`: our runs beside those that Skyvern lists, and what is said where it cannot."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import redis
import typer
from typer.testing import CliRunner, Result

from api_client import RawClient
from runqueue import AsyncRunQueue, TaskRunRequest, WorkflowRunRequest
from simulator.model.options import DEFAULT_API_KEY
from tests.api_client.recording import KEY, Recording
from tests.simulator.simulating import KEY as SIMULATOR_KEY
from tests.worker.working import INSTANT, Bench, working
from worker.ledger import command, comparison
from worker.ledger.command import ledger, lines
from worker.ledger.comparison import LedgerReport, ReadError, SkyvernRuns, compare

app = typer.Typer()
app.command()(ledger)

NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)
UI = {"x-user-agent": "skyvern-ui"} | SIMULATOR_KEY


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in passing is read again at once."""
    monkeypatch.setattr(comparison, "_WAITS", (0.0, None))


def ask(bench: Bench, redis_url: str, *arguments: str) -> Result:
    environ = {
        "SKYVERN_API_KEY": DEFAULT_API_KEY,
        "SKYVERN_BASE_URL": bench.api.url,
        "RUNQUEUE_REDIS_URL": redis_url,
        "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "1000",
    }
    return CliRunner().invoke(app, list(arguments), env=environ)


async def asked(bench: Bench, redis_url: str, *arguments: str) -> Result:
    return await asyncio.to_thread(ask, bench, redis_url, *arguments)


async def compared(
    redis_url: str, client: RawClient, since: datetime = YESTERDAY, until: datetime | None = None
) -> LedgerReport:
    async with AsyncRunQueue(redis_url) as queue:
        return await compare(queue, SkyvernRuns(client, 0), "default", since, until)


@asynccontextmanager
async def with_runs(client: redis.Redis, redis_url: str) -> AsyncIterator[Bench]:
    """Have four runs of ours that are over, of every kind, and three of others."""
    async with working(client, redis_url) as bench:
        bench.queue.enqueue(TaskRunRequest(prompt="p", url=INSTANT, engine="skyvern-1.0"))
        bench.queue.enqueue(TaskRunRequest(prompt="p", url=INSTANT, engine="skyvern-2.0"))
        fields = {"workflow_id": "wpid_1", "parameters": {"sim_seconds": 0}}
        bench.queue.enqueue(WorkflowRunRequest.model_validate(fields))
        bench.enqueue(url=INSTANT)
        await bench.one_pass("submit")
        await bench.api.run_task(engine="skyvern-2.0")
        await bench.api.run_task()
        await bench.api.call("POST", "/v1/run/workflows", {"workflow_id": "wpid_2"}, UI)
        yield bench


async def test_each_run_counts_once_as_ours_or_by_what_started_it(
    client: redis.Redis, redis_url: str
) -> None:
    async with with_runs(client, redis_url) as bench:
        result = await asked(bench, redis_url, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    # Tasks of engine 2.0 show what the runs beneath them cost; those of engine 1.0 nothing.
    shown = {"credits": 0}
    assert found["both"] == {"runs": 4, "runs_with_credits": 2} | shown
    assert found["others"] == {
        "api": {"runs": 1, "runs_with_credits": 1} | shown,
        "manual": {"runs": 1, "runs_with_credits": 1} | shown,
        "not shown": {"runs": 1, "runs_with_credits": 0} | shown,
    }
    assert found["missing"] == []


async def test_steps_are_those_that_results_of_ended_jobs_say(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        ids = await bench.submitted(2, url=INSTANT)
        await bench.one_pass("poll")
        results = [bench.job(job_id).result or {} for job_id in ids]
        steps = sum(result["step_count"] for result in results)
        printed = (await asked(bench, redis_url)).stdout
    assert steps
    assert f"Skyvern has them: 2 runs; {steps} steps of their jobs\n" in printed


async def test_a_run_that_was_deleted_at_skyvern_is_named(
    client: redis.Redis, redis_url: str
) -> None:
    async with with_runs(client, redis_url) as bench:
        [job_id] = await bench.submitted(url=INSTANT)
        job = bench.job(job_id)
        async with bench.api.session.delete(f"{bench.api.url}/_runs/{job.run_id}") as answer:
            assert answer.status == 200
        result = await asked(bench, redis_url)
        before = await asked(bench, redis_url, "--until", "12h")
    assert result.exit_code == 1
    assert "ours, and Skyvern has them: 4 runs, 0 credits (of 2 of them)" in result.stdout
    assert "ours, and missing at Skyvern: 1 run\n" in result.stdout
    assert job.started_at is not None
    accepted = f"accepted {job.started_at:%Y-%m-%d %H:%M:%S} UTC"
    assert f"  {job.run_id}  job {job_id}, {accepted}\n" in result.stdout
    assert "others', by what started them: 3 runs\n" in result.stdout
    assert before.exit_code == 0
    assert "ours, and Skyvern has them: 0 runs\n" in before.stdout


async def test_earlier_runs_and_orphans_are_ours(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        _, gone = await bench.submitted(2, url=INSTANT)
        bench.set(gone, "earlier", "tsk_1")
        orphan = await bench.api.run_task()
        record = f"{gone} 1 {bench.now_us()} - it came late"
        client.hset("runqueue:{default}:orphans", orphan, record)
        result = await asked(bench, redis_url, "--json")
        text = (await asked(bench, redis_url)).stdout
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (found["both"]["runs"], found["others"]) == (3, {})
    assert [(one["run_id"], one["job_id"]) for one in found["missing"]] == [("tsk_1", gone)]
    assert f"  tsk_1  job {gone}, an earlier run of it\n" in text


async def test_a_run_that_is_accepted_while_the_lists_are_read_is_not_missing(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:

        async def accept(request: httpx.Request) -> httpx.Response:
            if not bench.queue.stats()["default"].totals.get("enqueued"):
                await bench.submitted(2)
            run_id = request.url.path.rpartition("/")[2]
            shown = {"run_id": run_id, "status": "running"} if "tsk" in run_id else []
            return httpx.Response(200, json=shown)

        found = await compared(redis_url, _client(accept))
    assert (found.missing, found.both.runs) == ([], 2)


def _client(respond: Callable[[httpx.Request], Any]) -> RawClient:
    return RawClient("http://skyvern.test", KEY, httpx.MockTransport(respond))


def item(number: int, age: float, **fields: Any) -> dict[str, Any]:
    created = (NOW - timedelta(seconds=age)).replace(tzinfo=None).isoformat()
    names = dict.fromkeys(("run_id", "workflow_run_id"), f"wr_{number}")
    return names | {"status": "completed", "created_at": created} | fields


def listing(runs: list[Any], workflow_runs: list[Any], pages: int = 1) -> RawClient:
    """Have a server with these lists; later pages than so many are empty."""

    def respond(request: httpx.Request) -> httpx.Response:
        is_there = int(request.url.params.get("page", 0)) <= pages
        shown = workflow_runs if "workflows" in request.url.path else runs
        return httpx.Response(200, json=shown if is_there else [])

    return RawClient("http://skyvern.test", KEY, Recording(respond))


async def test_debug_runs_and_runs_of_runs_are_apart_and_credits_are_summed(
    redis_url: str, client: redis.Redis
) -> None:
    shown = [
        item(1, 10, trigger_type="scheduled", credits_used=7),
        item(2, 20, trigger_type="scheduled", credits_used=5),
        item(3, 30, trigger_type="scheduled", credits_used="many"),
        item(4, 40, trigger_type="api", debug_session_id="ds_1", credits_used=3),
        item(5, 50, trigger_type="api", parent_workflow_run_id="wr_1", credits_used=4),
        item(6, 90_000, trigger_type="api", credits_used=4),
    ]
    async with working(client, redis_url):
        found = await compared(redis_url, listing(shown[:3], shown))
    told = {name: (one.runs, one.credits) for name, one in found.others.items()}
    assert told == {"scheduled": (3, 12), "debug session": (1, 3), "another run": (1, 4)}
    assert found.others["scheduled"].runs_with_credits == 2
    assert "  scheduled: 3 runs, 12 credits (of 2 of them)" in lines(found)


async def test_one_odd_time_does_not_end_the_reading_of_a_list(
    redis_url: str, client: redis.Redis
) -> None:
    odd = [item(1, 10), item(2, 20, created_at="0001-01-01T00:00:00"), item(3, 30, created_at=7)]
    odd.append(item(4, 40, created_at="9999-12-31T23:59:59-10:00"))

    def respond(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        return httpx.Response(200, json=odd if page == 1 else [item(page + 9, 60)] * (page < 4))

    async with working(client, redis_url):
        found = await compared(redis_url, _client(respond))
        with pytest.raises(ReadError, match="GET v1/runs: the body is not a list of runs"):
            await compared(redis_url, _client(lambda _: httpx.Response(200, content=b"[")))
    assert found.others["not shown"].runs == 5, "all but the ancient one"


async def test_a_list_that_cannot_be_read_ends_the_command(
    client: redis.Redis, redis_url: str
) -> None:
    async with with_runs(client, redis_url) as bench:
        await bench.api.fault({"status": 503, "body": {}}, match={"route": "list_runs"}, times=1)
        passing = await asked(bench, redis_url)
        await bench.api.fault({"status": 404, "body": {}}, match={"route": "workflow_runs"})
        none = await asked(bench, redis_url)
    assert passing.exit_code == 0
    assert (none.exit_code, none.stdout) == (4, "")
    assert "runqueue: GET v1/workflows/runs: HTTP 404" in none.stderr


async def test_only_the_time_that_both_lists_show_is_compared(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MOST_LISTED", 200)
    async with working(client, redis_url) as bench:
        reached = await compared(redis_url, listing([item(1, 60)], [item(2, 9)], pages=3))
        monkeypatch.setattr(command, "RawClient", lambda *_: listing([item(1, 60)], [], pages=3))
        part = await asked(bench, redis_url)
    assert abs(reached.since - (NOW - timedelta(seconds=9))) < timedelta(milliseconds=1)
    assert reached.others["not shown"].runs == 1
    assert part.exit_code == 4
    assert "a list shows 10,000 runs at most: earlier ones were not compared" in part.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--since", "7d"), 2, "--since: expected 6 days ago at most"),
        (("--since", "soon"), 2, "expected a time with its zone"),
        (("--since", "1h", "--until", "2h"), 3, "until: expected a time after since"),
        (("--account", "other"), 2, "--account: expected one of default"),
    ],
)
async def test_wrong_arguments_are_refused_by_name(
    client: redis.Redis, redis_url: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    async with working(client, redis_url) as bench:
        result = await asked(bench, redis_url, *arguments)
    assert (result.exit_code, words in result.output) == (code, True), result.output
