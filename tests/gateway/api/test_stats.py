"""The figures of the queue, for programs and for Prometheus."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from runqueue import RunQueue
from tests.gateway.gating import Desk, gating
from tests.gateway.uploads import lines


async def test_the_figures_are_those_of_every_account(queue: RunQueue, redis_url: str) -> None:
    accounts = {"acme": {"api_key": "acme-key"}}

    async with gating(redis_url, accounts=accounts) as door:
        queue.enqueue_many(lines(3))
        answer = await door.ask("GET", "/v1/stats")

    now = {name: found.as_dict() for name, found in queue.stats().items()}
    assert list(answer.body) == ["default", "acme"]
    for name, figures in answer.body.items():
        assert figures == {**now[name], "oldest_ready_seconds": figures["oldest_ready_seconds"]}


async def test_the_queue_s_metrics_are_those_of_a_worker(desk: Desk, redis_url: str) -> None:
    desk.running(2)

    async with gating(redis_url) as door:
        text = (await door.ask("GET", "/metrics/queue")).body.decode()

    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["runqueue_up",] == 1
    assert samples["runqueue_jobs", "default", "normal", "running"] == 2
    assert samples["runqueue_in_flight", "default"] == 2
