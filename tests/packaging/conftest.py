"""What is built and installed of this repository, once for all processes of the tests."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hatch_version import RELEASE

ROOT = Path(__file__).parents[2]
SERVER: dict[str, Any] = tomllib.loads((ROOT / "runqueue-server/pyproject.toml").read_text())
#: Of what is built of a copy, which has no git.
VERSION = f"{RELEASE}.dev0"
#: The packages of runqueue-server.
PACKAGES: list[str] = SERVER["tool"]["hatch"]["build"]["hooks"]["custom"]["packages"]
#: The folder of each distribution.
PROJECTS = {"runqueue": ".", "runqueue_server": "runqueue-server"}

#: Made once for all processes: its name, and what fills a folder of that name.
Once = Callable[[str, Callable[[Path], None]], Path]


def run(*command: str | Path, seconds: float = 100, **options: Any) -> str:
    """Run a command that has to succeed, and return what it wrote to stdout."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder in the first process that asks for it; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}-done"
        with (shared / f"{name}-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


def copy_source(to: Path) -> None:
    """Copy what the two distributions are built of."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("runqueue", "runqueue-server", *PACKAGES):
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    for name in ("pyproject.toml", "hatch_version.py", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, to)


def build(source: Path, to: Path, *targets: str) -> None:
    """Build without a network: the targets, or else an sdist and a wheel of the sdist."""
    command = [sys.executable, "-m", "build", "--no-isolation", *targets]
    run(*command, "--outdir", to, source)


@dataclass(frozen=True, slots=True)
class Built:
    """The distributions, built of a copy of the tree.

    Args:
        folder: has two folders, `direct` (wheels of the tree) and `packed` (sdists, and wheels of
            these).
    """

    folder: Path

    def wheel(self, name: str, how: str = "direct") -> Path:
        """Return the wheel of a distribution."""
        (found,) = (self.folder / how).glob(f"{name}-*.whl")
        return found

    def sdist(self, name: str) -> Path:
        """Return the sdist of a distribution."""
        (found,) = (self.folder / "packed").glob(f"{name}-*.tar.gz")
        return found


@pytest.fixture(scope="session")
def built(once: Once) -> Built:
    """Both distributions, each way."""

    def fill(folder: Path) -> None:
        copy_source(folder / "source")
        for path in PROJECTS.values():
            build(folder / "source" / path, folder / "direct", "--wheel")
            build(folder / "source" / path, folder / "packed")

    return Built(once("built", fill))


@pytest.fixture(scope="session")
def wheel(built: Built) -> zipfile.ZipFile:
    """The wheel of runqueue."""
    return zipfile.ZipFile(built.wheel("runqueue"))


@pytest.fixture(scope="session")
def server_wheel(built: Built) -> zipfile.ZipFile:
    """The wheel of runqueue-server."""
    return zipfile.ZipFile(built.wheel("runqueue_server"))


def make_environment(folder: Path, *wheels: Path) -> None:
    """Install wheels into a new environment, without a network.

    What they depend on are links into our own environment, where runqueue is the tree itself.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix != ".pth" and not path.name.startswith(("runqueue", "__pycache__")):
            (packages / path.name).symlink_to(path)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--quiet"]
    run(*pip, "install", "--no-index", "--no-deps", *wheels)


@pytest.fixture(scope="session")
def programs(once: Once, built: Built) -> Path:
    """The programs of an environment that has both wheels."""

    def fill(folder: Path) -> None:
        make_environment(folder, *(built.wheel(name) for name in PROJECTS))

    return once("installed", fill) / "bin"


def clean(programs: Path, **given: str) -> dict[str, str]:
    """Return an environment without settings, and with these programs before all others."""
    ours = ("RUNQUEUE_", "SKYVERN_", "PYTHON", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PATH": f"{programs}:{os.environ['PATH']}", **given}
