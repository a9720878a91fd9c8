"""A worker killed with SIGKILL at each point of a job's life, and at random."""

import random
import time
from functools import partial

from faults.lab import Lab, script
from faults.registry import experiment
from faults.traps import Trap
from faults.workers import Worker
from runqueue.store.keys import Keys

#: Seconds after a death in which its claims are in unconfirmed, and ready again without a run.
TAKEN_OVER, READY_AGAIN = 17.0, 120.0
_ROUNDS = 3
#: Times that later jobs come, and seconds between two of them.
_WAVES, _A_WAVE = 3, 40.0
#: Seconds: more than a submission's time, a claim's and all margins for clocks together.
_LONG = 155.0
_RUNS = ("--duration", "1")
#: The claims of the dead keep their slots until they are settled.
_ROOM = {"RUNQUEUE_MAX_CONCURRENT_RUNS": "100"}


def _kill_at(worker: Worker, trap: Trap, *, passes: bool = False) -> float:
    """Kill a worker at the moment a trap holds; returns when (monotonic seconds)."""
    trap.wait(30)
    worker.kill()
    killed = time.monotonic()
    (trap.release if passes else trap.drop)()
    return killed


def _rounds(
    lab: Lab, jobs: int, spring: "partial[Trap]", *, claimed: bool = True, later: int = 0
) -> float:
    """Kill a worker at the same point again and again, then let one finish the work.

    Args:
        lab, jobs: as always.
        spring: sets the trap.
        claimed: whether claims are left then.
        later: jobs that come once the claims of the dead are in doubt, a third at a time.

    Returns:
        When the last was killed (monotonic seconds).
    """
    killed = 0.0
    for number in range(_ROUNDS):
        lab.submit((jobs - later) // _ROUNDS, prefix=f"round-{number}")
        worker = lab.worker()
        trap = spring(worker)
        worker.launch()
        killed = _kill_at(worker, trap)
    left = lab.count("submitting")
    lab.expect(bool(left) == claimed, f"the dead left {left} claims")
    lab.worker().start()
    if claimed:
        _time_takeover(lab, killed)
    # The account goes on meanwhile: what was lost last of all waits for a run that is newer.
    for wave in range(_WAVES if later else 0):
        lab.submit(later // _WAVES, prefix=f"later-{wave}")
        if lab.settles(_A_WAVE):
            break
    lab.settle()
    return killed


def _time_takeover(lab: Lab, killed: float) -> None:
    """Measure until no claim of a dead process is taken for a submission any more."""
    claims = lab.valkey.client()
    with claims:
        key = b"runqueue:{default}:claims:*"
        dead = {name for name in claims.scan_iter(key) if claims.zcard(name)}
        lab.until(
            lambda: not any(claims.zcard(name) for name in dead), 60, "the claims to be taken over"
        )
    took = time.monotonic() - killed
    lab.note(f"claims in unconfirmed after {took:.1f} s")
    lab.expect(took <= TAKEN_OVER, f"claims in unconfirmed only after {took:.1f} s")


def _tell_ready_again(lab: Lab, killed: float) -> None:
    """Tell how long those without a run took: the last submission after the last kill."""
    resubmitted = lab.total("resubmitted")
    lab.expect(resubmitted > 0, "none was without a run")
    last = max(run["created"] for run in lab.simulator.runs())
    took = last - (time.time() - (time.monotonic() - killed))
    lab.note(f"{resubmitted} without a run, the last submitted again after {took:.0f} s")
    lab.expect(took <= READY_AGAIN, f"submitted again only after {took:.0f} s")


@experiment(
    "kill -9 before the claim is written",
    "the claim's script never reaches Redis",
    jobs=60,
    simulator=_RUNS,
    settings=_ROOM,
)
def before_claim(lab: Lab, jobs: int) -> None:
    """Kill as the claim is being sent."""
    _rounds(lab, jobs, partial(_on_script, "claim"), claimed=False)
    lab.expect(not lab.doubts.seen, f"{len(lab.doubts.seen)} submissions were in doubt")


@experiment(
    "kill -9 after the claim, before sending",
    "Redis has the claim, nothing was submitted",
    jobs=60,
    simulator=_RUNS,
    settings=_ROOM,
)
def after_claim(lab: Lab, jobs: int) -> None:
    """Kill as the claim's reply, with the jobs' bodies, comes back.

    Nothing was ever submitted: only runs of later jobs show that the list of runs is not behind.
    """
    killed = _rounds(lab, jobs, partial(_on_bytes, "redis", "down", b'"k":'), later=jobs // 4)
    _tell_ready_again(lab, killed)


@experiment(
    "kill -9 after Skyvern took it, before the answer",
    "the run was made, its answer is held on the way",
    jobs=60,
    simulator=_RUNS,
    settings=_ROOM,
)
def before_answer(lab: Lab, jobs: int) -> None:
    """Kill when the first answer is on the way back.

    What was not sent by then waits for runs of later jobs: they show that the list is not behind.
    """
    _rounds(lab, jobs, partial(_on_bytes, "api", "down", b'"run_id"'), later=jobs // 4)


@experiment(
    "kill -9 after the answer, before the record",
    "the run id reached the worker and died with it",
    jobs=60,
    simulator=_RUNS,
    settings=_ROOM,
)
def before_record(lab: Lab, jobs: int) -> None:
    """Kill as the first run id is being recorded."""
    _rounds(lab, jobs, partial(_on_script, "mark_running"))


@experiment(
    "kill -9 while polling",
    "GETs are on the wire; the next worker has to go on with the dead one's runs",
    jobs=40,
    simulator=("--duration", "4", "--no-list"),  # with lists a run that goes on gets no GET
    settings=_ROOM,
)
def while_polling(lab: Lab, jobs: int) -> None:
    """Kill as a run is being read, and see when each run that it had taken is read again."""
    lab.submit(jobs)
    worker = lab.worker().start()
    lab.until_state("running", jobs)
    trap = _on_bytes("api", "up", b"GET /v1/runs/", worker)
    killed = _kill_at(worker, trap)
    taken = _polls_taken(lab)
    lab.expect(bool(taken), "no run was being read")
    heir = lab.worker()
    traps = [
        heir.api.trap("up", f"GET /v1/runs/{run_id} ".encode(), hold=False) for run_id in taken
    ]
    heir.start()
    lab.until(lambda: all(trap.count for trap in traps), 60, "every run to be read again")
    took = time.monotonic() - killed
    lab.note(f"the last of its {len(taken)} runs was read again after {took:.1f} s")
    lab.expect(took <= TAKEN_OVER, f"its runs were read again only after {took:.1f} s")
    lab.settle()


def _polls_taken(lab: Lab) -> list[str]:
    """Return the runs whose reading a worker has taken on: their next look is a lease away.

    That of any other run is a second away at most, see `workers.SETTINGS`.
    """
    with lab.valkey.client() as client:
        seconds, micros = client.time()
        lease = (seconds + 3) * 1_000_000 + micros
        ids = client.zrangebyscore(f"{Keys('default').prefix}poll", lease, "+inf")
    jobs = lab.queue.get_many([id_.decode() for id_ in ids], result=False)
    return [job.run_id for job in jobs if job and job.run_id]


@experiment(
    "kill -9 while recording a result",
    "the end was read, its record never reaches Redis; then: it does, unacknowledged",
    jobs=60,
    simulator=_RUNS,
    settings=_ROOM,
)
def while_recording(lab: Lab, jobs: int) -> None:
    """Kill with the result's script held; it is dropped, or it passes after the death."""
    for number, passes in enumerate((False, True, False)):
        lab.submit(jobs // _ROUNDS, prefix=f"round-{number}")
        worker = lab.worker()
        trap = _on_script("finish", worker)
        worker.launch()
        _kill_at(worker, trap, passes=passes)
    lab.worker().start()
    lab.settle()


def _on_script(name: str, worker: Worker) -> Trap:
    return worker.redis.trap("up", script(name))


def _on_bytes(way: str, direction: str, pattern: bytes, worker: Worker) -> Trap:
    proxy = worker.api if way == "api" else worker.redis
    return proxy.trap("up" if direction == "up" else "down", pattern)


@experiment(
    "every worker killed, the next one comes after 155 s",
    "runs were made, their ids died with the workers; Redis lives, nobody looks",
    jobs=40,
    simulator=("--duration", "1"),
    settings=_ROOM,
)
def nobody_for_long(lab: Lab, jobs: int) -> None:
    """The runs are much older by then than the doubt, and found all the same."""
    workers = [lab.worker(), lab.worker()]
    traps = [_on_script("mark_running", worker) for worker in workers]
    lab.submit(jobs)
    for worker in workers:
        worker.launch()
    lab.until(lambda: lab.simulator.summary()["runs"] >= jobs, 60, "the runs to be made")
    for worker in workers:
        worker.kill()
    for trap in traps:
        trap.drop()
    left = lab.count("submitting")
    lab.note(f"{left} runs without a record")
    lab.expect(left > 0, "every run was recorded")
    time.sleep(_LONG)
    lab.mend()
    lab.worker().start()
    lab.settle()
    lab.expect(lab.total("resubmitted") == 0, f"{lab.total('resubmitted')} submitted again")


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
