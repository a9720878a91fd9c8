"""Starting a primary, its replica and the sentinels that watch them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import redis

from lab.valkeys import Valkey, free_port
from lab.waiting import until

#: What the sentinels call the primary.
NAME = "queue"
#: A primary that is silent for so long is taken for dead.
DOWN_MS = 1000


@dataclass(slots=True)
class SentinelServers:
    """A primary, its replica and three sentinels."""

    primary: Valkey
    replica: Valkey
    sentinels: list[Valkey] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What RUNQUEUE_REDIS_URL says."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{NAME}/0"

    def replicated(self) -> None:
        """Wait until the replica has what the primary has."""
        self.primary.ask("WAIT", 1, 5000)

    def give_up(self, seconds: float = 30) -> Callable[[], bool]:
        """Return what says that this is taking too long."""
        deadline = time.monotonic() + seconds
        return lambda: time.monotonic() > deadline


@contextmanager
def sentinel_servers(folder: Path) -> Iterator[SentinelServers]:
    """Start them all and wait until the sentinels know of the replica and of each other."""
    quick = {"repl-diskless-sync-delay": 0, "save": ""}
    primary = Valkey(folder / "primary", free_port(), quick)
    behind = {**quick, "replicaof": ("127.0.0.1", primary.port)}
    made = SentinelServers(primary, Valkey(folder / "replica", free_port(), behind))
    for number in range(3):
        made.sentinels.append(_sentinel(folder / f"sentinel-{number}", primary.port))
    every = [made.primary, made.replica, *made.sentinels]
    try:
        for server in (made.primary, made.replica):
            server.launch()
        until(made.replica.answers, 20, "the replica to start")
        # A sentinel asks for replicas every ten seconds: it finds one that is there at once.
        until(made.replica.is_linked, 20, "the replica to follow")
        for server in made.sentinels:
            server.launch()
        until(lambda: all(server.answers() for server in every), 20, "the sentinels to start")
        until(lambda: all(map(_knows_all, made.sentinels)), 90, "the sentinels to know all")
        yield made
    finally:
        for server in every:
            server.kill()


def _sentinel(folder: Path, port: int) -> Valkey:
    folder.mkdir(parents=True)
    (folder / "sentinel.conf").write_text(
        f"sentinel monitor {NAME} 127.0.0.1 {port} 2\n"
        f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\n"
        f"sentinel failover-timeout {NAME} 5000\n"
    )
    return Valkey(folder, free_port(), words=(str(folder / "sentinel.conf"), "--sentinel"))


def _knows_all(sentinel: Valkey) -> bool:
    with redis.Redis(port=sentinel.port, socket_timeout=5) as client:
        master = cast(dict[str, Any], client.sentinel_masters())[NAME]
    return bool(master["num-slaves"] == 1 and master["num-other-sentinels"] == 2)
