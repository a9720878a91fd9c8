"""Hosts of their own on one machine: network namespaces, joined by a bridge that can be cut.

Every address is within the namespaces that are made here, and goes with them.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_SUBNET = "10.211.7"
#: The hub's second address.
OTHER = f"{_SUBNET}.100"
_NOBODY = "02:00:00:00:00:99"


@dataclass(slots=True)
class Host:
    """One namespace.

    Args:
        name: the namespace's.
        address: its own.
        port: the bridge's end of its cable.
    """

    name: str
    address: str
    port: str

    @property
    def prefix(self) -> list[str]:
        """What has a command run on this host."""
        return ["ip", "netns", "exec", self.name]


@dataclass(slots=True)
class Network:
    """A hub, where this process may go, and hosts around it."""

    hub: Host
    hosts: list[Host] = field(default_factory=list)

    def cut(self, host: Host) -> None:
        """Pull a host's cable: nothing arrives, and nobody is told."""
        _ip("-n", self.hub.name, "link", "set", host.port, "down")

    def lose(self, host: Host) -> None:
        """Have what a host sends to the hub's other address get lost, and nobody told."""
        _ip(
            "-n", host.name, "neigh", "replace", *self._other, "lladdr", _NOBODY, "nud", "permanent"
        )

    def find(self, host: Host) -> None:
        """Have it arrive again."""
        _ip("-n", host.name, "neigh", "del", *self._other)

    @property
    def _other(self) -> tuple[str, ...]:
        return (OTHER, "dev", "rq0")

    def heal(self, host: Host) -> None:
        """Plug it in again."""
        _ip("-n", self.hub.name, "link", "set", host.port, "up")


def refusal() -> str:
    """Return why there can be no hosts here; '' if there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no `ip` (apt-get install iproute2)"
    name = f"rq{os.getpid()}-try"
    made = _try("netns", "add", name)
    if made:
        return made
    try:
        return _try("-n", name, "link", "add", "rq0", "type", "bridge") or _try(
            "-n", name, "link", "add", "rq1", "type", "veth", "peer", "name", "rq2"
        )
    finally:
        _try("netns", "del", name)


@contextmanager
def network(count: int) -> Iterator[Network]:
    """Make a hub and so many hosts."""
    start = f"rq{os.getpid()}"
    made = Network(Host(f"{start}-hub", f"{_SUBNET}.1", ""))
    names = [made.hub.name]
    try:
        _ip("netns", "add", made.hub.name)
        _hub(made.hub)
        for number in range(2, count + 2):
            host = Host(f"{start}-{number}", f"{_SUBNET}.{number}", f"port{number}")
            names.append(host.name)
            _ip("netns", "add", host.name)
            _join(made.hub, host)
            made.hosts.append(host)
        yield made
    finally:
        for name in names:
            _try("netns", "del", name)


def _hub(hub: Host) -> None:
    within = ("-n", hub.name)
    _ip(*within, "link", "set", "lo", "up")
    _ip(*within, "link", "add", "rq0", "type", "bridge")
    _ip(*within, "addr", "add", f"{hub.address}/24", "dev", "rq0")
    _ip(*within, "addr", "add", f"{OTHER}/24", "dev", "rq0")
    _ip(*within, "link", "set", "rq0", "up")


def _join(hub: Host, host: Host) -> None:
    within = ("-n", hub.name)
    peer = ("peer", "name", "rq0", "netns", host.name)
    _ip(*within, "link", "add", host.port, "type", "veth", *peer)
    _ip(*within, "link", "set", host.port, "master", "rq0", "up")
    _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "rq0")
    for device in ("lo", "rq0"):
        _ip("-n", host.name, "link", "set", device, "up")


@contextmanager
def within(host: Host) -> Iterator[None]:
    """Have this thread, and what it starts and opens meanwhile, on a host."""
    there_too = Path("/run/netns", host.name)
    with Path("/proc/self/ns/net").open() as home, there_too.open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns was refused")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _try(*words: str) -> str:
    """Return what a call of `ip` that failed said, with the call; '' if it did not fail."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    said = done.stderr.strip() or f"it ended with {done.returncode}"
    return f"`ip {' '.join(words)}` was refused: {said}" if done.returncode else ""
