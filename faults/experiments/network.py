"""Slow and lossy ways between a worker, the API and Redis."""

import time

from faults.lab import MIXED, Lab
from faults.registry import experiment
from faults.ways import Way
from faults.workers import Worker

_RUNS = ("--duration", "1")
_PACED = {"RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "20", "RUNQUEUE_MAX_BURST_SIZE": "5"}
#: Seconds after which work goes on once a way is mended.
_AGAIN = 15.0
#: Bytes after which a request, and an answer, are broken off: both end in their headers.
_IN_REQUEST, _IN_ANSWER = 100, 60


def _all_completed(lab: Lab, jobs: int) -> None:
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


def _far_redis(lab: Lab, jobs: int) -> None:
    worker = lab.worker()
    worker.redis.up.latency = worker.redis.down.latency = 0.1
    worker.start()
    lab.submit(jobs)
    took = lab.settle(60)
    met = worker.redis.up.met
    lab.note(f"{jobs} jobs in {took:.0f} s, {met} requests took that long")
    lab.expect(met > 0, "nothing went that way")
    lab.expect(worker.words("lease_lost") == 0, "it lost its lease")
    void = worker.words("permit_too_old")
    lab.expect(void <= jobs, f"{void} permits were too old when they came")
    _all_completed(lab, jobs)


@experiment(
    "200 ms to Redis and back",
    "each piece takes 0.1 s either way, between the only worker and Redis",
    jobs=30,
    simulator=_RUNS,
)
def far_redis(lab: Lab, jobs: int) -> None:
    """Slower, and nothing else: the leases hold."""
    _far_redis(lab, jobs)


@experiment(
    "200 ms to Redis and back, with a dispatch rate",
    "the same, and submissions are paced by permits that are void 200 ms after they were asked for",
    jobs=30,
    simulator=_RUNS,
    settings=_PACED,
)
def far_redis_paced(lab: Lab, jobs: int) -> None:
    """Work has to go on all the same."""
    _far_redis(lab, jobs)


@experiment(
    "answers of the API at 100 bytes a second",
    "to a worker's submissions and reads, for 12 s",
    jobs=30,
    simulator=_RUNS,
)
def slow_api(lab: Lab, jobs: int) -> None:
    """A submission's answer takes 10 s and is waited for; a read is given up, and repeated."""
    worker = lab.worker().start()
    way = worker.api.down
    way.rate = 100
    lab.submit(jobs)
    time.sleep(12)
    worker.api.heal()
    lab.settle()
    lab.note(f"{way.met} pieces came that slowly")
    lab.expect(way.met >= jobs, f"only {way.met} pieces came that slowly")
    _all_completed(lab, jobs)


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
    lab.expect(again > 0, "none was in doubt and without a run")


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
    "answers of the API that come twice",
    "each answer about a run comes once more, 2 ms later, on its way to the only worker",
    jobs=200,
    simulator=_RUNS,
)
def answers_twice(lab: Lab, jobs: int) -> None:
    """The second one is nobody's, even where the next request is waiting for its own."""
    worker = lab.worker()
    way = worker.api.down
    way.again = 0.002
    worker.start()
    lab.submit(jobs)
    lab.settle()
    taken = worker.words("answer_of_another_request")
    lab.note(f"{way.met} came twice; {taken} met the next submission, and were told")
    lab.expect(way.met >= jobs, f"only {way.met} answers came twice")
    _all_completed(lab, jobs)


@experiment(
    "answers of the API to the wrong connection",
    "of two answers about runs each goes to the other's connection, until 40 have",
    jobs=100,
    simulator=_RUNS,
    settings=_PACED,
)
def answers_exchanged(lab: Lab, jobs: int) -> None:
    """A job has the run that it asked for, and none is made again."""
    worker = lab.worker()
    way = worker.api.down
    worker.start()
    # What a server shows unchanged has been seen once.
    lab.submit(jobs // 4, prefix="first")
    lab.until_state("completed", jobs // 4)
    way.exchange = True
    lab.submit(jobs - jobs // 4)
    lab.until(lambda: way.met >= 40, 60, "40 answers to be exchanged")
    worker.api.heal()
    lab.settle()
    told = worker.words("answer_of_another_request")
    lab.note(f"{way.met} exchanged; {told} of them were a submission's, and were told")
    lab.expect(told > 0, "no submission was answered with another's answer")
    _all_completed(lab, jobs)


@experiment(
    "connections to the API refused",
    "nobody listens there for 5 s",
    jobs=40,
    simulator=_RUNS,
)
def refused(lab: Lab, jobs: int) -> None:
    """Nothing can have been sent, so nothing is in doubt, and no attempt is lost."""
    worker = lab.worker().start()
    worker.api.refuse()
    worker.api.cut()
    lab.submit(jobs)
    lab.until(lambda: worker.words("submission_returned") > 0, 30, "a submission to be refused")
    time.sleep(5)
    worker.api.heal()
    lab.mend()
    lab.goes_on(_AGAIN)
    lab.settle()
    lab.note(f"{worker.words('submission_returned')} given back")
    lab.expect(not lab.doubts.seen, f"{len(lab.doubts.seen)} submissions were in doubt")
    _all_completed(lab, jobs)


@experiment(
    "replies of Redis dropped, one way",
    "scripts run, their replies are swallowed for 8 s, for one worker of one",
    jobs=200,
    simulator=_RUNS,
    settings=_PACED,
)
def replies_dropped(lab: Lab, jobs: int) -> None:
    """What is asked again has run already: no permit, claim or record counts twice."""
    worker = lab.worker().start()
    lab.submit(jobs)
    lab.until_state("completed", 10)
    way = worker.redis.down
    way.swallow = True
    time.sleep(8)
    worker.redis.heal()
    lab.mend()
    lab.goes_on(_AGAIN)
    lab.settle()
    lab.note(f"{way.met} replies dropped")
    lab.expect(way.met > 0, "no reply was dropped")
    _all_completed(lab, jobs)


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
