"""What is said where runqueue-server is missing, or of another version than runqueue."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from runqueue.server_version import INSTALL
from tests.packaging.conftest import (
    VERSION,
    Built,
    Once,
    build,
    clean,
    copy_source,
    make_environment,
)
from tests.packaging.test_installed import COMMANDS

OTHER = "99.1.2"


def ended(programs: Path, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that ends by itself, without settings."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean(programs),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="session")
def alone(once: Once, built: Built) -> Path:
    """The programs of an environment that has runqueue alone."""
    return once("alone", lambda folder: make_environment(folder, built.wheel("runqueue"))) / "bin"


@pytest.fixture(scope="session")
def unequal(once: Once, built: Built) -> Path:
    """The programs of an environment whose runqueue-server is of another version."""

    def fill(folder: Path) -> None:
        copy_source(folder / "source")
        (folder / "source/hatch_version.py").write_text(f"version = lambda: '{OTHER}'")
        build(folder / "source/runqueue-server", folder / "dist", "--wheel")
        (server,) = (folder / "dist").glob(f"runqueue_server-{OTHER}-*.whl")
        make_environment(folder / "environment", built.wheel("runqueue"), server)

    return once("unequal", fill) / "environment/bin"


@pytest.mark.parametrize("command", ["demo", "worker"])
def test_without_the_server_its_commands_say_what_to_install(
    alone: Path, tmp_path: Path, command: str
) -> None:
    done = ended(alone, tmp_path, "runqueue", command, "--help")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"runqueue: `{command}` needs runqueue-server, which is not installed here: {INSTALL}\n"
    )


def test_without_the_server_the_help_says_what_its_commands_need(
    alone: Path, tmp_path: Path
) -> None:
    shown = " ".join(ended(alone, tmp_path, "runqueue", "--help").stdout.split())

    assert all(f" {command} " in shown for command in COMMANDS)
    assert ended(alone, tmp_path, "runqueue", "submit", "--help").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ("runqueue", "worker"),
        ("python", "-m", "gateway"),
        ("python", "-m", "worker"),
        ("python", "-m", "celery", "-A", "worker.app", "worker"),
    ],
    ids=" ".join,
)
def test_two_versions_end_every_process_with_what_to_install(
    unequal: Path, tmp_path: Path, command: Sequence[str]
) -> None:
    done = ended(unequal, tmp_path, *command)

    assert done.returncode in {1, 2}
    assert done.stdout == ""
    assert done.stderr == (
        f"runqueue: runqueue-server {OTHER} works with runqueue {OTHER} only, and runqueue"
        f" {VERSION} is installed: {INSTALL}\n"
    )
