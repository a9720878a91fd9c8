"""One trace from whoever hands a job in to the delivery of its webhook, over a real worker."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from config.tracing import setup_tracing
from runqueue import RunQueue, tracing
from tests.simulator.simulating import eventually, receiving
from tests.traces import collected, named
from tests.worker.delivering import ended, told
from tests.worker.working import Bench, Work

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = f"00-{_TRACE}-b7ad6b7169203331-01"


def stored(bench: Bench, job_id: str) -> bytes:
    """What is stored of a job's request."""
    found: Any = bench.client.get(f"runqueue:{{default}}:body:{job_id}")
    assert isinstance(found, bytes)
    return found


async def test_one_trace_leads_from_the_producers_span_to_the_delivery(relay: Work) -> None:
    with collected() as spans:
        async with receiving() as user, relay() as bench:
            with trace.get_tracer("shop").start_as_current_span("order"):
                job_id = await ended(bench, user.url)
            await eventually(lambda: named(spans, "run default"))
            bench.client.zadd("runqueue:{default}:relays", {job_id: 0})
            await bench.one_pass("webhooks")
            job = bench.job(job_id)

        (order,) = named(spans, "order")
        (enqueue,) = named(spans, "enqueue")
        (submit,) = named(spans, "submit default")
        (run,) = named(spans, "run default")
        (deliver,) = named(spans, "deliver default")
        every = [order, enqueue, submit, run, deliver]
        assert len({span.context.trace_id for span in every}) == 1
        assert enqueue.parent.span_id == order.context.span_id
        for span in (submit, run, deliver):
            assert span.parent.span_id == enqueue.context.span_id
            assert span.attributes["messaging.message.id"] == job_id
            assert span.attributes["messaging.system"] == "runqueue"
            assert span.attributes["messaging.destination.name"] == "default"
        assert [span.kind.name for span in every[1:]] == [
            "PRODUCER", "CONSUMER", "INTERNAL", "CLIENT",
        ]  # fmt: skip
        assert enqueue.attributes["messaging.operation.type"] == "send"
        assert submit.attributes["runqueue.outcome"] == "accepted"
        assert submit.attributes["runqueue.run_id"] == job.run_id
        assert run.attributes["runqueue.reported_by"] == "poll"
        assert run.attributes["runqueue.run_status"] == "completed"
        assert run.start_time <= run.end_time
        assert deliver.attributes["runqueue.verdict"] == "delivered"
        assert deliver.attributes["server.address"] == "127.0.0.1"
        # Whoever is told of the end goes on with the trace, below the delivery.
        given = user.headers[-1]["traceparent"]
        assert given == tracing._text(deliver.context)


async def test_no_span_holds_anything_of_the_request(relay: Work) -> None:
    with collected() as spans:
        async with receiving() as user, relay() as bench:
            await told(bench, f"{user.url}?token=secret")
            await bench.one_pass("webhooks")

        said = "\n".join(span.to_json() for span in spans.get_finished_spans())
        assert "deliver default" in said
        for secret in ("Read it.", "token=secret", "shop.test"):
            assert secret not in said


async def test_a_submission_that_is_refused_is_an_error_in_a_word(work: Work) -> None:
    with collected() as spans:
        async with work() as bench:
            await bench.api.fault({"status": 400, "body": {"detail": "words"}}, times=1)
            bench.enqueue()
            await bench.one_pass("submit")

        (submit,) = named(spans, "submit default")
        assert submit.status.status_code.name == "ERROR"
        assert submit.attributes["error.type"] == "refused"
        assert "words" not in submit.to_json()


async def test_a_process_without_opentelemetry_passes_the_callers_trace_on(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        with tracing.continuing(_PARENT):
            job_id = await told(bench, user.url)
        await bench.one_pass("webhooks")

        assert bench.job(job_id).traceparent == _PARENT
        assert user.headers[-1]["traceparent"] == _PARENT


def test_a_line_may_name_its_own_trace_and_it_is_no_part_of_the_same_request(
    queue: RunQueue,
) -> None:
    line = {"custom_id": "a", "kind": "task", "body": {"prompt": "Read it."}}
    with tracing.continuing(_PARENT):
        first, plain = queue.enqueue_many(
            [{**line, "traceparent": _PARENT.replace("b7ad", "beef")}, {**line, "custom_id": "b"}]
        )
    (again,) = queue.enqueue_many([line])

    assert queue.get(first.job_id).traceparent == _PARENT.replace("b7ad", "beef")
    assert queue.get(plain.job_id).traceparent == _PARENT
    assert again.status == "known"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (_PARENT, _PARENT),
        (_PARENT.replace("00-", "01-", 1) + "-more", _PARENT),
        (_PARENT[:-1] + "0", ""),
        (_PARENT.upper(), ""),
        (_PARENT.replace("00-", "ff-", 1), ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-{_TRACE}-{'0' * 16}-01", ""),
        (_PARENT + "\r\nx: y", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_only_a_sampled_traceparent_is_read_as_one(text: object, read: str) -> None:
    assert tracing.read_traceparent(text) == read


def test_an_error_of_the_caller_goes_on_and_its_words_stay_out_of_the_span(queue: RunQueue) -> None:
    with collected() as spans:
        with pytest.raises(Exception, match="kind"):
            queue.enqueue_many([{"kind": "secret-words"}])

        (enqueue,) = named(spans, "enqueue")
        assert enqueue.attributes["error.type"] == "InvalidJob"
        assert "secret-words" not in enqueue.to_json()


def test_everything_runs_where_opentelemetry_is_not_installed() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import runqueue.cli.app, worker.runtime\n"
        "from config.tracing import setup_tracing\n"
        "from runqueue import tracing\n"
        "setup_tracing('x')()\n"
        "assert not tracing.is_on() and tracing.ambient() == ''\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_the_set_up_imports_opentelemetry() -> None:
    importing = re.compile(r"^\s*(?:import|from) opentelemetry", re.MULTILINE)
    root = Path(__file__).parents[2]
    found = {
        str(path.relative_to(root))
        for room in ("runqueue", "worker", "gateway", "config", "api_client")
        for path in (root / room).rglob("*.py")
        if importing.search(path.read_text())
    }

    assert found == {"config/tracing.py"}


def test_a_wish_without_the_extra_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    setup_tracing("runqueue-worker")()

    assert logged[-1]["event"] == "traces_not_sent"
    assert "pip install 'runqueue[otel]'" in logged[-1]["why"]
