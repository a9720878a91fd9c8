"""Checking bodies in processes of their own; bearers take turns.

`check_server.py` describes such a process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Final

import structlog

from gateway.checks.messages import Begin, CheckBudget, CheckStep, CheckWork, Findings, Order
from gateway.tenants.sources import Sources
from gateway.tenants.turns import Turns
from runqueue.producer.chunks import Packet
from runqueue.request.private_targets import allows_private_targets
from runqueue.request.request_checks import current_checks

log = structlog.get_logger()

#: Where Linux says how many microseconds of CPU time a container may take, and in how many.
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return how many cores this process may keep busy.

    Args:
        quota: where the system says how much CPU time its container may take (cgroup v2).
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # there is no container, or no limit ("max")
        allowed, period = map(int, quota.read_text().split())
        cores = min(cores, -(-allowed // period))
    return cores


#: Steps of checks that are under way at a time; one name has half of them, so on two cores one is
#: left to the gateway, to Redis and to others.
AT_ONCE: Final = max(2, min(4, usable_cores()))
#: Checks at a time of bodies that have arrived whole: each has a process. Uploads have a limit of
#: their own (`shares.UPLOADS`), since theirs may last an hour.
MAX_CHECKS: Final = 16
#: Characters of a line of their output that are logged.
_LONGEST_LINE: Final = 1_000


class SenderGone(Exception):  # noqa: N818 - what it says is in its name
    """The sender of a body waits for no answer any more."""


class CheckLost(Exception):  # noqa: N818 - likewise
    """A check's process was ended, by the system or a user."""


class CheckServer:
    """The process that makes check processes; started when it is first needed, or again.

    Its methods may be called by any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, unless it runs; it is ready some tenths of a second later."""
        with self._lock:
            self._start()

    def fork(self) -> socket.socket:
        """Make a check process, and return the socket that it serves; it ends with that."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                socket.send_fds(self._start(), [b"+"], [theirs.fileno()])
            except OSError:
                log.warning("check_server_lost")
                self._end()
                socket.send_fds(self._start(), [b"+"], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End it; check processes that are at work end by themselves."""
        with self._lock:
            self._end()

    def _start(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
                    # Like the processes of `runqueue` it looks for no modules where it works.
                    [sys.executable, "-P", "-m", "gateway.check_server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                    text=True,
                    errors="replace",
                )
            threading.Thread(
                target=_log_lines, args=(self._process.stderr,), name="check-log", daemon=True
            ).start()
            self._control = ours
        return self._control

    def _end(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()
            self._control = self._process = None


def _log_lines(stream: IO[str]) -> None:
    """Log what the server and the check processes write, until the last of them has ended.

    They do not log themselves: that would cost each the memory of a logger. Of a flood of lines the
    first are logged, then one now and then with the number of those left out.
    """
    sources = Sources()
    with stream:
        for line in iter(partial(stream.readline, _LONGEST_LINE), ""):
            words = line.strip()
            if words and (more := sources.count("").unlogged) is not None:
                log.warning("check_process_wrote", words=words, more=more)


#: One serves every gateway of this process.
SERVER: Final = CheckServer()
atexit.register(SERVER.close)


class CheckProcesses:
    """Checks bodies in processes of their own.

    Args:
        budget: the CPU time that each may take.
    """

    def __init__(self, budget: CheckBudget | None = None) -> None:
        self.budget = budget or CheckBudget()
        #: Checks that have begun and are not over.
        self.under_way = 0
        #: Limits the processes of bodies that have arrived whole.
        self.turns = Turns(MAX_CHECKS)
        self._turns = Turns(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check")

    @asynccontextmanager
    async def check(
        self, work: CheckWork, bearer: str, is_gone: Callable[[], bool]
    ) -> AsyncIterator[BodyCheck]:
        """Check one body; its process ends with the block.

        Args:
            work: how to check it.
            bearer: whose turn its steps take.
            is_gone: says whether the sender has gone.
        """
        begin = Begin(work, self.budget, current_checks(), allows_private_targets())
        made = BodyCheck(begin, self._turns, self._threads, bearer, is_gone)
        self.under_way += 1
        try:
            yield made
        finally:
            self.under_way -= 1
            made.close()

    def close(self) -> None:
        """Begin no step any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class BodyCheck:
    """One body under check; `feed` for each part, then `end`.

    Raises (from both): `SenderGone`, `CheckLost`, and what `check_messages.Check` raises.
    """

    def __init__(
        self,
        begin: Begin,
        turns: Turns,
        threads: ThreadPoolExecutor,
        bearer: str,
        is_gone: Callable[[], bool],
    ) -> None:
        #: The faults so far.
        self.findings = Findings()
        self._begin = begin
        self._turns = turns
        self._threads = threads
        self._bearer = bearer
        self._is_gone = is_gone
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None

    def feed(self, part: bytes) -> AsyncIterator[Packet]:
        """Add a part of the body, and yield packets of jobs that are ready."""
        return self._follow(Order.FEED, part)

    def end(self) -> AsyncIterator[Packet]:
        """Yield the last packets once the body has ended."""
        return self._follow(Order.END, b"")

    def close(self) -> None:
        """End its process."""
        if self._socket is not None and self._connection is not None:
            self._socket.close()
            self._connection.close()

    async def _follow(self, order: Order, part: bytes) -> AsyncIterator[Packet]:
        while True:
            step = await self._step(order, part)
            if step.error is not None:
                raise step.error
            if step.packet is not None:
                yield step.packet
            if step.findings is not None:
                self.findings = step.findings
                return
            order, part = Order.GO_ON, b""

    async def _step(self, order: Order, part: bytes) -> CheckStep:
        async with self._turns.of(self._bearer):
            if self._is_gone():
                raise SenderGone
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, self._exchange, order, part)
            try:
                return await asyncio.shield(running)
            finally:
                if not running.done():
                    self._interrupt()
                    await asyncio.wait([running])
                    running.cancelled() or running.exception()

    def _exchange(self, order: Order, part: bytes) -> CheckStep:
        """Run a step; in a thread, since it waits."""
        try:
            if self._connection is None:
                self._socket = SERVER.fork()
                self._connection = Connection(self._socket.dup().detach())
                self._connection.send(self._begin)
            self._connection.send((order, part))
            answer: CheckStep = self._connection.recv()
        except (EOFError, OSError, UnpicklingError):
            raise CheckLost from None
        return answer

    def _interrupt(self) -> None:
        """End the step under way at once."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
