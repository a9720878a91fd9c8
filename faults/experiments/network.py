"""Lossy ways between a worker, the API and Redis."""

import time

from faults.lab import MIXED, Lab
from faults.registry import experiment
from faults.workers import Worker
from lab.ways import Way

_RUNS = ("--duration", "1")
_PACED = {"RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "20", "RUNQUEUE_MAX_BURST_SIZE": "5"}
#: Seconds after which work goes on once a way is mended.
_AGAIN = 15.0
#: Bytes after which a request, and an answer, are broken off: both end in their headers.
_IN_REQUEST, _IN_ANSWER = 100, 60


def _all_completed(lab: Lab, jobs: int) -> None:
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


@experiment(
    "requests to the API lost on the way",
    "for 3 s they are swallowed, then for 3 s cut off after 100 bytes",
    jobs=30,
    simulator=_RUNS,
)
def requests_lost(lab: Lab, jobs: int) -> None:
    """No run is made of them, and only a search can tell."""
    worker = lab.worker()
    _lose(lab, jobs, worker, worker.api.up, _IN_REQUEST)
    again = lab.total("resubmitted")
    lab.note(f"{again} submitted again")
    lab.expect(again > 0, "none was unconfirmed and without a run")


@experiment(
    "answers of the API lost on the way",
    "for 3 s they are swallowed, then for 3 s cut off after 60 bytes",
    jobs=30,
    simulator=_RUNS,
)
def answers_lost(lab: Lab, jobs: int) -> None:
    """Their runs were made, and are found."""
    worker = lab.worker()
    worker.api.down.cut = "fin"
    _lose(lab, jobs, worker, worker.api.down, _IN_ANSWER)
    found = lab.total("adopted")
    lab.note(f"{found} runs found")
    lab.expect(found > 0, "no run had to be found")


def _lose(lab: Lab, jobs: int, worker: Worker, way: Way, cut_after: int) -> None:
    """Swallow what goes that way for a while, then cut it off, then mend it."""
    way.swallow = True
    worker.start()
    lab.submit(jobs // 2, MIXED, prefix="swallowed")
    lab.until(lambda: way.met > 0, 30, "something to be swallowed")
    time.sleep(3)
    swallowed, way.swallow, way.cut_after = way.met, False, cut_after
    lab.submit(jobs - jobs // 2, MIXED, prefix="cut")
    lab.until(lambda: way.met > swallowed, 30, "something to be cut off")
    time.sleep(3)
    lab.note(f"{swallowed} swallowed, {way.met - swallowed} cut off")
    worker.api.heal()
    # Only runs that were made later show that the list, which lacks the lost ones, is not behind.
    lab.until(lambda: not lab.count("submitting"), 90, "every answer to be lost")
    lab.submit(len(MIXED), MIXED, prefix="later")
    lab.settle()
    _all_completed(lab, jobs + len(MIXED))


@experiment(
    "replies of Redis cut off",
    "for 8 s each connection is cut after 1,500 bytes, in the middle of a claim's reply",
    jobs=200,
    simulator=_RUNS,
    settings=_PACED,
)
def replies_cut(lab: Lab, jobs: int) -> None:
    """A half reply is none."""
    worker = lab.worker().start()
    lab.submit(jobs)
    lab.until_state("completed", 10)
    way = worker.redis.down
    way.cut_after = 1500
    time.sleep(8)
    worker.redis.heal()
    lab.mend()
    lab.goes_on(_AGAIN)
    lab.settle()
    lab.note(f"{way.met} replies cut")
    lab.expect(way.met > 0, "no reply was cut")
    _all_completed(lab, jobs)
