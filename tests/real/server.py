"""A real Skyvern server for tests: installed from PyPI, started on loopback, stopped without rest.

Skyvern is AGPL: it runs as a process of its own, in an environment of its own; nothing of it is
imported here. It works on SQLite, its model is `stub_model.py`, and it needs no other service.
Each start has a fresh folder for its state and free ports.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.valkeys import free_port
from runqueue.embedded.parent_death import ending_with_parent

#: The version that is installed unless SKYVERN_VERSION names another.
DEFAULT_VERSION = "1.0.56"
#: Where environments are kept between runs (about 1.6 GB each); ignored by git.
HOME = Path(__file__).parents[2] / ".real"
#: The playwright that a wheel of Skyvern pins for Python 3.11 (1.46) hangs with today's Chromium of
#: Debian; these two drive it. pip warns of the pins, and installs them.
BROWSER_PINS = {"playwright": "1.65.2", "greenlet": "3.5.6"}

#: Seconds for an installation, for a start (the first one makes the database), and for a stop in
#: peace (runs that are live hold it up).
INSTALL_SECONDS, START_SECONDS, STOP_SECONDS = 1800.0, 180.0, 10.0

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class ServerError(RuntimeError):
    """The server could not be installed or started; the message ends with its last words."""


@dataclass(slots=True)
class SkyvernServer:
    """A server of ours, and its model.

    Args:
        python: the interpreter of its environment.
        state: its folder: database, key, artifacts, logs.
        browsers: where its playwright finds browsers; None = it has none, and every task ends
            `failed` at once.
        settings: further settings of the server, by their names.
    """

    python: Path
    state: Path
    browsers: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    _model_port: int = 0
    _processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        """The key that it made for itself at its first start."""
        for line in (self.state / ".env").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "SKYVERN_API_KEY":
                return value.strip("'\"")
        raise ServerError("the server wrote no SKYVERN_API_KEY")

    @property
    def database(self) -> Path:
        """Its SQLite database."""
        return self.state / "skyvern.db"

    def start(self) -> None:
        """Start it, on the port that it had before if it had one, and wait until it answers.

        Raises:
            ServerError: it ended, or did not answer in time.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        if "model" not in self._processes:
            self._model_port = free_port()
            stub = Path(__file__).with_name("stub_model.py")
            self._launch("model", [sys.executable, str(stub), str(self._model_port)], {})
        self.port = self.port or free_port()
        uvicorn = "-m uvicorn skyvern.forge.api_app:create_api_app --factory --host 127.0.0.1"
        # A server that has runs to finish would wait for them for ever.
        options = f"--port {self.port} --loop asyncio --no-access-log --timeout-graceful-shutdown 5"
        command = [str(self.python), *uvicorn.split(), *options.split()]
        server = self._launch("server", command, self._environment())
        give_up = time.monotonic() + START_SECONDS
        while not self._answers():
            if server.poll() is not None or time.monotonic() > give_up:
                raise ServerError(f"no answer at {self.base_url}:\n{self.last_words()}")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill it with all its processes, as a machine that dies does; `start` has it again."""
        server = self._processes.pop("server")
        _signal_group(server, signal.SIGKILL)
        server.wait()

    def stop(self) -> None:
        """Stop it and its model, with everything that they started."""
        for process in reversed(self._processes.values()):
            _signal_group(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            # Browsers are of its group; they may outlive it.
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def last_words(self, lines: int = 25) -> str:
        """Return the end of its log."""
        log = self.state / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/api/v1/heartbeat", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _launch(
        self, name: str, command: list[str], environ: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Start a process in a group of its own, which ends with this one."""
        with (self.state / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ending_with_parent(command),
                cwd=self.state,
                env={"PATH": os.environ["PATH"], **environ},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._processes[name] = process
        return process

    def _environment(self) -> dict[str, str]:
        """Return the server's whole environment: nothing of ours, keys above all, is passed on."""
        state = self.state
        return {
            "ENV": "local",
            "HOME": str(state),
            "PORT": str(self.port),
            "LOG_LEVEL": "WARNING",
            "SKYVERN_TELEMETRY": "false",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # With the driver's own 5 s eight submissions at once meet "database is locked".
            "DATABASE_STRING": f"sqlite+aiosqlite:///{self.database}?timeout=60",
            "SECRET_KEY": "of-a-server-for-tests-on-loopback-alone-0123456789",
            # Its guard of inner networks would refuse loopback: newer versions have a switch, older
            # ones a list.
            "ENABLE_URL_VALIDATION": "false",
            "ALLOWED_HOSTS": json.dumps(["127.0.0.1", "localhost"]),
            "ARTIFACT_STORAGE_PATH": str(state / "artifacts"),
            "DOWNLOAD_PATH": str(state / "downloads"),
            "BROWSER_SESSION_BASE_PATH": str(state / "browser_sessions"),
            "WORKFLOW_SCHEDULE_POLL_INTERVAL_SECONDS": "5",  # the default is a minute
            "BROWSER_TYPE": "chromium-headless",
            "BROWSER_ADDITIONAL_ARGS": json.dumps(CHROMIUM_ARGUMENTS),
            **self._browser_environment(),
            "ENABLE_OPENAI_COMPATIBLE": "true",
            "OPENAI_COMPATIBLE_MODEL_NAME": "stub",
            "OPENAI_COMPATIBLE_API_KEY": "stub",
            "OPENAI_COMPATIBLE_API_BASE": f"http://127.0.0.1:{self._model_port}/v1",
            "LLM_KEY": "OPENAI_COMPATIBLE",
            **self.settings,
        }

    def _browser_environment(self) -> dict[str, str]:
        if self.browsers is not None:
            return {"PLAYWRIGHT_BROWSERS_PATH": str(self.browsers)}
        # A task that finds no browser leaves playwright's driver behind, a process of 60 MB: some
        # hundred tasks fill the machine. A driver that cannot start ends a task in the same way.
        return {"PLAYWRIGHT_NODEJS_PATH": shutil.which("false") or "/bin/false"}


def install(version: str) -> Path:
    """Install a version of Skyvern into its environment, if it is not there; return its Python.

    Args:
        version: a release on PyPI.

    Raises:
        ServerError: pip could not.
    """
    folder = HOME / version / "venv"
    python = folder / "bin" / "python"
    wanted = {"skyvern": version, **BROWSER_PINS}
    if _installed(python, wanted) == wanted:
        return python
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = [f"{name}=={pin}" for name, pin in BROWSER_PINS.items()]
    for packages in ([f"skyvern[server]=={version}"], pins):
        done = subprocess.run(
            [*pip, *packages], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if done.returncode:
            raise ServerError(f"pip install {packages}:\n{done.stderr[-2000:]}")
    if (found := _installed(python, wanted)) != wanted:
        raise ServerError(f"pip installed {found}, expected {wanted}")
    return python


def _installed(python: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that an environment holds of some packages; {} where it cannot be told.

    Both executables are looked at, too: pip may have been stopped half-way.
    """
    script = (
        "import json, sys, uvicorn; from importlib.metadata import version;"
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    if not python.exists():
        return {}
    told = subprocess.run(
        [str(python), "-c", script, *names], capture_output=True, text=True, check=False
    )
    return dict(json.loads(told.stdout)) if told.returncode == 0 else {}


def link_chromium(python: Path) -> Path:
    """Put the system's Chromium where a playwright looks for its own; return that folder.

    Args:
        python: the interpreter that has the playwright.

    Raises:
        ServerError: there is no Chromium.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise ServerError("BROWSER=1 needs a chromium on PATH (apt-get install chromium)")
    browsers = python.parents[2] / "browsers"
    told = subprocess.run(
        [str(python), "-m", "playwright", "install", "--dry-run", "chromium"],
        env={"PATH": os.environ["PATH"], "PLAYWRIGHT_BROWSERS_PATH": str(browsers)},
        capture_output=True,
        text=True,
        check=True,
    )
    for line in told.stdout.splitlines():
        _, _, place = line.partition("Install location:")
        if place:
            _fill(Path(place.strip()), chromium)
    return browsers


def _fill(folder: Path, chromium: str) -> None:
    """Fill a place where a playwright looks for something that it downloads."""
    name = folder.name.partition("-")[0]
    programs = {
        "chromium": "chrome-linux64/chrome",
        "chromium_headless_shell": "chrome-headless-shell-linux64/chrome-headless-shell",
    }
    if name in programs:
        program = folder / programs[name]
        program.parent.mkdir(parents=True, exist_ok=True)
        program.unlink(missing_ok=True)
        program.symlink_to(chromium)
    elif name == "ffmpeg":
        # It records videos, which nobody watches here.
        sink = folder / "ffmpeg-linux"
        folder.mkdir(parents=True, exist_ok=True)
        sink.write_text("#!/bin/sh\nexec cat >/dev/null\n")
        sink.chmod(0o755)


@contextmanager
def skyvern_server(
    folder: Path, version: str = DEFAULT_VERSION, *, browser: bool = False, **settings: str
) -> Iterator[SkyvernServer]:
    """Have a server, installed if need be, that is stopped at the end.

    Args:
        folder: for its state; new for each server.
        version: a release on PyPI.
        browser: whether it may use the system's Chromium.
        settings: further settings of the server.

    Raises:
        ServerError: it cannot be had.
    """
    python = install(version)
    browsers = link_chromium(python) if browser else None
    server = SkyvernServer(python, folder, browsers, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal a process and all that it started; none left is well."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def main() -> None:
    """Install the version that SKYVERN_VERSION names, unless SKYVERN_BASE_URL names a server."""
    if os.environ.get("SKYVERN_BASE_URL"):
        return
    start = time.monotonic()
    print(f"Skyvern is at {install(os.environ.get('SKYVERN_VERSION') or DEFAULT_VERSION)}")
    print(f"({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
