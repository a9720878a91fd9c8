"""Workers that are stopped, frozen, or killed by what they work on."""

import signal
import time
from functools import partial

from faults.checks import key_of
from faults.lab import MIXED, Lab, line
from faults.registry import experiment

_ROOM = {"RUNQUEUE_MAX_CONCURRENT_RUNS": "100"}


@experiment(
    "SIGTERM with 50 submissions in flight",
    "the only worker is told to end while 50 answers are outstanding",
    jobs=50,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def sigterm(lab: Lab, jobs: int) -> None:
    """Nothing may be left in doubt; another worker goes on."""
    lab.simulator.faults({"action": {"answer_latency": 3}})
    lab.hand_in(jobs)
    worker = lab.worker().start()
    lab.until_state("submitting", jobs)
    start = time.monotonic()
    code = worker.stop()
    lab.note(f"ended after {time.monotonic() - start:.1f} s")
    lab.expect(code == 0, f"exit code {code}")
    lab.expect(lab.count("submitting", "unconfirmed") == 0, f"it left {lab.states()}")
    lab.simulator.no_faults()
    lab.hand_in(jobs // 5 or 1, prefix="after")
    lab.mend()
    lab.worker().start()
    lab.settle()


@experiment(
    "SIGSTOP past the lease, then SIGCONT",
    "a worker is frozen for 20 s with its submissions unanswered",
    jobs=60,
    simulator=("--duration", "2"),
    settings=_ROOM,
)
def frozen(lab: Lab, jobs: int) -> None:
    """On waking it sends nothing old, and the run ids that it holds are adopted."""
    lab.simulator.faults({"match": {"route": "run_task"}, "action": {"answer_latency": 2}})
    lab.hand_in(jobs)
    stale = lab.worker().start()
    lab.until(lambda: lab.simulator.summary()["submissions"] >= jobs, 30, "the submissions")
    stale.signal(signal.SIGSTOP)
    lab.simulator.no_faults()
    lab.worker().start()
    time.sleep(20)
    lab.note(f"{lab.count('unconfirmed')} unconfirmed on waking")
    stale.signal(signal.SIGCONT)
    lab.until(lambda: stale.words("lease_lost") > 0, 30, "it to notice")
    lab.settle()


@experiment(
    "SIGSTOP between claim and send, then SIGCONT",
    "a worker is frozen when the claim's reply is on its way; it gets the jobs 20 s later",
    jobs=60,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def frozen_with_claims(lab: Lab, jobs: int) -> None:
    """The jobs are somebody else's by then: the stale owner must not send them."""
    lab.hand_in(jobs)
    stale = lab.worker()
    trap = stale.redis.trap("down", b'"k":')
    stale.launch()
    trap.wait(30)
    stale.signal(signal.SIGSTOP)
    trap.release()
    lab.worker().start()
    time.sleep(20)
    stale.signal(signal.SIGCONT)
    lab.until(lambda: stale.words("lease_lost") > 0, 30, "it to notice")
    early = [run for run in lab.simulator.runs() if run["created"] > time.time() - 2]
    lab.expect(not early, f"{len(early)} runs were made as it woke")
    lab.settle()


@experiment(
    "poison job",
    "one job of these kills whichever worker submits it",
    jobs=40,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def poison(lab: Lab, jobs: int) -> None:
    """It is found out and ends dead; its innocent neighbours all complete."""
    lines = [line(f"job-{i}", MIXED[i % 4]) for i in range(jobs - 1)]
    lines.insert(jobs // 2, line("poison"))
    answers = lab.queue.enqueue_many(lines)
    lab.accepted = {a.job_id: str(one["custom_id"]) for a, one in zip(answers, lines, strict=True)}
    bad = next(id_ for id_, key in lab.accepted.items() if key == "poison")
    workers = [lab.worker(), lab.worker()]
    for worker in workers:
        # Its POST never arrives: the worker died of it.
        worker.api.trap("up", b'"prompt":"poison"', times=0, act=partial(worker.signal, 9))
        worker.start()
    start = time.monotonic()
    while not lab.queue.get(bad).is_over and time.monotonic() < start + 420:
        for worker in workers:
            if worker.process is not None and worker.process.poll() is not None:
                worker.launch()
        time.sleep(0.2)
    lab.dead = 1
    job = lab.queue.get(bad)
    deaths = sum(worker.words("worker_ready") for worker in workers) - len(workers)
    lab.note(f"{job.state} after {deaths} deaths, {time.monotonic() - start:.0f} s: {job.reason}")
    lab.settle()
    lab.expect(
        all(key_of(run) != "poison" for run in lab.simulator.runs()), "the poison job has a run"
    )
