"""What people do at the wrong moment: cancels that race the end, a disk that is full."""

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import orjson

from faults.lab import MIXED, Lab, line
from faults.registry import experiment


@experiment(
    "cancel racing completion",
    "each job is canceled within 0.3 s of its run's end, before or after",
    jobs=1000,
    simulator=("--duration", "1", "--duration-spread", "0.3"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "100"},
)
def cancel_races(lab: Lab, jobs: int) -> None:
    """There is one truth: the job's state is what the server says of its run."""
    chance = random.Random(7)
    lab.worker().start()
    lab.worker().start()
    ids = lab.submit(jobs, ("titled", "bare"))
    waiting = set(ids)
    due: dict[str, float] = {}
    while waiting or due:
        for job in lab.queue.get_many(list(waiting), result=False) if waiting else ():
            if job and (job.started_at or job.is_over):
                waiting.discard(job.id)
                started = job.started_at.timestamp() if job.started_at else time.time()
                due[job.id] = started + 1 + chance.uniform(-0.3, 0.3)
        now = [id_ for id_, at in due.items() if at <= time.time()]
        if now:
            lab.operations.cancel(now)
            for id_ in now:
                del due[id_]
        time.sleep(0.02)
    lab.settle()
    seen = lab.states()
    lab.note(f"{seen.get('completed', 0)} completed, {seen.get('canceled', 0)} canceled")
    lab.expect(
        bool(seen.get("completed") and seen.get("canceled")), "nothing raced: all ended alike"
    )


@experiment(
    "cancel while it is submitted",
    "each job is canceled while its POST is on the wire; a fifth of the answers is lost",
    jobs=100,
    simulator=("--duration", "30"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "100"},
)
def cancel_submitting(lab: Lab, jobs: int) -> None:
    """The run is canceled as soon as its id is known, and none is made anew."""
    lab.simulator.faults(
        {
            "match": {"route": "run_task"},
            "action": {"close": True, "committed": True},
            "share": 0.2,
        },
        {"match": {"route": "run_task"}, "action": {"answer_latency": 1.5}},
        {"match": {"route": "run_workflow"}, "action": {"answer_latency": 1.5}},
    )
    lab.worker().start()
    ids = lab.submit(jobs)
    lab.until_state("submitting", jobs // 2)
    lab.operations.cancel(ids)
    lab.settle()
    lab.meets()
    live = lab.simulator.summary()["live"]
    lab.expect(live == 0, f"{live} runs were left live")
    lab.expect(lab.count("canceled") == jobs, f"not all canceled: {lab.states()}")


def _submit(
    lab: Lab, file: Path, results: Path, limit: int | None
) -> "subprocess.CompletedProcess[str]":
    """Hand a file in and wait for its results, with files of at most `limit` bytes."""

    def no_larger_files() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [
            *(sys.executable, "-m", "runqueue.cli", "submit", str(file)),
            *("--results", str(results), "--json"),
        ],
        env={**os.environ, "RUNQUEUE_REDIS_URL": f"{lab.valkey.url}/0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=no_larger_files,
    )


@experiment(
    "disk full under the results file",
    "`runqueue submit --results`: the file may not grow beyond 4 kB",
    jobs=100,
    simulator=("--duration", "1"),
)
def disk_full(lab: Lab, jobs: int) -> None:
    """The command says so and ends, the jobs go on, and the same command brings every result."""
    lab.worker().start()
    lab.until(lambda: lab.stats() is not None, 30, "the account")
    lines = [line(f"job-{i}", MIXED[i % 4]) for i in range(jobs)]
    file, results = lab.folder / "jobs.jsonl", lab.folder / "results.jsonl"
    file.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in lines))
    full = _submit(lab, file, results, 4096)
    lab.expect(full.returncode not in {0, -25}, f"exit code {full.returncode} on a full disk")
    lab.note(f"exit code {full.returncode}, then 0")
    lab.expect("File too large" in full.stderr, f"it does not say why: {full.stderr[-200:]}")
    lab.expect("Traceback" not in full.stderr, "it ended with a traceback")
    lab.expect(not results.exists(), "a part of the results has the name of the whole")
    again = _submit(lab, file, results, None)
    rows = [orjson.loads(row) for row in results.read_bytes().splitlines()]
    lab.accepted = {row["job_id"]: row["custom_id"] for row in rows}
    lab.expect(
        again.returncode == 0, f"exit code {again.returncode} with room: {again.stderr[-200:]}"
    )
    lab.expect(len(rows) == jobs, f"{len(rows)} results")
    lab.settle()


@experiment(
    "a paused batch of many groups, and a deploy",
    "one job a group; the batch is paused with every slot taken, and the only worker replaced",
    jobs=120,
    simulator=("--duration", "1"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "4"},
)
def paused_groups(lab: Lab, jobs: int) -> None:
    """A job of another group goes at once; the batch goes on, whole, when it is resumed."""
    first = lab.worker().start()
    batch = lab.queue.open_batch("one job a group")
    lab.take([line(f"job-{i}", MIXED[i % 4], group=f"group-{i}") for i in range(jobs)], batch)
    lab.queue.seal_batch(batch)
    lab.until(lambda: lab.count("running") > 0, 30, "the first runs")
    lab.queue.pause_batch(batch)
    others = lab.submit(4, prefix="other", group="other")
    code = first.stop()
    lab.expect(code == 0, f"exit code {code}")
    held = lab.count("ready") - len(others)
    lab.expect(held > jobs // 2, f"only {held} jobs were held")
    lab.worker().start()
    took = lab.until(
        lambda: all(job is not None and job.is_over for job in lab.queue.get_many(others)),
        60,
        "the other group's jobs",
    )
    lab.expect(lab.count("ready") == held, f"{held} jobs were held, then {lab.count('ready')}")
    lab.note(f"the other group's jobs ended {took:.1f} s after the new worker was there")
    lab.queue.resume_batch(batch)
    lab.settle()
    lab.expect(lab.count("completed") == jobs + len(others), f"not all completed: {lab.states()}")
