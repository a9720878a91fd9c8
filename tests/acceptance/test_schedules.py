"""Workers are killed while they upload a firing's jobs: each line is enqueued once."""

import os
from functools import partial
from pathlib import Path

import pytest

from lab.waiting import until
from runqueue import BatchNotFound
from runqueue.records.schedule import Firing, FiringState
from tests.acceptance.factory import Factory, factory
from tests.acceptance.test_crash import FAST

#: `make acceptance` runs the full size.
LINES = int(os.environ.get("RUNQUEUE_TEST_LINES", "600"))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


def _newest(parts: Factory) -> Firing:
    return parts.queue.get_schedule("hourly").firings[0]


def _uploaded(parts: Factory) -> int:
    firing = _newest(parts)
    if not firing.batch:
        return 0
    try:
        return parts.queue.get_batch(firing.batch).total
    except BatchNotFound:
        return 0


def _has_uploaded(parts: Factory, count: float) -> bool:
    return _uploaded(parts) >= count


def test_each_line_of_a_file_is_enqueued_once_although_workers_die_during_the_upload(
    tmp_path: Path,
) -> None:
    with factory(tmp_path, ("--duration", "0"), **FAST) as parts:
        worker = parts.start_worker()
        until(parts.queue.accounts, 60, "the worker to be there")
        body = '{"prompt": "Read {date}, %d", "url": "https://shop.test/"}'
        lines = [b'{"kind": "task", "body": %s}' % (body % n).encode() for n in range(LINES)]
        stored = parts.queue.store_schedule_lines(lines)
        spec = {"cron": "0 0 1 1 *", "lines": stored}
        parts.queue.apply_schedules({"hourly": spec})
        parts.queue.fire_schedule("hourly")
        for share in (0.2, 0.5, 0.8):
            until(partial(_has_uploaded, parts, share * LINES), 180, f"{share:.0%} of the lines")
            worker.kill()
            worker.wait()
            worker = parts.start_worker()
        until(lambda: _newest(parts).state is FiringState.OVER, 600, "the firing to be over")
        firing = _newest(parts)
        jobs = list(parts.queue.iter_results(firing.batch))
        names = [str(job.custom_id).rpartition("/")[2] for job in jobs]
        assert sorted(map(int, names)) == list(range(1, LINES + 1))
        assert (firing.jobs, firing.completed, firing.failed) == (LINES, LINES, 0)
        runs = {job.run_id for job in jobs}
        assert len(runs) == LINES
