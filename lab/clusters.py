"""Starting a real cluster of Valkeys for tests, and moving what is in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from lab.valkeys import Valkey, free_port
from lab.waiting import until
from runqueue.store.keys import Keys

SLOTS = 16384
#: A node that is silent for so long is taken for dead, and its replica takes over.
NODE_TIMEOUT_MS = 1500
_OPTIONS = {
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "cluster-enabled": "yes",
    "cluster-node-timeout": NODE_TIMEOUT_MS,
    "repl-diskless-sync-delay": 0,
}
#: A bus has the port of its node and this.
_BUS = 10_000


class Node(Valkey):
    """One server of a cluster."""

    def is_own(self) -> bool:
        """Say whether it is what answers at its port."""
        pid = self.process.pid if self.process else 0
        return bool(self.ask("INFO", "server")["process_id"] == pid)

    @property
    def id(self) -> str:
        """Its name in the cluster."""
        return str(self.ask("CLUSTER MYID").decode())


@dataclass(slots=True)
class Cluster:
    """Primaries, each with a third of the slots, and their replicas behind them."""

    nodes: list[Node] = field(default_factory=list)
    primaries: int = 3

    @property
    def url(self) -> str:
        """What RUNQUEUE_REDIS_URL says."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[: self.primaries])
        return f"redis+cluster://{hosts}"

    def owner(self, account: str) -> Node:
        """Return the node that has the keys of an account now."""
        slot = slot_of(account)
        asked = next(node for node in self.nodes if node.answers())
        with redis.RedisCluster("127.0.0.1", asked.port) as client:
            found = client.nodes_manager.get_node_from_slot(slot)
            assert found is not None
            return next(node for node in self.nodes if node.port == found.port)

    def is_well(self) -> bool:
        """Say whether every node that runs knows that every slot has an owner."""
        infos = [node.ask("CLUSTER INFO") for node in self.nodes if node.answers()]
        known = str(len(self.nodes))
        return all(
            info["cluster_state"] == "ok" and info["cluster_known_nodes"] == known for info in infos
        )

    def move(self, account: str, target: Node) -> None:
        """Move an account's slot to another node, as a whole."""
        slot, source = slot_of(account), self.owner(account)
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        until(lambda: self.owner(account) is target, 30, "the slot to move")

    def flush(self) -> None:
        """Empty every primary."""
        for node in self.nodes:
            if node.ask("ROLE")[0] == b"master":
                node.ask("FLUSHALL")


def line(account: str, key: str, **options: Any) -> dict[str, Any]:
    """Return a line of a batch file."""
    body = {"prompt": "Read it."}
    return {"custom_id": key, "account": account, "kind": "task", "body": body, **options}


def slot_of(account: str) -> int:
    """Return the slot of an account's keys."""
    return int(key_slot(Keys(account).meta.encode()))


def accounts_on_each(primaries: int = 3) -> list[str]:
    """Return names of accounts, one for each primary of a new cluster."""
    found: dict[int, str] = {}
    for number in range(1000):
        name = f"shop{number}"
        found.setdefault(slot_of(name) * primaries // SLOTS, name)
    return [found[number] for number in range(primaries)]


@contextmanager
def cluster(folder: Path, *, primaries: int = 3, replicas: bool = False) -> Iterator[Cluster]:
    """Start a cluster and wait until all of it is there.

    Args:
        folder: where its files go.
        primaries: how many share the slots.
        replicas: whether each has a replica.
    """
    count = primaries * (2 if replicas else 1)
    made = Cluster(
        [Node(folder / str(number), _port(), _OPTIONS) for number in range(count)], primaries
    )
    try:
        for node in made.nodes:
            node.launch()
        until(lambda: all(map(_is_up, made.nodes)), 20, "the nodes to start")
        _join(made)
        yield made
    finally:
        for node in made.nodes:
            node.kill()


def _join(made: Cluster) -> None:
    first, *others = made.nodes
    for number, node in enumerate(made.nodes[: made.primaries]):
        start, end = (SLOTS * part // made.primaries for part in (number, number + 1))
        node.ask("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
    for number, node in enumerate(made.nodes, start=1):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
    for node in others:
        first.ask("CLUSTER", "MEET", "127.0.0.1", node.port)
    until(made.is_well, 30, "the cluster to know all of its nodes")
    for number, node in enumerate(made.nodes[made.primaries :]):
        node.ask("CLUSTER", "REPLICATE", made.nodes[number].id)
    until(
        lambda: all(node.is_linked() for node in made.nodes[made.primaries :]),
        30,
        "the replicas to follow",
    )


def _is_up(node: Node) -> bool:
    """Say whether a new node takes commands; one whose ports were taken meanwhile gets others."""
    if node.process is not None and node.process.poll() is not None:
        node.port = _port()
        node.launch()
    return node.answers() and node.is_own()


def _port() -> int:
    while (port := free_port()) + _BUS >= 65_536:
        pass
    return port
