"""The files that one job enters, from its enqueue to its result: `python -m bench.traced_job`.

A producer, a worker and a Valkey run as they do in production, the simulator answers for Skyvern.
A profile hook in producer and worker notes each function of the product that is called while the
job is on its way (not the modules' own bodies), and each Lua script that is sent. What the worker
does at rest (its lease, its ticks) is noted as well.

Another checkout is traced with the same script: `python -m bench.traced_job FOLDER ...`.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.stack import UNLIMITED, Stack, running
from bench.structure import PACKAGES

#: Stands in the traced processes alone, so that it needs nothing of the checkout.
_HOOK: Final = """
import atexit, json, os, signal, sys, threading
files, scripts, is_on = set(), set(), [False]
def hook(frame, event, _):
    if event != "call" or not is_on[0]:
        return
    code = frame.f_code
    if code.co_name == "<module>" or not code.co_filename.startswith(ROOTS):
        return
    files.add(code.co_filename)
    script = getattr(frame.f_locals.get("call"), "script", None)
    if script is not None:
        scripts.add(script.name)
def switch(*_):
    is_on[0] = not is_on[0]
def write():
    is_on[0] = False
    with open(os.environ["TRACED_FILES"] + str(os.getpid()), "w") as file:
        json.dump([sorted(files), sorted(scripts)], file)
atexit.register(write)
ROOTS = tuple(json.loads(os.environ["TRACED_ROOTS"]))
sys.setprofile(hook)
threading.setprofile(hook)
"""
_WORKER: Final = """
import traced_hook, signal
from worker.app import app
signal.signal(signal.SIGUSR2, traced_hook.switch)
"""
_PRODUCER: Final = """
import os, signal, sys
import traced_hook
from runqueue import RunQueue, TaskRunRequest
queue = RunQueue(os.environ["RUNQUEUE_REDIS_URL"])
request = TaskRunRequest(prompt="Read the price", url="https://shop.example")
queue.enqueue(request).wait(timeout=60)
os.kill(int(sys.argv[1]), signal.SIGUSR2)
traced_hook.switch()
assert queue.enqueue(request).wait(timeout=60).state == "completed"
traced_hook.switch()
os.kill(int(sys.argv[1]), signal.SIGUSR2)
"""


def trace(root: Path) -> tuple[set[str], set[str]]:
    """Run one job of a checkout.

    Args:
        root: its folder.

    Returns:
        The Python files entered, by their paths in the checkout, and the names of the scripts sent.
    """
    with running("--duration", "0.3") as stack, tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for name, text in (("hook", _HOOK), ("worker", _WORKER), ("producer", _PRODUCER)):
            (here / f"traced_{name}.py").write_text(text)
        _run(stack, root.resolve(), here)
        files: set[str] = set()
        scripts: set[str] = set()
        for report in here.glob("report*"):
            entered, sent = json.loads(report.read_text())
            files |= {str(Path(name).relative_to(root.resolve())) for name in entered}
            scripts |= set(sent)
        return files, scripts


def _run(stack: Stack, root: Path, here: Path) -> None:
    env = stack.environment(
        **UNLIMITED,
        PYTHONPATH=f"{root}:{here}",
        TRACED_ROOTS=json.dumps([f"{root / name}/" for name in PACKAGES]),
        TRACED_FILES=str(here / "report"),
    )
    command = [sys.executable, "-m", "celery", "-A", "traced_worker", "worker"]
    with (here / "worker.log").open("w") as log:
        worker = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log)
    try:
        producer = [sys.executable, str(here / "traced_producer.py"), str(worker.pid)]
        subprocess.run(producer, cwd=root, env=env, check=True, timeout=120)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=60)


def main(folders: list[str]) -> None:
    """Print how many files a job of each checkout enters, and which they are."""
    for folder in folders or ["."]:
        began = time.monotonic()
        files, scripts = trace(Path(folder))
        took = time.monotonic() - began
        print(f"{folder}: {len(files)} Python files, {len(scripts)} Lua scripts ({took:.0f} s)")
        for name in (*sorted(files), *sorted(scripts)):
            print(f"  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
