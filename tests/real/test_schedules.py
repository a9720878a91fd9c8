"""A schedule on a real server: each firing's jobs run once, whoever dies."""

import os
from functools import partial
from pathlib import Path

import pytest

from lab.waiting import until
from runqueue import Job
from runqueue.records.schedule import FiringState, Schedule
from tests.real.stack import stack
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

#: Minutes, each with a firing of two jobs; workers are killed at the times of two of them.
MINUTES = int(os.environ.get("SCHEDULE_MINUTES", "15"))
KILLED = (MINUTES // 3, 2 * MINUTES // 3)
MINUTE_US = 60_000_000


def _over(found: Schedule) -> int:
    return sum(firing.state is FiringState.OVER for firing in found.firings)


def test_two_jobs_each_minute_are_each_one_run_although_workers_are_killed(
    target: Target, tmp_path: Path
) -> None:
    before = target.all_run_ids()
    lines = [
        b'{"kind": "workflow", "body": {"workflow_id": "%s", "title": "{firing}"}}'
        % target.workflow(name).encode()
        for name in ("first", "second")
    ]
    with stack(target, tmp_path) as (parts, proxy):
        worker = parts.start_worker()
        until(parts.queue.accounts, 60, "the worker to be there")
        stored = parts.queue.store_schedule_lines(lines)
        spec = {"cron": "* * * * *", "overlap": "queue", "catch_up": "all", "lines": stored}
        parts.queue.apply_schedules({"minutely": spec})

        def fired(count: int) -> bool:
            return len(parts.queue.get_schedule("minutely").firings) >= count

        for number in KILLED:
            until(partial(fired, number), 120 * number + 120, f"firing {number}")
            worker.kill()
            worker.wait()
            worker = parts.start_worker()
        until(partial(fired, MINUTES), 120 * MINUTES, "the last firing")
        parts.queue.pause_schedule("minutely")
        count = len(parts.queue.get_schedule("minutely").firings)
        until(lambda: _over(parts.queue.get_schedule("minutely")) >= count, 300, "their ends")
        firings = sorted(parts.queue.get_schedule("minutely").firings)
        jobs: list[Job] = []
        for firing in firings:
            jobs += parts.queue.iter_results(firing.batch)
        runs = target.all_run_ids() - before
    times = [firing.at_us for firing in firings]
    assert times == [times[0] + n * MINUTE_US for n in range(count)]
    assert [firing.completed for firing in firings] == [2] * count
    assert len({job.custom_id for job in jobs}) == len(jobs) == 2 * count
    assert {job.run_id for job in jobs} == runs
    assert len(runs) == 2 * count == len([one for one in proxy.submissions if one.run_id])
    print(f"{count} firings, {len(jobs)} jobs, {len(runs)} runs, {len(KILLED)} workers killed")
