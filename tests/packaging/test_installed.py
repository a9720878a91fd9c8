"""The commands of an environment that has both wheels, in a folder whose modules have our names."""

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packaging.conftest import PACKAGES, ROOT, clean, run
from tests.worker.working import closed_port

COMMANDS = ("demo", "doctor", "gateway", "ledger", "notify", "up", "worker")
LINE = {"kind": "task", "body": {"prompt": "x", "url": "https://x.test/?sim_seconds=0.3"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a service that has modules of the names of ours, and of a dependency's."""
    for name in (*PACKAGES, "runqueue", "celery"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('{name} of the service')")
    return tmp_path


@contextmanager
def running(
    programs: Path,
    folder: Path,
    command: Sequence[str],
    settings: Mapping[str, str],
    user: int | None = None,
) -> Iterator["subprocess.Popen[str]"]:
    """A command, both of whose outputs are read as one; ended at the end.

    Args:
        programs: where it is looked for first.
        folder: its working directory.
        command: the command.
        settings: its environment beside ours.
        user: whom it runs as, with a group of the same number; None = as we do.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=clean(programs, RUNQUEUE_METRICS_PORT="0", **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def read_to(process: "subprocess.Popen[str]", words: str) -> str:
    """Read what a process says, up to a line with these words."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return line
    raise AssertionError(f"never said {words!r}:\n{''.join(said)}")


def call(
    programs: Path, folder: Path, command: Sequence[str | Path], **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean(programs, **settings),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def simulator(programs: Path, folder: Path) -> Iterator[dict[str, str]]:
    """The settings that lead to a simulated API."""
    command = ("python", "-P", "-m", "simulator", "--port", "0")
    with running(programs, folder, command, {}) as process:
        url = read_to(process, "simulator: ").split()[-1]
        yield {"SKYVERN_API_KEY": "simulator-key", "SKYVERN_BASE_URL": url}


def test_what_is_installed_is_not_the_tree(programs: Path, folder: Path) -> None:
    code = "import runqueue, worker.runtime as w; print(runqueue.__file__, w.__file__, sep='\\n')"

    found = run(programs / "python", "-P", "-c", code, cwd=folder, env=clean(programs))

    assert all(Path(path).is_relative_to(programs.parent) for path in found.split())
    assert not programs.is_relative_to(ROOT)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_needs_no_settings(
    programs: Path, folder: Path, command: str
) -> None:
    done = call(programs, folder, ["runqueue", command, "--help"])

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: runqueue {command} ")


def test_a_command_without_its_settings_names_the_one_that_it_needs(
    programs: Path, folder: Path
) -> None:
    done = call(programs, folder, ["runqueue", "worker"])

    assert done.returncode != 0
    assert done.stderr == (
        "runqueue: SKYVERN_API_KEY: expected the API key of your Skyvern account\n"
    )


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_up_runs_jobs_and_a_worker_and_a_gateway_join_it(
    programs: Path, folder: Path, simulator: dict[str, str]
) -> None:
    settings = {**simulator, "RUNQUEUE_GATEWAY_PORT": str(closed_port())}
    others = {**simulator, "RUNQUEUE_GATEWAY_PORT": str(closed_port())}
    (folder / "jobs.jsonl").write_text(json.dumps(LINE))
    with running(programs, folder, ["runqueue", "up", "--workers", "1"], settings) as up:
        read_to(up, "worker_ready")
        submitted = call(programs, folder, ["runqueue", "submit", "jobs.jsonl", "--wait"])
        assert submitted.returncode == 0, submitted.stderr

        with (
            running(programs, folder, ["runqueue", "worker"], others) as worker,
            running(programs, folder, ["runqueue", "gateway"], others) as gateway,
        ):
            assert others["RUNQUEUE_GATEWAY_PORT"] in read_to(gateway, "gateway: ")
            read_to(worker, "worker_ready")
            doctor = call(programs, folder, ["runqueue", "doctor", "--json"], **settings)
            checks = {check["check"]: check for check in json.loads(doctor.stdout)["checks"]}
            assert checks["workers default"]["level"] == "ok", checks
            assert "2" in checks["workers default"]["said"]
            for process in (worker, gateway):
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=60) == 0

        up.send_signal(signal.SIGTERM)
        read_to(up, "gateway_stopped")
        assert up.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_the_demo_ends_as_planned(programs: Path, folder: Path) -> None:
    settings = {"RUNQUEUE_METRICS_PORT": "0", "TMPDIR": str(folder)}
    done = call(programs, folder, ["runqueue", "demo"], **settings)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "311 runs for 311 jobs, each exactly one" in done.stdout
    assert (folder / ".runqueue/demo-results.jsonl").exists()
