"""The trace of whoever calls the gateway goes on with the jobs that they hand in."""

import redis

from runqueue import RunQueue
from runqueue.cli.shared.queues import find
from runqueue.producer.listing import Filter
from tests.gateway.gating import Desk, gating, told
from tests.gateway.uploads import lines, send
from tests.simulator.simulating import eventually
from tests.traces import collected, named

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = f"00-{_TRACE}-b7ad6b7169203331-01"
_LINE = {"kind": "task", "body": {"prompt": "Read it."}}


async def test_jobs_submitted_one_by_one_in_bulk_and_as_files_go_on_with_the_callers_trace(
    redis_url: str, queue: RunQueue
) -> None:
    headers = {"traceparent": _PARENT}
    async with gating(redis_url) as door:
        one = await door.ask("POST", "/v1/jobs", _LINE, headers)
        many = await door.ask("POST", "/v1/jobs:bulk", [_LINE], headers)
        await send(door, lines(2100), traceparent=_PARENT)

    ids = [one.body["job_id"], many.body["jobs"][0]["job_id"]]
    assert {queue.get(job_id).traceparent for job_id in ids} == {_PARENT}
    (batch,) = queue.list_batches().batches
    in_file = list(find(queue, Filter(batch=batch.id)))
    assert len(in_file) == 2100
    assert {job.traceparent for job in in_file} == {_PARENT}


async def test_a_header_that_is_none_is_ignored(redis_url: str, queue: RunQueue) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs", _LINE, {"traceparent": "00-nonsense"})

    assert answer.status == 202
    assert queue.get(answer.body["job_id"]).traceparent == ""


async def test_where_spans_are_told_the_gateway_adds_its_own_and_the_end_that_a_webhook_told(
    redis_url: str, queue: RunQueue, client: redis.Redis
) -> None:
    desk = Desk(queue, client)
    with collected() as spans:
        async with gating(redis_url) as door:
            answer = await door.ask("POST", "/v1/jobs", _LINE, {"traceparent": _PARENT})
            (job,) = desk.claim()
            desk.accept(job)
            assert (await door.webhook(job, told(job))).verdict == "ended"
            await eventually(lambda: named(spans, "run default"))

        (enqueue,) = named(spans, "enqueue")
        (run,) = named(spans, "run default")
        assert f"{enqueue.context.trace_id:032x}" == _TRACE
        assert f"{enqueue.parent.span_id:016x}" == "b7ad6b7169203331"
        assert run.parent.span_id == enqueue.context.span_id
        assert run.attributes["runqueue.reported_by"] == "webhook"
        assert run.attributes["messaging.message.id"] == answer.body["job_id"]
        # No span of a request: its path may hold a token.
        assert {span.name for span in spans.get_finished_spans()} == {"enqueue", "run default"}
