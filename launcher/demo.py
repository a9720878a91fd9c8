"""`runqueue demo`: the example jobs through a queue, two workers and a simulated Skyvern API.

All but the API is real: processes, Redis protocol, HTTP, faults of the runs. At the end the runs
that the simulator saw are compared with the plan of the examples.
"""

import json
import os
import shutil
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from launcher.processes import module_command
from launcher.supervisor import Child, Stack, StackError, archive_in, start_server, start_workers
from runqueue.cli.shared.output import print_table
from runqueue.connection.urls import shown_url
from runqueue.embedded.secret_files import make_folder

EXAMPLES = Path(__file__).parent / "examples"
RESULTS = Path(".runqueue") / "demo-results.jsonl"

_KEY = "simulator-key"
#: Seconds after which the demo is abandoned; it takes about 20.
_DEADLINE = 110.0
_STOP_SECONDS = 20.0
_SETTINGS = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "50",
    "RUNQUEUE_MAX_BURST_SIZE": "10",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "40",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.5",
    "RUNQUEUE_POLL_MAX_SECONDS": "2",
    "RUNQUEUE_DRAIN_SECONDS": "5",
    "RUNQUEUE_PROXY": "none",
}
#: Variables that a demo takes from outside; the rest is set here, so that every demo is the same.
_KEPT = ("RUNQUEUE_METRICS_PORT", "RUNQUEUE_METRICS_HOST", "RUNQUEUE_LOG_LEVEL")
_FIRST_METRICS_PORT = "9464"
#: The simulator is called directly, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """The demo did not come out as planned; the message says how."""


def run(worker_count: int = 2) -> int:
    """Run the demo and return its exit code: 0 as planned, 1 not, 130 interrupted."""
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="runqueue-demo-"))
    code = 1
    try:
        with Stack() as stack:
            code = _run(stack, home, worker_count)
    except (StackError, DemoError) as error:
        typer.echo(f"\ndemo: {error}\nlogs: {home}")
        return 1
    if code == 0:
        typer.echo(f"\nas planned, in {time.monotonic() - began:.0f} s")
    shutil.rmtree(home, ignore_errors=True)
    return code


def _run(stack: Stack, home: Path, worker_count: int) -> int:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RUNQUEUE_") or k in _KEPT}
    try:
        make_folder(RESULTS.parent)
    except OSError as error:
        where = f"{RESULTS.parent.resolve()}: {error.strerror}"
        raise DemoError(
            f"cannot write to {where}. Start it in a folder that you can write to"
        ) from None
    url = start_server(stack, home / "data", environ, home / "server.log")
    typer.echo(f"queue:     {shown_url(url)}")
    base_url = _simulator(stack, home, environ)
    typer.echo(f"simulator: {base_url}")
    environ |= _SETTINGS | {
        "RUNQUEUE_REDIS_URL": url,
        "RUNQUEUE_ARCHIVE_URL": archive_in(home),
        "RUNQUEUE_BROKER_URL": f"{url.rpartition('/')[0]}/1",
        "SKYVERN_BASE_URL": base_url,
        "SKYVERN_API_KEY": _KEY,
    }
    _start_workers(stack, home, environ, worker_count)
    exit_code = _submit(stack, environ)
    if exit_code is None:
        typer.echo("demo: interrupted")
        return 130
    rows = [json.loads(line) for line in RESULTS.read_bytes().splitlines()]
    _print_groups(rows)
    _check(rows, exit_code)
    _check_ledger(rows, _ledger(base_url))
    typer.echo(f"results:   {RESULTS}")
    return 0


def _simulator(stack: Stack, home: Path, environ: dict[str, str]) -> str:
    """Start the simulator; returns its base URL."""
    command = module_command("simulator", "--port", "0", "--api-key", _KEY)
    child = Child("simulator", command, environ, log=home / "simulator.log")
    return stack.start(child, announces=True).removeprefix("simulator: ")


def _start_workers(stack: Stack, home: Path, environ: dict[str, str], count: int) -> None:
    port = environ.get("RUNQUEUE_METRICS_PORT") or _FIRST_METRICS_PORT
    if not port.isdecimal():
        raise DemoError(f"RUNQUEUE_METRICS_PORT: expected a port, or 0 for no metrics, got {port}")
    # Their working directory is not ours, so that they do not read a real account's `.env`.
    start_workers(
        stack,
        count,
        environ,
        metrics_port=int(port),
        stop_seconds=_STOP_SECONDS,
        cwd=home,
        logs=home,
    )


def _submit(stack: Stack, environ: dict[str, str]) -> int | None:
    """Submit the examples as a user would; None = interrupted."""
    examples = os.path.relpath(EXAMPLES / "runs.jsonl")
    arguments = ["submit", examples, "--skip-invalid", "--wait"]
    arguments += ["--results", str(RESULTS)]
    typer.echo(f"\n$ runqueue {' '.join(arguments)}")
    child = Child("submit", module_command("runqueue.cli", *arguments), environ)
    child.start()
    try:
        if not stack.watch(lambda: child.ended() is not None, _DEADLINE):
            if stack.ending.is_set():
                return None
            raise DemoError(f"the jobs have not ended within {_DEADLINE:g} s")
    finally:
        child.terminate()
        child.wait_for_end()
    return child.ended()


def _check(rows: list[dict[str, Any]], exit_code: int) -> None:
    expected = json.loads((EXAMPLES / "expected.json").read_text())
    states = Counter(row["state"] for row in rows)
    planned = Counter({state: expected[state] for state in ("completed", "failed")})
    if states != planned:
        raise DemoError(f"planned was {dict(planned)}, and it came to {dict(states)}")
    if exit_code != 1:
        raise DemoError(f"some jobs failed, so submit should have ended with 1, not {exit_code}")


def _check_ledger(rows: list[dict[str, Any]], runs: list[dict[str, Any]]) -> None:
    """Check that the simulator saw exactly one run a job, and no other."""
    ours = Counter(row["run_id"] for row in rows)
    theirs = Counter(run["run_id"] for run in runs)
    if ours != theirs:
        missing, extra = ours - theirs, theirs - ours
        raise DemoError(
            f"{len(rows)} jobs, but {len(runs)} runs in the simulator's ledger"
            f" ({missing.total()} missing, {extra.total()} that no job owns)"
        )
    typer.echo(f"ledger:    {len(runs)} runs for {len(rows)} jobs, each exactly one")


def _print_groups(rows: list[dict[str, Any]]) -> None:
    groups = Counter((row["group"], row["state"]) for row in rows)
    names = sorted({group for group, _ in groups})
    print_table(
        "Jobs by group",
        ["group", "completed", "failed"],
        [[name, str(groups[name, "completed"]), str(groups[name, "failed"])] for name in names],
    )


def _ledger(base_url: str) -> list[dict[str, Any]]:
    with _DIRECT.open(f"{base_url}/_ledger", timeout=10) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]
