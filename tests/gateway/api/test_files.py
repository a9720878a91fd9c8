"""Uploaded files serve one run: what is answered to a second use, and to a replay."""

from typing import Any

import redis

from runqueue import RunQueue
from runqueue.ids import job_id_for
from runqueue.records import claim_items
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.gateway.gating import gating


def line(key: str, file: str) -> dict[str, Any]:
    return {"custom_id": key, "kind": "task", "body": {"prompt": "Read it.", "file_ids": [file]}}


async def test_a_second_use_is_422_and_names_the_field(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        first = await door.ask("POST", "/v1/jobs", line("a", "f1"))
        again = await door.ask("POST", "/v1/jobs", line("a", "f1"))
        second = await door.ask("POST", "/v1/jobs", line("b", "f1"))

    assert (first.status, again.body["status"]) == (202, "known")
    assert second.status == 422
    (fault,) = second.body["errors"]
    assert fault["field"] == "body.file_ids"
    assert first.body["job_id"] in fault["message"]
    assert queue.get_many([job_id_for("default", "", "b")]) == [None]


async def test_among_many_it_is_refused_with_its_reason(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs:bulk", [line("a", "f1"), line("b", "f1")])

    assert answer.body["counts"] == {"new": 1, "known": 0, "conflict": 0, "refused": 1}
    a, b = answer.body["jobs"]
    assert "error" not in a
    assert b["error"].startswith("body.file_ids: expected files of its own: 'f1'")


async def test_a_job_whose_run_had_the_file_is_not_done_again(
    queue: RunQueue, redis_url: str, client: redis.Redis
) -> None:
    queue.enqueue_many([line("a", "f1")])
    job = job_id_for("default", "", "a")
    run(client, worker_calls.heartbeat("default", "p1", 60_000_000, -1, 0, first=True))
    (claimed,) = run(client, worker_calls.claim("default", "p1", "c1", 1, 0)).items
    run(
        client,
        worker_calls.mark_running("default", [claim_items.RunAccepted(job, 1, "r1", "created", 1)]),
    )
    run(
        client,
        worker_calls.finish(
            "default", [claim_items.Finished(job, 1, "r1", "failed", "failed", "", b"{}")]
        ),
    )
    assert claimed.job_id == job

    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs:replay", {"job_ids": [job]})

    assert "its uploaded files served a run" in answer.body["jobs"][job]
