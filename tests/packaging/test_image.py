"""The image's install steps, run from a wheelhouse, and the image's commands in what they make.

No image is built: the interpreter is this machine's.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.deploy.test_compose import SERVICES
from tests.packaging.conftest import ROOT, Once, clean, run
from tests.packaging.test_installed import read_to, running
from tests.worker.working import closed_port

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(600)]

LOCKS = ("deploy/image/requirements.lock", "deploy/image/build.lock")
_IS_NEW = "import sys; sys.exit(sys.version_info < (3, 13))"


def new_python() -> str:
    """An interpreter as the image has one: 3.13 or later, with pip."""
    for name in ("python3.13", "python3.14", "python3"):
        found = shutil.which(name)
        if found and all(
            subprocess.run([found, *what], capture_output=True, check=False).returncode == 0
            for what in (("-c", _IS_NEW), ("-m", "pip", "--version"))
        ):
            return found
    pytest.skip("needs Python 3.13 or later with pip")


@pytest.fixture(scope="session")
def wheelhouse(once: Once) -> Path:
    """The files that the locks name, for an interpreter such as the image's."""
    python = new_python()

    def fill(folder: Path) -> None:
        pip: list[str | Path] = [python, "-m", "pip", "download", "--quiet"]
        pip.append("--only-binary=:all:")
        probe = [*pip, "--no-deps", "--dest", folder / "probe", "hatchling"]
        if subprocess.run(probe, capture_output=True, timeout=300, check=False).returncode:
            pytest.skip("no package index can be reached")
        for lock in LOCKS:
            command = [*pip, "--require-hashes", "--requirement", ROOT / lock]
            run(*command, "--dest", folder / "wheels", seconds=500)

    return once("wheelhouse", fill) / "wheels"


def copy_context(to: Path) -> None:
    """Copy what the image is built of: what .dockerignore lets through."""
    to.mkdir()
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        if name.endswith("/"):
            shutil.copytree(ROOT / name, to / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, to)


def install(
    step: str, target: Path, wheelhouse: Path, source: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Run one of the steps; nothing comes from anywhere but the wheelhouse."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [source / "deploy/image/install.sh", step, target],
        env={
            **environ,
            "PYTHON": new_python(),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheelhouse),
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.fixture(scope="session")
def image(once: Once, wheelhouse: Path) -> Iterator[Path]:
    """What the image has in /opt/runqueue: where other users may read it, for all processes."""

    def fill(folder: Path) -> None:
        made = Path(tempfile.mkdtemp(prefix="runqueue-image-"))
        (folder / "path").symlink_to(made)
        copy_context(folder / "context")
        made.chmod(0o755)
        for step in ("dependencies", "packages"):
            done = install(step, made / "runqueue", wheelhouse, folder / "context")
            assert done.returncode == 0, done.stdout + done.stderr

    with (once("image-users", lambda _: None) / "lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        folder = once("image", fill)
        made = (folder / "path").readlink()
        yield made / "runqueue"
        with suppress(BlockingIOError):  # others use it still
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.with_name("image-done").unlink()
            shutil.rmtree(made)


@pytest.fixture
def home() -> Iterator[Path]:
    """The image's working directory, which belongs to root, with the folder that its user has."""
    with tempfile.TemporaryDirectory(prefix="runqueue-home-") as made:
        Path(made).chmod(0o755)
        own = Path(made) / ".runqueue"
        own.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(own, UID, UID)
        yield Path(made)


#: The image's user, as the Kubernetes manifests name it.
UID: int = next(
    found["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    for found in yaml.safe_load_all((ROOT / "deploy/kubernetes/runqueue.yaml").read_text())
    if found["kind"] == "Deployment"
)


#: Whom we may make a process of the image run as.
ITS_USER = UID if os.geteuid() == 0 else None


def test_it_has_both_distributions_and_the_extras_and_no_tool_that_installs(image: Path) -> None:
    code = "import opentelemetry.sdk, pyarrow, runqueue, worker.runtime; print(worker.__file__)"
    where = run(image / "bin/python", "-P", "-c", code, env=clean(image / "bin"))

    assert Path(where.strip()).is_relative_to(image)
    names = {path.name.partition("-")[0] for path in image.rglob("*.dist-info")}
    assert {"runqueue", "runqueue_server"} <= names
    assert not names & {"pip", "hatchling", "pytest"}


def test_a_file_that_is_not_the_one_of_the_lock_is_not_installed(
    wheelhouse: Path, tmp_path: Path
) -> None:
    other = tmp_path / "wheels"
    other.mkdir()
    for path in wheelhouse.iterdir():
        (other / path.name).symlink_to(path)
    (changed,) = other.glob("vine-*")
    content = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(content + b"\0")

    done = install("dependencies", tmp_path / "target", other)

    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stdout + done.stderr
    assert not [*(tmp_path / "target").rglob("vine*")]


@pytest.mark.parametrize(
    "command",
    [
        SERVICES[name].get("command", ["runqueue", "worker"])
        for name in ("worker", "gateway", "simulator")
    ],
    ids=" ".join,
)
def test_a_command_of_the_compose_file_is_there_for_the_image_s_user(
    image: Path, home: Path, command: list[str]
) -> None:
    with running(image / "bin", home, [*command, "--help"], {}, ITS_USER) as process:
        shown, _ = process.communicate(timeout=60)

    assert process.returncode == 0, shown
    assert "usage:" in shown.lower()


def test_its_worker_and_gateway_run_as_its_user_and_write_nothing_but_their_token(
    image: Path, home: Path, redis_url: str
) -> None:
    programs, port = image / "bin", str(closed_port())
    settings = {
        "SKYVERN_API_KEY": "simulator-key",
        "SKYVERN_BASE_URL": f"http://127.0.0.1:{closed_port()}",
        "RUNQUEUE_REDIS_URL": redis_url,
        "RUNQUEUE_GATEWAY_PORT": port,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{closed_port()}",
    }
    with (
        running(programs, home, ["runqueue", "worker"], settings, ITS_USER) as worker,
        running(programs, home, ["runqueue", "gateway"], settings, ITS_USER) as gateway,
    ):
        assert read_to(gateway, "gateway: ") == f"gateway: http://127.0.0.1:{port}\n"
        read_to(worker, "worker_ready")
        for process in (worker, gateway):
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=90) == 0

    written = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert written == {".runqueue/.gitignore", ".runqueue/token"}
