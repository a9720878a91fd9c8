"""What is nobody's business stays out of logs, output and metrics, whatever goes wrong."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from runqueue import KeyLimit, RunQueue, TaskRunRequest, WorkflowRunRequest
from runqueue.observe.collector import QueueCollector
from tests.simulator.simulating import eventually
from tests.worker.working import Bench, start, working
from worker.process import writers
from worker.process.metrics import REGISTRY
from worker.stages.sweep import sweep

KEY = "sk-live-0123456789"
SECRETS = {
    "key": KEY,
    "prompt": "prompt-with-a-password",
    "url": "token-in-the-url",
    "header": "bearer-of-the-header",
    "totp": "totp-identifier-77",
    "totp_url": "totp-secret-url",
    "parameter": "parameter-iban-4711",
    "agent": "agent-string-of-the-user",
    "webhook": "webhook-token-8",
    "metadata": "metadata-of-the-user",
}
FAULTS: list[dict[str, Any]] = [
    {"status": 500, "body": {"error": "Unexpected"}},
    {"status": 422, "body": {"detail": [{"loc": ["body"], "msg": "no", "input": SECRETS}]}},
    {"status": 403, "body": {"detail": f"the key {KEY} is not allowed this"}},
    {"status": 400, "body": f"key {KEY} ... "},
    {"reset": "after_body", "committed": True},
    {"truncate": "length"},
    {"truncate": "json"},
    {"garbage": True},
    {"empty200": True},
    {"latency": 60},
    {"unavailable": "no_run"},
]


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Everything structlog and logging were told, at any level, rendered."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {record.__dict__}")

    def note(logger: Any, method: str, event: Any) -> Any:
        lines.append(repr(event))
        raise structlog.DropEvent

    handler, root = Handler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    structlog.configure(processors=[structlog.processors.format_exc_info, note])
    yield lines
    structlog.reset_defaults()
    root.removeHandler(handler)
    root.setLevel(level)


def enqueue_jobs(queue: RunQueue) -> None:
    """One job of each kind, full of secrets."""
    shared: dict[str, Any] = {
        "totp_identifier": SECRETS["totp"],
        "totp_url": f"https://totp.test/{SECRETS['totp_url']}",
        "extra_http_headers": {"Authorization": SECRETS["header"]},
        "user_agent": SECRETS["agent"],
        "webhook_url": f"http://127.0.0.1:9/{SECRETS['webhook']}",
    }
    queue.enqueue(
        TaskRunRequest(
            prompt=SECRETS["prompt"],
            url=f"https://x.test/?sim_seconds=0&token={SECRETS['url']}",
            engine="skyvern-1.0",
            **shared,
        )
    )
    queue.enqueue(
        WorkflowRunRequest(
            workflow_id="wpid_1",
            parameters={"iban": SECRETS["parameter"], "sim_seconds": 0},
            run_metadata={"who": SECRETS["metadata"]},
            **shared,
        ),
        metadata={"label": SECRETS["metadata"]},
    )


async def run_everything(bench: Bench) -> None:
    """Submit, poll, cancel and sweep, through every fault."""
    submit = bench.account.consumers["submit"]
    bench.queue.set_key_limit("totp:*", KeyLimit())  # all jobs share an identifier
    for fault in FAULTS:
        for route in ("run_task", "run_workflow"):
            await bench.api.fault(fault, match={"route": route}, times=1)
        enqueue_jobs(bench.queue)
        before = await bench.submissions()
        start(submit, *(await submit.take(10, 0)).items)
        if "latency" in fault:
            await bench.arrived(before + 2)
            for task in list(submit._tasks):
                task.cancel()
        await eventually(lambda: submit.busy == 0)
        bench.client.hdel("runqueue:{default}:meta", "hold_until")
    for fault in ({"status": 404, "body": {"detail": f"no {KEY}"}}, {"reset": "after_body"}):
        await bench.api.fault(fault, match={"route": "get_run"}, times=2)
    enqueue_jobs(bench.queue)
    await bench.one_pass("submit")
    await bench.one_pass("poll")
    running = [raw.decode() for raw, _ in bench.client.zscan_iter("runqueue:{default}:poll")]
    for job_id in running:
        bench.queue.cancel(job_id)
    await bench.api.fault({"status": 500, "body": KEY}, match={"route": "cancel_run"}, times=1)
    await bench.one_pass("cancel")
    await sweep(bench.account)


async def test_no_secret_is_ever_logged_printed_or_measured(
    client: redis.Redis,
    redis_url: str,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = [redis.exceptions.ConnectionError("away"), redis.exceptions.TimeoutError("slow")]
    monkeypatch.setattr(writers, "FIRST_PAUSE", 0.001)
    simulator = {"api_keys": (KEY,), "webhook_retry_delays": ()}
    async with working(client, redis_url, key=KEY, simulator=simulator) as bench:
        bench.api.session.headers["x-api-key"] = KEY
        real = bench.account.writers.unconfirmed._send

        async def now_and_then(call: Any) -> Any:
            if failures:
                raise failures.pop()
            return await real(call)

        monkeypatch.setattr(bench.account.writers.unconfirmed, "_send", now_and_then)
        await run_everything(bench)
        # A bug with a job, too.
        (broken,) = bench.enqueue()
        client.set(f"runqueue:{{default}}:body:{broken}", SECRETS["prompt"].encode())
        await bench.one_pass("submit")
        queue_metrics = CollectorRegistry()
        queue_metrics.register(QueueCollector(RunQueue(redis_url)))
        measured = generate_latest(REGISTRY).decode() + generate_latest(queue_metrics).decode()
        states = bench.stats().states
    await asyncio.sleep(0)

    printed = capsys.readouterr()
    everything = "\n".join([*said, measured, printed.out, printed.err])
    for event in ("submission_unknown", "submission_refused", "submission_returned"):
        assert event in everything
    for event in ("poll_failed", "cancel_failed", "record_delayed", "stored_request_unreadable"):
        assert event in everything
    assert states["unconfirmed"] > 5  # type: ignore[index]
    assert [name for name, text in SECRETS.items() if text in everything] == []
