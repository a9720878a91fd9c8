"""Equal requests whose runs show no marker: which job is given which run, and what puts it right."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import redis

from runqueue import delivery_calls, stages
from runqueue.items import Accepted
from tests.integration.webhooks import told
from tests.worker.searching import (
    MADE,
    SOON,
    control,
    flow,
    lose_many,
    look,
    no_waiting,
    show_requests,
)
from tests.worker.working import Bench, working

__all__ = ["no_waiting"]
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
async def test_once_a_run_is_told_to_be_a_job_s_own_its_guess_serves_the_equal_job(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    settings = {"public_url": "https://hooks.test", "run_tags": False, **SOON["settings"]}
    async with working(client, redis_url, settings=settings) as bench:
        show_requests(monkeypatch, bench, without_markers)
        a, b = await lose_many(bench, flow(), MADE, 2)
        run_a, run_b = await own_run(bench, a), await own_run(bench, b)
        # A search saw the run of `b` first.
        guess = stages.mark_running("default", [Accepted(a, 1, run_b, "running", 0)], guess=True)
        assert await bench.account.send(guess) == [1]

        if told_by == "webhook":
            news = told(a, run_id=run_a, state="")
            await bench.account.send(delivery_calls.record_webhook("default", [news]))
        else:
            late = [Accepted(a, 1, run_a, "running", 0)]
            await bench.account.send(stages.mark_running("default", late))
        await control(bench, flow())
        await look(bench, 3)
        await bench.one_pass("submit")

        assert (bench.job(a).run_id, bench.job(b).run_id) == (run_a, run_b)
        assert len(await bench.runs()) == 3, "the runs of both, and of the control"
