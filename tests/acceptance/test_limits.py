"""Processes share one account's limits and keys: judged by the simulator's own record."""

from itertools import pairwise
from pathlib import Path

import pytest

from lab.waiting import until
from runqueue.ids import markers_in
from tests.acceptance.factory import factory, task

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

RATE, BURST, CAP = 50, 5, 40
LIMITS = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": str(RATE),
    "RUNQUEUE_MAX_BURST_SIZE": str(BURST),
    "RUNQUEUE_MAX_CONCURRENT_RUNS": str(CAP),
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.2",
    "RUNQUEUE_POLL_MAX_SECONDS": "1",
}
#: A permit may be used up to 200 ms after its grant, and a test shares its machine with others,
#: which hold arrivals up: half a second of the rate. `make bench` shows the exact figure (≤ 65).
ARRIVALS = RATE + BURST + RATE // 2


def test_four_processes_together_never_break_the_rate_or_the_cap(tmp_path: Path) -> None:
    jobs = 300
    with factory(tmp_path, ("--duration", "0.1"), **LIMITS) as parts:
        for _ in range(4):
            parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 4, 60, "four workers")
        parts.queue.enqueue_many([task(f"job-{i}") for i in range(jobs)])
        until(lambda: parts.states().get("completed") == jobs, 120, "every job")

        seen = parts.simulator.summary()
        first, last = (parts.simulator.runs()[i]["created"] for i in (0, -1))
        rate = (jobs - BURST) / (last - first)
        most, live = seen["max_submissions_in_window"], seen["max_live"]
        print(f"{most} arrivals at most in 1 s, {live} live at most, {rate:.1f} a second")
        assert seen["max_submissions_in_window"] <= ARRIVALS
        assert seen["max_live"] <= CAP
        assert set(parts.simulator.runs_per_job().values()) == {1}


def test_jobs_with_the_codes_of_one_identifier_run_one_at_a_time_and_others_pass_them(
    tmp_path: Path,
) -> None:
    codes, each, others = ("a@shop.test", "b@shop.test", "c@shop.test"), 20, 120
    coded = [
        task(f"{code}-{n}", body={"prompt": "Log in.", "totp_identifier": code})
        for n in range(each)
        for code in codes
    ]
    free = [task(f"free-{n}", url=f"https://shop-{n}.test/") for n in range(others)]
    settings = LIMITS | {"RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "200"}
    with factory(tmp_path, ("--duration", "0.5"), **settings) as parts:
        for _ in range(2):
            parts.start_worker()
        enqueued = parts.queue.enqueue_many([*coded, *free])
        until(lambda: parts.states().get("completed") == len(enqueued), 120, "every job")
        custom_ids = {job.job_id: job.custom_id or "" for job in enqueued}
        runs: dict[str, list[tuple[float, float]]] = {}
        for run in parts.simulator.runs():
            ((job_id, _),) = markers_in(run["title"])
            name = custom_ids[job_id].rpartition("-")[0]
            runs.setdefault(name, []).append((run["created"], run["ended"]))

    assert {name: len(of_name) for name, of_name in runs.items()} == {
        **dict.fromkeys(codes, each),
        "free": others,
    }
    for code in codes:
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(runs[code])))
    # They stood behind all sixty in the same lane, and began before half of these had.
    half_begun = sorted(run[0] for code in codes for run in runs[code])[each * len(codes) // 2]
    assert max(run[0] for run in runs["free"]) < half_begun
