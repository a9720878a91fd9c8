"""Workers are killed in the middle of their work: nothing is lost, nothing is run twice."""

import os
from functools import partial
from pathlib import Path

import pytest

from lab.waiting import until
from tests.acceptance.factory import Factory, factory, settled_by_newer_jobs, task

#: `make acceptance` runs the full size.
JOBS = int(os.environ.get("RUNQUEUE_TEST_JOBS", "400"))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

FAST = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "100",
    "RUNQUEUE_MAX_BURST_SIZE": "20",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.5",
    "RUNQUEUE_POLL_MAX_SECONDS": "2",
}


def _share_has_run(parts: Factory, share: float) -> bool:
    return len(parts.simulator.runs()) > share * JOBS


def test_after_three_kills_in_mid_work_every_job_completes_and_none_ran_twice(
    tmp_path: Path,
) -> None:
    with factory(tmp_path, ("--duration", "1"), **FAST) as parts:
        # Answers that take a while, so that each kill meets submissions on the wire.
        parts.simulator.faults({"match": {"route": "run_task"}, "action": {"answer_latency": 0.2}})
        jobs = parts.queue.enqueue_many([task(f"job-{i}") for i in range(JOBS)])
        parts.start_worker()
        victim = parts.start_worker()
        for share in (0.2, 0.4, 0.6):
            until(partial(_share_has_run, parts, share), 120, f"{share:.0%} of the runs")
            victim.kill()
            victim.wait()
            victim = parts.start_worker()
        # Those whose answer was lost with their worker are looked for: the runs that were made are
        # adopted, and what has none is submitted again.
        jobs += settled_by_newer_jobs(parts, JOBS)

        runs = parts.simulator.runs_per_job()
        print(f"{JOBS} jobs, runs {runs.total()}, {parts.queue.stats()['default'].totals}")
        assert set(runs) == {job.job_id for job in jobs}
        assert set(runs.values()) == {1}


def test_a_restart_of_redis_under_a_worker_only_pauses_it(tmp_path: Path) -> None:
    with factory(tmp_path, ("--duration", "0.2"), **FAST) as parts:
        parts.queue.enqueue_many([task(f"job-{i}", delay=1 + i / 40) for i in range(60)])
        parts.start_worker()
        until(lambda: parts.states().get("completed", 0) > 5, 60, "the first jobs")
        parts.restart_redis()
        until(lambda: parts.states().get("completed", 0) == 60, 180, "every job after the restart")
        assert set(parts.simulator.runs_per_job().values()) == {1}
