"""Uploaded files serve one run each: the first job that names one holds it."""

from dataclasses import replace

import orjson

from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.request.job_spec import JobSpec
from runqueue.store import operator_calls
from tests.runqueue.lua.clockwork import DAY, RETENTION, UPLOAD, Clockwork, spec


def with_files(name: str, *files: str, body: str = "a") -> JobSpec:
    made = spec(name, body=body)
    fields = {**made.body, "file_ids": list(files)}
    return replace(made, body=fields, canonical=orjson.dumps(fields), files=files)


def enqueue_jobs(clock: Clockwork, *jobs: JobSpec, batch: str | None = None) -> list[Enqueued]:
    return clock.enqueue_specs(list(jobs), batch)


def one(clock: Clockwork, job: JobSpec) -> Enqueued:
    return enqueue_jobs(clock, job)[0]


def held(clock: Clockwork) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = clock.client.hgetall(clock.key("files"))  # type: ignore[assignment]
    return found


def replay(clock: Clockwork, *jobs: str) -> list[int]:
    return clock.run(operator_calls.replay(clock.account, clock.seen(*jobs)))


def test_a_second_job_with_a_file_is_refused_and_told_whose_it_is(clock: Clockwork) -> None:
    first = one(clock, with_files("a", "f1", "f2"))
    assert first.status is EnqueueStatus.NEW
    second = one(clock, with_files("b", "f3", "f2"))
    assert second.status is EnqueueStatus.REFUSED
    assert second.fault is not None
    assert second.fault.field == "body.file_ids"
    assert "'f2'" in second.fault.message
    assert first.job_id in second.fault.message
    assert clock.state(second.job_id) is None
    assert held(clock).keys() == {b"f1", b"f2"}, "f3 is free, since b was not stored"


def test_of_two_in_one_call_the_first_gets_the_file_and_others_are_accepted(
    clock: Clockwork,
) -> None:
    a, b, c = enqueue_jobs(
        clock, with_files("a", "f1"), with_files("b", "f1"), with_files("c", "f2")
    )
    assert [one.status.value for one in (a, b, c)] == ["new", "refused", "new"]
    assert b.fault is not None
    assert a.job_id in b.fault.message


def test_a_file_of_a_job_that_ended_without_any_run_is_free(clock: Clockwork) -> None:
    refused = one(clock, with_files("a", "f1")).job_id
    clock.claimed()
    clock.refuse(refused)
    canceled = one(clock, with_files("b", "f2")).job_id
    clock.cancel(canceled)
    again = enqueue_jobs(clock, with_files("c", "f1"), with_files("d", "f2"))
    assert [job.status for job in again] == [EnqueueStatus.NEW] * 2
    assert replay(clock, refused, canceled) == [3, 3], "the files are others' now"


def test_a_dead_job_that_has_its_files_still_is_done_again(clock: Clockwork) -> None:
    job = one(clock, with_files("a", "f1")).job_id
    clock.claimed()
    clock.refuse(job)
    assert replay(clock, job) == [1]
    assert one(clock, with_files("b", "f1")).status is EnqueueStatus.REFUSED


def test_a_job_whose_run_had_the_files_is_not_done_again_and_keeps_them(clock: Clockwork) -> None:
    job = one(clock, with_files("a", "f1")).job_id
    clock.claimed()
    clock.found(job, 1, "r-a")
    clock.finish(job, run_id="r-a", state="failed")
    assert clock.state(job) == "failed"
    assert replay(clock, job) == [3]
    assert clock.state(job) == "failed"
    assert one(clock, with_files("b", "f1")).status is EnqueueStatus.REFUSED


def test_files_go_with_the_record_that_holds_them(clock: Clockwork) -> None:
    job = one(clock, with_files("a", "f1", "f2")).job_id
    clock.claimed()
    clock.found(job, 1, "r-a")
    clock.finish(job, run_id="r-a")
    clock.now += RETENTION + DAY
    clock.sweep("retire")
    assert clock.state(job) is None
    assert held(clock) == {}


def test_a_discarded_job_gives_back_only_what_is_its_own(clock: Clockwork) -> None:
    job = one(clock, with_files("a", "f1", "f2")).job_id
    clock.claimed()
    clock.refuse(job)
    other = one(clock, with_files("b", "f1")).job_id
    assert clock.run(operator_calls.discard(clock.account, [job])) == [1]
    assert held(clock) == {b"f1": other.encode()}


def test_a_job_that_another_upload_takes_over_keeps_its_files(clock: Clockwork) -> None:
    batch, later = clock.open_batch(), clock.open_batch()
    job = with_files("a", "f1")
    (first,) = enqueue_jobs(clock, job, batch=batch)
    (taken,) = enqueue_jobs(clock, job, batch=later)
    assert (taken.job_id, taken.status, taken.batch) == (first.job_id, EnqueueStatus.NEW, later)
    assert held(clock) == {b"f1": first.job_id.encode()}
    clock.now += UPLOAD + DAY
    clock.sweep("expire_batches", UPLOAD)
    assert held(clock) == {}
