"""`runqueue demo` as a user runs it: real processes, in a folder of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance


def demo(folder: Path, **environ: str) -> "subprocess.Popen[str]":
    """Start the demo."""
    clean: Mapping[str, str] = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RUNQUEUE_", "SKYVERN_"))
    }
    return subprocess.Popen(
        [sys.executable, "-m", "runqueue.cli", "demo"],
        cwd=folder,
        env={**clean, "RUNQUEUE_METRICS_PORT": "0", "TMPDIR": str(folder), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_in(folder: Path) -> list[str]:
    """Return the commands of all processes that work in the folder or on files below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = str((process / "cwd").readlink())
            command = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if where.startswith(str(folder)) or str(folder) in command:
            found.append(command)
    return found


def test_it_never_submits_to_an_account_that_the_environment_names(tmp_path: Path) -> None:
    with demo(tmp_path, SKYVERN_BASE_URL="http://127.0.0.1:1", SKYVERN_API_KEY="real") as process:
        said, _ = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert "ledger:    311 runs for 311 jobs, each exactly one" in said


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_ends_every_process(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        # Far enough: its jobs are under way.
        assert any("/311 done" in line for line in process.stdout)

        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=60) == 130
    assert processes_in(tmp_path) == []
