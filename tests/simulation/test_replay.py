"""One seed is one exact history; and a simulation that is ended leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.simulated import ROOT, simulate


def test_a_seed_has_the_same_history_in_every_interpreter_and_another_seed_has_another() -> None:
    first = simulate("--seed", "3", hash_seed="1")
    second = simulate("--seed", "3", hash_seed="2")
    other = simulate("--seed", "4", "--minutes", "0.5")
    assert first.returncode == 0, first.stdout[-2000:]
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") > 500
    assert re.search(r" worker\d redis mark_running [0-9a-f]{8} job \d+", first.stdout)
    assert re.search(r" worker\d skyvern POST /v1/run/tasks 200 job \d+", first.stdout)
    assert other.returncode == 0, other.stdout[-2000:]
    lines = other.stdout.splitlines()
    differing = sum(one != two for one, two in zip(first.stdout.splitlines(), lines, strict=False))
    assert differing > len(lines) / 2


@pytest.mark.parametrize("seed", ["20", pytest.param("137", marks=pytest.mark.slow)])
def test_seeds_have_the_same_histories_whatever_the_order_of_sets(seed: str) -> None:
    done = simulate("--seed", seed, "--seeds", "2", "--at-once", "1", "--minutes", "1", "--twice")
    assert done.stdout == "2 seeds have the same histories\n"
    assert done.returncode == 0


@pytest.mark.slow
def test_many_seeds_hold_and_their_faults_are_counted() -> None:
    done = simulate("--seed", "20", "--seeds", "2", "--at-once", "1", "--minutes", "1")
    assert done.returncode == 0, done.stdout
    assert "2 seeds, " in done.stdout
    assert "failed: none" in done.stdout


@pytest.mark.slow
def test_a_kind_of_fault_that_was_never_met_fails_a_run_that_wants_every_kind() -> None:
    options = ("--seeds", "1", "--minutes", "0.2")
    assert simulate(*options).returncode == 0
    done = simulate(*options, "--every-kind")
    assert done.returncode == 1
    assert "never met: " in done.stdout


def group(leader: int) -> list[str]:
    """Return the names of the live processes of a process group."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:  # it has ended
            continue
        state, _, process_group = rest.split()[:3]
        if int(process_group) == leader and state != "Z":
            names.append(name)
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_simulation_that_is_terminated_leaves_no_server_behind() -> None:
    command = [sys.executable, "-m", "simulation", "--seeds", "1000"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    deadline = time.monotonic() + 60
    try:
        while not any(name.startswith("valkey") for name in group(process.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert group(process.pid) == []
    finally:
        if process.poll() is None or group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
