"""A disk that is full under what a person asked for."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import orjson

from faults.lab import MIXED, Lab, line
from faults.registry import experiment


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
