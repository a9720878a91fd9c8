"""How long other jobs wait beside a large firing, and beside a large batch."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis

from bench.slow import as_text, slowest, watch
from bench.stack import Stack, running
from lab.waiting import until
from runqueue import RunQueue, TaskRunRequest
from runqueue.records.schedule import FiringState

Row = tuple[str, str, str]
LINES = 100_000
#: Other jobs a second.
_A_SECOND = 30
#: The jobs of the file stay in a group that is paused: only their upload is measured.
_LINE = (
    b'{"kind": "task", "group": "file", '
    b'"body": {"prompt": "Read {date}, %d", "url": "https://a.test/"}}'
)


def rows() -> list[Row]:
    """Measure a trickle of jobs alone, beside an uploaded batch and beside a firing."""
    lines = [_LINE % number for number in range(LINES)]
    with (
        running("--duration", "1") as stack,
        RunQueue(stack.redis_url) as queue,
        stack.workers(1, RUNQUEUE_POLL_MIN_SECONDS="1"),
    ):
        until(queue.accounts, 60, "the worker")
        queue.set_group("file", paused=True)
        stored = queue.store_schedule_lines(lines)
        spec = {"cron": "0 0 1 1 *", "lines": stored}
        queue.apply_schedules({"file": spec})
        return [
            *_beside("alone", lambda: time.sleep(20), stack, queue),
            *_beside("beside an upload", lambda: queue.upload(lines), stack, queue),
            *_beside("beside a firing", lambda: _fire(queue), stack, queue),
        ]


def _fire(queue: RunQueue) -> None:
    queue.fire_schedule("file")
    until(
        lambda: queue.get_schedule("file").firings[0].state is FiringState.RUNNING,
        600,
        "the jobs of the firing",
    )


def _beside(what: str, does: Callable[[], object], stack: Stack, queue: RunQueue) -> list[Row]:
    """Enqueue jobs one by one while something is done; say how long they waited for a worker."""
    plain = redis.Redis.from_url(stack.redis_url)
    watch(plain)
    jobs = list[str]()
    begun = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(does)
        while not done.done():
            request = TaskRunRequest(prompt="Read it.", url="https://a.test/")
            jobs.append(queue.enqueue(request).job_id)
            time.sleep(1 / _A_SECOND)
        done.result()
    took = time.perf_counter() - begun
    slow = slowest(plain)
    until(lambda: all(job and job.started_at for job in queue.get_many(jobs)), 60, "the last job")
    waits = sorted(
        1000 * (job.started_at - job.created_at).total_seconds()
        for job in queue.get_many(jobs)
        if job and job.started_at
    )
    p50, p99, worst = (waits[int(share * (len(waits) - 1))] for share in (0.5, 0.99, 1.0))
    return [
        (
            f"enqueue to submission, {what} (n={len(waits)}, {took:.0f} s)",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms",
            "",
        ),
        (f"slow scripts {what}", as_text(slow), "none over 10 ms"),
    ]
