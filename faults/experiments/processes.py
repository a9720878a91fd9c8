"""Workers that are killed, stopped or frozen."""

import random
import signal
import time

from faults.lab import Lab
from faults.registry import experiment
from faults.workers import Worker

_ROOM = {"RUNQUEUE_MAX_CONCURRENT_RUNS": "100"}


@experiment(
    "SIGTERM with 50 submissions in flight",
    "the only worker is told to end while 50 answers are outstanding",
    jobs=50,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def sigterm(lab: Lab, jobs: int) -> None:
    """Nothing may be left unconfirmed; another worker goes on."""
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
    lab.note(f"{len(lab.unconfirmed.seen)} of its claims were taken over")
    lab.expect(bool(lab.unconfirmed.seen), "its claims were not taken over")
    stale.signal(signal.SIGCONT)
    lab.until(lambda: stale.words("lease_lost") > 0, 30, "it to notice")
    lab.settle()


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
    "500 random kill -9s",
    "one of three workers is killed at random moments, ten jobs to a kill",
    jobs=5000,
    simulator=("--duration", "0.5", "--duration-spread", "0.5"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "60"},
)
def random_kills(lab: Lab, jobs: int) -> None:
    """Kill one that is at work, again and again; each kill brings ten more jobs."""
    chance, wanted = random.Random(4), max(3, jobs // 10)
    # Answers that take a while, so that kills meet submissions on the wire.
    lab.simulator.faults({"match": {"route": "run_task"}, "action": {"answer_latency": 0.4}})
    workers = [lab.worker().start() for _ in range(3)]
    ready = {worker.name: worker.words("worker_ready") for worker in workers}
    for number in range(wanted):
        awake: list[Worker] = []
        while not awake:
            awake = [one for one in workers if one.words("worker_ready") >= ready[one.name]]
            time.sleep(0.02)
        victim = chance.choice(awake)
        lab.submit(jobs // wanted, prefix=f"kill-{number}")
        time.sleep(chance.uniform(0.0, 0.6))
        victim.kill()
        ready[victim.name] = victim.words("worker_ready") + 1
        victim.launch()
    lab.submit(jobs - wanted * (jobs // wanted), prefix="rest")
    lab.note(f"{wanted} kills")
    lab.settle(600)
    taken, again = lab.total("claims_taken_over"), lab.total("resubmitted")
    lab.note(f"{taken} claims taken over, {again} of them without a run")
    lab.expect(taken > 0, "no kill met a submission")
