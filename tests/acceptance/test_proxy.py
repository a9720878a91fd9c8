"""Workers behind a proxy: they submit and poll through it, lose answers there, and go on."""

import time
from email.utils import formatdate
from pathlib import Path

import pytest

from lab.waiting import until
from tests.acceptance.factory import factory, settled_by_newer_jobs, task
from tests.proxying import ForwardingProxy, proxying

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(480)]

JOBS = 40
FAST = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "20",
    "RUNQUEUE_MAX_BURST_SIZE": "5",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.5",
    "RUNQUEUE_POLL_MAX_SECONDS": "2",
}
#: After so many answers the proxy breaks off.
EVERY = 5


def test_jobs_behind_a_proxy_that_breaks_off_within_answers_complete_and_none_runs_twice(
    tmp_path: Path,
) -> None:
    # Its clock is an hour ahead, and it dates what it passes on by that.
    proxy = ForwardingProxy(user="user:pass", date=formatdate(time.time() + 3600, usegmt=True))
    with factory(tmp_path, ("--duration", "1"), **FAST) as parts, proxying(proxy):
        proxy.cuts = EVERY
        jobs = parts.queue.enqueue_many([task(f"job-{i}") for i in range(JOBS)])
        parts.settings["HTTP_PROXY"] = proxy.url
        parts.start_worker()
        until(lambda: len(parts.simulator.runs()) == JOBS, 120, "every job to be submitted")
        proxy.cuts = None
        jobs += settled_by_newer_jobs(parts, JOBS)

        runs = parts.simulator.runs_per_job()
        print(f"{runs.total()} runs, broken off {proxy.broken} times, {len(proxy.heads)} heads")
        assert set(runs) == {job.job_id for job in jobs}
        assert set(runs.values()) == {1}
    assert proxy.broken > 3
    assert len(proxy.requests) > 2 * JOBS


def test_what_a_proxy_refuses_was_not_submitted_and_goes_on_once_it_is_let_through(
    tmp_path: Path,
) -> None:
    proxy = ForwardingProxy(user="user:pass")
    with factory(tmp_path, ("--duration", "0.2"), **FAST) as parts, proxying(proxy):
        parts.queue.enqueue_many([task(f"job-{i}") for i in range(3)])
        parts.settings |= {"HTTP_PROXY": "http://127.0.0.1:1", "RUNQUEUE_PROXY": proxy.url}
        parts.start_worker()
        proxy.user = "user:another"
        refused = len(proxy.heads)
        until(lambda: len(proxy.heads) > refused + 3, 60, "the proxy to refuse some")
        until(
            lambda: "answered 407" in (parts.queue.stats()["default"].hold_reason or ""),
            60,
            "the hold to say why",
        )
        assert not parts.simulator.runs()
        assert set(parts.states()) <= {"ready", "submitting", "scheduled"}
        proxy.user = "user:pass"
        until(lambda: parts.states() == {"completed": 3}, 120, "the jobs to complete")
        assert set(parts.simulator.runs_per_job().values()) == {1}
