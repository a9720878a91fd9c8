"""Child processes: started, watched and ended together.

Each child has a session of its own, so that a terminal's Ctrl-C reaches the parent alone, which
then ends the children in order; and each ends with the parent
(`runqueue/embedded/parent_death.py`).
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

import typer

from launcher.processes import module_command
from runqueue.embedded.parent_death import ending_with_parent
from runqueue.embedded.secret_files import make_folder
from runqueue.embedded.server import running_url

#: Seconds between two checks of the children.
_CHECK_SECONDS = 0.2
#: Seconds before a child that died is started again: the first time, and the most.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 30.0
#: A child that lived so many seconds starts again as if for the first time.
_STEADY_SECONDS = 60.0


class StackError(Exception):
    """A child did not start, or died."""


@dataclass(slots=True)
class Child:
    """One process of the stack.

    Args:
        name: its name in messages.
        command: the command line.
        environ: its environment.
        cwd: its working directory.
        log: the file of its stdout and stderr; None = the parent's.
        stop_seconds: how long it may take to end after SIGTERM.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path | None = None
    log: Path | None = None
    stop_seconds: float = 10.0
    process: subprocess.Popen[str] | None = None
    backoff: float = _FIRST_BACKOFF
    started: float = 0.0

    def start(self, *, announces: bool = False) -> str:
        """Start it; with `announces` wait for its first line of output and return that.

        Raises:
            StackError: it ended instead.
        """
        errors = self.log.open("ab") if self.log else None
        output: int | IO[bytes] | None = subprocess.PIPE if announces else errors
        try:
            self.process = subprocess.Popen(  # noqa: S603 - every command is made here
                ending_with_parent(self.command),
                env=dict(self.environ),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        finally:
            if errors:
                errors.close()
        self.started = time.monotonic()
        if not announces or self.process.stdout is None:
            return ""
        line = self.process.stdout.readline().strip()
        if not line:
            raise StackError(f"{self.name} did not start{self.tail()}")
        return line

    def ended(self) -> int | None:
        """Return how it ended; None while it runs."""
        return None if self.process is None else self.process.poll()

    def terminate(self) -> None:
        """Send SIGTERM, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait_for_end(self) -> None:
        """Wait until it has ended; kill it and its children when it takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def tail(self) -> str:
        """Return the last lines of its log, to append to a message."""
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "".join(f"\n  {self.name} | {line}" for line in lines)


@dataclass(slots=True)
class Stack:
    """Children that end together, the first started last; notes SIGTERM and Ctrl-C."""

    children: list[Child] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        # All others need the first one, the server.
        for some in (self.children[1:], self.children[:1]):
            for child in some:
                child.terminate()
            for child in some:
                child.wait_for_end()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self, child: Child, *, announces: bool = False) -> str:
        """Start a child; see `Child.start`."""
        self.children.append(child)
        return child.start(announces=announces)

    def watch(self, until: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Wait until a condition holds; False = a signal came, or time is up.

        Raises:
            StackError: a child died.
        """
        deadline = time.monotonic() + seconds
        while not until():
            for child in self.children:
                if child.ended() is not None:
                    raise StackError(f"{child.name} ended ({child.ended()}){child.tail()}")
            if self.ending.wait(_CHECK_SECONDS) or time.monotonic() > deadline:
                return False
        return True

    def keep(self, say: Callable[[str], None]) -> None:
        """Keep the children alive until a signal comes: one that dies is started again."""
        due: dict[str, float] = {}
        while not self.ending.wait(_CHECK_SECONDS):
            for child in self.children:
                if child.ended() is None:
                    continue
                now = time.monotonic()
                if child.name not in due:
                    if now - child.started > _STEADY_SECONDS:
                        child.backoff = _FIRST_BACKOFF
                    due[child.name] = now + child.backoff
                    say(f"{child.name} ended ({child.ended()}); again in {child.backoff:g} s")
                elif now >= due[child.name]:
                    del due[child.name]
                    child.backoff = min(child.backoff * 2, _LONGEST_BACKOFF)
                    child.start()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.ending.set()


def is_free(port: int) -> bool:
    """Return whether nothing listens at a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def archive_in(folder: Path) -> str:
    """Return the URL of the archive in a folder, which is made if it is not there.

    Raises:
        StackError: it cannot be made.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise StackError(f"{folder}: {error.strerror}: set RUNQUEUE_ARCHIVE_URL") from None
    return f"sqlite:///{folder.resolve() / 'archive.sqlite'}"


def start_server(
    stack: Stack, directory: Path, environ: Mapping[str, str], log: Path | None = None
) -> str:
    """Start the embedded server; returns its URL, with its password.

    Args:
        stack: ends it.
        directory: where its data is.
        environ: its environment.
        log: the file of its output.

    Raises:
        StackError: it did not start.
    """
    command = module_command("runqueue.cli", "server", "--dir", str(directory))
    stack.start(Child("server", command, environ, log=log), announces=True)
    url = running_url(directory)
    if url is None:
        raise StackError("server ended")
    return url


def gateway(environ: Mapping[str, str], *, stop_seconds: float, cwd: Path | None = None) -> Child:
    """The gateway; it announces its address.

    Args:
        environ: its settings.
        stop_seconds: how long it may take to end.
        cwd: its working directory, whose `.env` it reads.
    """
    return Child("gateway", module_command("gateway"), environ, cwd=cwd, stop_seconds=stop_seconds)


def start_workers(
    stack: Stack,
    count: int,
    environ: Mapping[str, str],
    *,
    metrics_port: int,
    stop_seconds: float,
    cwd: Path,
    logs: Path | None = None,
) -> None:
    """Start worker processes, and print where their metrics are.

    Args:
        stack: ends them.
        count: how many.
        environ: their settings.
        metrics_port: the first port to try; 0 = no metrics.
        stop_seconds: how long one may take to end.
        cwd: their working directory, whose `.env` they read.
        logs: the directory of their log files; None = they log where the parent does.
    """
    for number in range(1, count + 1):
        child = Child(
            f"worker {number}",
            module_command("worker", "--hostname", f"{number}-{os.getpid()}@%h"),
            {**environ, "RUNQUEUE_METRICS_PORT": str(metrics_port)},
            cwd=cwd,
            log=logs / f"worker-{number}.log" if logs else None,
            stop_seconds=stop_seconds,
        )
        stack.start(child)
    if metrics_port:
        url = f"http://127.0.0.1:{metrics_port}/metrics"
        typer.echo(f"metrics: {url} (each worker takes the next free port), {url}/queue")
