"""Metrics over HTTP: their names, what they count, and that no label tells a secret."""

import socket
import urllib.error
import urllib.request
from typing import Any

import pytest
import redis
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ops.exposed import exposed
from runqueue import RunQueue
from runqueue.observe.collector import QueueCollector
from runqueue.store.keys import Keys
from simulator.model.options import DEFAULT_API_KEY
from tests.worker.working import INSTANT, Work, closed_port
from worker.process import metrics_server
from worker.process.metrics import REGISTRY, AccountMetrics
from worker.process.metrics_server import serve_metrics

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def promised(where: str) -> set[str]:
    """The metrics of docs/monitoring.md, as the parser of the page calls them."""
    return {metric.name.removesuffix("_total") for metric in exposed() if metric.where == where}


def read(url: str) -> dict[str, Metric]:
    with _DIRECT.open(url, timeout=10) as answer:
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {name: family for name, family in families.items() if not name.endswith("_created")}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.fixture
def served(redis_url: str) -> str:
    url = serve_metrics("127.0.0.1", closed_port(), redis_url)
    assert url is not None
    return url


async def test_both_pages_are_served_with_the_promised_names_and_tell_what_happened(
    work: Work, served: str
) -> None:
    async with work(max_concurrent_runs=7) as bench:
        secret = TaskNames()
        job_ids = await bench.submitted(2, url=INSTANT, group=secret.group)
        await bench.api.fault({"status": 400, "body": {"detail": secret.words}}, times=1)
        bench.enqueue()
        await bench.one_pass("submit")
        await bench.one_pass("poll")
        bench.enqueue(3)

        process, queue = read(served), read(f"{served}/queue")

        assert set(process) == promised("worker")
        assert set(queue) == promised("queue")
        assert value(queue, "runqueue_up") == 1
        assert value(queue, "runqueue_jobs", state="ready", priority="normal") == 3
        assert value(queue, "runqueue_jobs_ended_total", outcome="completed") == 2
        assert value(queue, "runqueue_jobs_ended_total", outcome="dead") == 1
        assert value(queue, "runqueue_jobs_enqueued_total") == 6
        assert value(queue, "runqueue_submissions_total", outcome="accepted") == 2
        assert value(queue, "runqueue_submissions_total", outcome="refused") == 1
        assert value(queue, "runqueue_run_ends_total", way="poll") == 2
        assert value(queue, "runqueue_api_calls_total", call="submit") == 3
        assert value(queue, "runqueue_group_jobs", group="default", state="waiting") == 3
        assert value(queue, "runqueue_job_queue_seconds_count") == 2
        assert value(queue, "runqueue_run_seconds_count") == 2
        assert value(queue, "runqueue_job_result_seconds_bucket", le="+Inf") == 2
        assert value(queue, "runqueue_steps_total") > 0
        assert value(queue, "runqueue_redis_aof_enabled") in {0, 1}
        assert value(queue, "runqueue_redis_info", policy="noeviction") == 1
        assert value(queue, "runqueue_held", kind="person") == 0
        assert value(queue, "runqueue_limit", limit="concurrent_runs") == 7
        assert value(queue, "runqueue_worker_processes") == 1
        assert value(queue, "runqueue_oldest_ready_seconds") >= 0
        of_default = {"account": "default"}
        assert value(process, "runqueue_build_info", component="worker") == 1
        labels = {"call": "submit", "status": "2xx", **of_default}
        assert value(process, "runqueue_http_request_seconds_count", **labels) >= 2

        told = [
            text
            for family in [*process.values(), *queue.values()]
            for sample in family.samples
            for text in sample.labels.values()
        ]
        hidden = [*job_ids, *(bench.job(job_id).run_id or "" for job_id in job_ids)]
        hidden += [DEFAULT_API_KEY, bench.api.url, "http", secret.words]
        assert not [text for text in told for secret_text in hidden if secret_text in text]


def test_an_account_that_is_damaged_is_told_of_and_hides_no_other(
    client: redis.Redis, queue: RunQueue
) -> None:
    client.sadd("runqueue:{accounts}", "acme", "zoo")
    client.set(Keys("acme").meta, "no hash")
    client.hset(Keys("zoo").prefix + "counters", "live", "no number")

    found = {family.name: family for family in QueueCollector(queue).collect()}

    assert value(found, "runqueue_up") == 1
    readable = {
        account: value(found, "runqueue_account_readable", account=account)
        for account in ("default", "acme", "zoo")
    }
    assert readable == {"default": 1, "acme": 0, "zoo": 0}
    assert value(found, "runqueue_in_flight") == 0, "there is the one of `default`"


def test_quarantined_jobs_are_counted_of_an_account_that_is_readable(
    client: redis.Redis, queue: RunQueue
) -> None:
    client.sadd("runqueue:{accounts}", "acme")
    client.zadd(f"{Keys('acme').prefix}quarantined", {"nma3": 1, "nma4": 2})

    found = {family.name: family for family in QueueCollector(queue).collect()}

    for account, jobs in (("default", 0), ("acme", 2)):
        assert value(found, "runqueue_account_readable", account=account) == 1
        assert value(found, "runqueue_quarantined_jobs", account=account) == jobs


class TaskNames:
    """Texts that would be easy to find in a label."""

    group = "tenant-17"
    words = "words-of-the-server"


def test_another_page_is_not_found_and_told_where_to_look(served: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        _DIRECT.open(served.replace("/metrics", "/"), timeout=10)

    with refused.value as answer:
        assert answer.code == 404
        assert answer.read() == b"try /metrics or /metrics/queue\n"


def test_a_second_process_takes_the_next_free_port(redis_url: str) -> None:
    first = serve_metrics("127.0.0.1", closed_port(), redis_url)
    assert first is not None
    port = int(first.split(":")[2].partition("/")[0])

    second = serve_metrics("127.0.0.1", port, redis_url)

    assert second is not None
    assert port < int(second.split(":")[2].partition("/")[0]) < port + 50
    assert "runqueue_up" in read(f"{second}/queue")


def test_port_0_means_no_metrics(redis_url: str) -> None:
    assert serve_metrics("127.0.0.1", 0, redis_url) is None


def test_no_free_port_is_told_and_stops_nothing(
    redis_url: str, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(metrics_server, "PORTS_TRIED", 1)
        assert serve_metrics("127.0.0.1", taken.getsockname()[1], redis_url) is None

    assert logged[-1]["event"] == "metrics_not_served"


def test_a_queue_that_cannot_be_read_is_down_and_nothing_else_is_told() -> None:
    (up,) = QueueCollector(RunQueue(f"redis://127.0.0.1:{closed_port()}/0")).collect()

    assert (up.name, [sample.value for sample in up.samples]) == ("runqueue_up", [0])


def test_a_call_without_an_answer_is_measured_under_its_own_status() -> None:
    metrics = AccountMetrics("quiet")
    with pytest.raises(TimeoutError), metrics.timed("get"):
        raise TimeoutError

    labels = {"account": "quiet", "call": "get", "status": "none"}
    assert REGISTRY.get_sample_value("runqueue_http_request_seconds_count", labels) == 1
