"""Workers that are stopped, frozen, or killed by what they work on."""

import signal
import time
from functools import partial
from itertools import pairwise

from faults.checks import key_of
from faults.lab import MIXED, Lab, line, script
from faults.registry import experiment
from runqueue import ids

#: Runs that a job may have whose runs fail.
_RETRIED = 3
#: Seconds between the jobs that come while one kills workers.
_LATER = 10.0
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
    lab.submit(jobs)
    worker = lab.worker().start()
    lab.until_state("submitting", jobs)
    start = time.monotonic()
    code = worker.stop()
    lab.note(f"ended after {time.monotonic() - start:.1f} s")
    lab.expect(code == 0, f"exit code {code}")
    lab.expect(lab.count("submitting", "unconfirmed") == 0, f"it left {lab.states()}")
    lab.simulator.no_faults()
    lab.submit(jobs // 5 or 1, prefix="after")
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
    lab.submit(jobs)
    stale = lab.worker().start()
    lab.until(lambda: lab.simulator.summary()["submissions"] >= jobs, 30, "the submissions")
    stale.signal(signal.SIGSTOP)
    lab.simulator.no_faults()
    lab.worker().start()
    time.sleep(20)
    lab.note(f"{len(lab.doubts.seen)} of its claims were taken over")
    lab.expect(bool(lab.doubts.seen), "its claims were not taken over")
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
    """The jobs are somebody else's by then: the stale owner must not send them.

    Where it never got the claim's reply, nobody knows that nothing was sent: runs of later jobs
    show that the list of runs is not behind.
    """
    lab.submit(jobs - jobs // 6)
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
    later = lab.submit(jobs // 6, prefix="later")
    lab.settle()
    # Its claims were the first attempts; the process that has a job now has a later one.
    titles = [str(run["title"]) for run in lab.simulator.runs()]
    marked = [one for title in titles for one in ids.markers_in(title)]
    attempts = [attempt for job_id, attempt in marked if job_id not in later]
    lab.note(f"attempts {sorted(set(attempts))} became runs")
    lab.expect(bool(attempts) and 1 not in attempts, "it sent what it had lost")


@experiment(
    "SIGSTOP while it connects, then SIGCONT",
    "it is frozen past lease and grace, its connections come about meanwhile; `resubmit`",
    jobs=8,
    simulator=("--duration", "1"),
)
def frozen_connecting(lab: Lab, jobs: int) -> None:
    """On waking its time to connect is over, so that it sends nothing on them."""
    frozen = lab.worker().start()
    frozen.api.stall()
    lab.submit(jobs, on_unconfirmed="resubmit")
    lab.until_state("submitting", jobs)
    time.sleep(0.5)
    frozen.signal(signal.SIGSTOP)
    frozen.api.heal()
    early = lab.simulator.summary()["submissions"]
    lab.expect(early == 0, f"{early} submissions were sent before it froze")
    lab.worker().start()
    lab.until(lambda: lab.simulator.summary()["runs"] >= jobs, 150, "others to submit the jobs")
    lab.until(lambda: len(frozen.api.links) >= jobs, 30, "its connections to come about")
    frozen.signal(signal.SIGCONT)
    returned = '"why": "not_sent"'
    lab.until(lambda: frozen.words(returned) >= jobs, 30, "it to give them up")
    lab.settle()
    lab.note(f"{frozen.words(returned)} known as not sent, and others' by then")


@experiment(
    "poison job",
    "one job of these kills whichever worker submits it",
    jobs=40,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def poison(lab: Lab, jobs: int) -> None:
    """It is found out and ends dead; its neighbours, and jobs that come meanwhile, all complete."""
    lines = [line(f"job-{i}", MIXED[i % 4]) for i in range(jobs - 1)]
    lines.insert(jobs // 2, line("poison"))
    lab.take(lines)
    bad = next(id_ for id_, key in lab.accepted.items() if key == "poison")
    workers = [lab.worker(), lab.worker()]
    for worker in workers:
        # Its POST never arrives: the worker died of it.
        worker.api.trap("up", b'"prompt":"poison"', times=0, act=partial(worker.signal, 9))
        worker.start()
    start = later = time.monotonic()
    while not lab.queue.get(bad).is_over and time.monotonic() < start + 420:
        if time.monotonic() > later + _LATER:
            # A run made after a loss shows that the list, which lacks its run, is not behind.
            later = time.monotonic()
            lab.submit(len(MIXED), prefix=f"later-{later - start:.0f}")
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


@experiment(
    "runs that fail and are retried, under kill -9",
    "each job may have three runs and each run fails; workers die as ends are recorded",
    jobs=24,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def retried(lab: Lab, jobs: int) -> None:
    """Each job has the runs that it may have, one after the other."""
    retry = {"max_attempts": _RETRIED, "min_backoff": 1, "max_backoff": 2}
    ids = lab.submit(jobs, plan={"sim_end": "failed"}, retry=retry)
    lab.allowed = dict.fromkeys(lab.accepted.values(), _RETRIED)
    deaths = (("retry_run", False), ("retry_run", True), ("mark_running", False), ("finish", True))
    for name, passes in deaths:
        worker = lab.worker()
        trap = worker.redis.trap("up", script(name))
        worker.launch()
        trap.wait(60)
        worker.kill()
        (trap.release if passes else trap.drop)()
    lab.worker().start()
    lab.settle()
    runs: dict[str, list[tuple[float, float]]] = {}
    for run in lab.simulator.runs():
        runs.setdefault(key_of(run), []).append((run["created"], run["ended"]))
    at_once = [
        key
        for key, times in runs.items()
        if any(later[0] < earlier[1] for earlier, later in pairwise(sorted(times)))
    ]
    lab.expect(not at_once, f"two runs at once: {at_once[:5]}")
    few = {key: len(times) for key, times in runs.items() if len(times) != _RETRIED}
    lab.expect(len(runs) == jobs and not few, f"not {_RETRIED} runs each: {few}")
    counted = {job.runs for job in lab.queue.get_many(ids) if job}
    lab.expect(counted == {_RETRIED}, f"runs as the jobs count them: {counted}")
    lab.note(f"{sum(map(len, runs.values()))} runs, {len(deaths)} deaths")
