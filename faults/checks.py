"""What must hold after an experiment, judged by the simulator's own record and by the queue's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from faults.lab import Lab
from faults.unconfirmed import Tallies
from runqueue import Job, JobState
from runqueue.store.keys import Keys

Run = Mapping[str, Any]

#: What a run is called at the server when its job is in the state.
_ENDS = {
    JobState.COMPLETED: {"completed"},
    JobState.FAILED: {"failed", "terminated", "timed_out", "canceled"},
    JobState.CANCELED: {"canceled"},
}
_LIVE = frozenset({"created", "queued", "running", "paused"})


@dataclass(slots=True)
class Judgement:
    """What one experiment came to.

    Args:
        lost: accepted jobs that neither ended, nor run, nor stand visibly in unconfirmed.
        doubled: jobs with more runs than they may have.
        unconfirmed: jobs that are left unconfirmed.
        tallies: unconfirmed submissions, and how many of them were settled.
        recovered: seconds from the fault's end until work went on, if that was measured.
        broken: invariants that did not hold, in words.
        skipped: why it was not made; '' = it was.
    """

    jobs: int = 0
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    unconfirmed: int = 0
    orphans: int = 0
    tallies: Tallies = field(default_factory=Tallies)
    recovered: float | None = None
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    skipped: str = ""


def key_of(run: Run) -> str:
    """Return the job's key that a run names: in its prompt, or in a workflow's title."""
    return str(run["prompt"] or run["title"])


def judge(lab: Lab, *, allows_doubles: bool = False) -> Judgement:
    """Compare the queue with what happened at the server.

    Args:
        lab: where everything has settled; Valkey and simulator must answer.
        allows_doubles: the experiment shows a window that is known: doubles are told, not broken.
    """
    runs = lab.simulator.runs()
    ids = list(lab.accepted)
    jobs = dict(zip(ids, lab.queue.get_many(ids, result=False), strict=True))
    found = Judgement(len(jobs), len(runs), notes=lab.notes, broken=lab.broken)
    found.recovered = lab.recovered
    _judge_jobs(lab, found, jobs, runs)
    _judge_runs(lab, found, jobs, runs, allows_doubles)
    _judge_account(lab)
    return found


def _judge_jobs(
    lab: Lab, found: Judgement, jobs: Mapping[str, Job | None], runs: Sequence[Run]
) -> None:
    by_id = {run["run_id"]: run for run in runs}
    states = Counter(job.state for job in jobs.values() if job is not None)
    lost = [lab.accepted[id_] for id_, job in jobs.items() if _is_lost(job, by_id)]
    found.lost = len(lost)
    found.unconfirmed = states[JobState.UNCONFIRMED]
    lab.expect(not lost, f"lost: {', '.join(lost[:5])}")
    wrong = [
        f"{lab.accepted[id_]} is {job.state} with {job.run_id}"
        for id_, job in jobs.items()
        if job is not None and not _is_true(job, lab.accepted[id_], by_id)
    ]
    lab.expect(not wrong, f"{len(wrong)} untrue, such as {wrong[:3]}")
    dead = [lab.accepted[id_] for id_, job in jobs.items() if job and job.state is JobState.DEAD]
    lab.expect(not dead, f"{len(dead)} dead, such as {dead[:5]}")
    lab.expect(not found.unconfirmed, f"{found.unconfirmed} left unconfirmed")


def _is_lost(job: Job | None, runs: Mapping[str, Run]) -> bool:
    if job is None:
        return True
    if job.state is JobState.RUNNING:
        run = runs.get(job.run_id or "")
        return run is None or run["status"] not in _LIVE
    return not job.is_over and job.state is not JobState.UNCONFIRMED


def _is_true(job: Job, key: str, runs: Mapping[str, Run]) -> bool:
    """Say whether what the job tells of its run is what the server knows."""
    if job.run_id is None:
        return job.state is not JobState.COMPLETED
    run = runs.get(job.run_id)
    if run is None or key_of(run) != key:
        return False
    return run["status"] in _ENDS.get(job.state, {run["status"]})


def _judge_runs(
    lab: Lab,
    found: Judgement,
    jobs: Mapping[str, Job | None],
    runs: Sequence[Run],
    allows_doubles: bool,
) -> None:
    counts = Counter(map(key_of, runs))
    doubled = [key for key, n in counts.items() if n > 1]
    found.doubled = len(doubled)
    lab.expect(allows_doubles or not doubled, f"doubled: {', '.join(doubled[:5])}")
    twice = {id_ for id_, key in lab.accepted.items() if key in set(doubled)}
    found.tallies = lab.unconfirmed.tallies(lab.marked, twice)
    strangers = set(counts) - set(lab.accepted.values())
    lab.expect(not strangers, f"runs of jobs that nobody submitted: {sorted(strangers)[:5]}")
    orphans = {orphan.run_id for orphan in lab.queue.orphans()}
    found.orphans = len(orphans)
    hidden = _hidden(lab, jobs, [run for run in runs if run["run_id"] not in orphans])
    if allows_doubles:
        lab.note(f"{len(hidden)} runs that are shown nowhere")
    lab.expect(
        allows_doubles or not hidden,
        f"{len(hidden)} runs of ours that no job owns, and that are not shown as orphans",
    )


def _hidden(lab: Lab, jobs: Mapping[str, Job | None], runs: Sequence[Run]) -> list[Run]:
    """Return the runs that no job owns or owned, and whose job is not visibly unconfirmed."""
    owned = {job.run_id for job in jobs.values() if job is not None}
    unconfirmed = {
        lab.accepted[job.id] for job in jobs.values() if job and job.state is JobState.UNCONFIRMED
    }
    unknown = [r for r in runs if r["run_id"] not in owned and key_of(r) not in unconfirmed]
    # The earlier runs of a job that was run again are not in its record as people see it.
    return [run for run in unknown if lab.accepted.get(_owner(lab, run) or "") != key_of(run)]


def _owner(lab: Lab, run: Run) -> str | None:
    """Return the job that the queue has bound a run to."""
    run_id = str(run["run_id"])
    bucket = sha1(run_id.encode(), usedforsecurity=False).hexdigest()[:4]
    with lab.valkey.client() as client:
        owner = client.hget(f"{Keys('default').prefix}runs:{bucket}", run_id)
    return owner.decode() if isinstance(owner, bytes) else None


def _judge_account(lab: Lab) -> None:
    stats = lab.queue.stats()["default"]
    with lab.valkey.client() as client:
        prefix = Keys("default").prefix
        claims = sum(int(client.zcard(key)) for key in client.scan_iter(f"{prefix}claims:*"))
        held = int(client.zcard(f"{prefix}unconfirmed"))
    submitting, running = stats.states[JobState.SUBMITTING], stats.states[JobState.RUNNING]
    live = submitting + running + held
    lab.expect(stats.live == live, f"{stats.live} slots are taken for {live} live jobs")
    lab.expect(claims == submitting, f"{claims} claims are left for {submitting} submissions")
    cap = int(lab.settings["RUNQUEUE_MAX_CONCURRENT_RUNS"])
    most = lab.simulator.summary()["max_live"]
    lab.expect(not cap or most <= cap, f"{most} runs were live at once, over the cap of {cap}")
