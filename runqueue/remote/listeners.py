"""The users whose sockets get what is sent to a port of this machine, as Linux reports them.

While a server is away any user of the machine may listen at its port, and receive what was meant
for the server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

#: The sockets of the machine (proc(5)).
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED, _LISTENING = "01", "0A"


class _Socket(NamedTuple):
    """A socket at a port.

    Args:
        peer: the port that it is connected to; 0 = it listens.
        uid: the user who made it.
    """

    address: IPv4Address | IPv6Address
    peer: int
    uid: int


def users_of(address: str, port: int, peer: int = 0) -> set[int]:
    """Return the users whose sockets get what is sent to an address; empty where it is not known.

    A user whose process accepted a connection may have stopped listening since; it counts as well.

    Args:
        address: an IP address of this machine.
        port: the port.
        peer: the port of a connection to it; 0 = there is none.
    """
    wanted = _plain(ip_address(address))
    found = [one for table in _TABLES for one in _sockets(table, port)]
    exact = {one.uid for one in found if one.address == wanted and one.peer in {0, peer}}
    return exact or {one.uid for one in found if one.address.is_unspecified}


def _sockets(table: Path, port: int) -> Iterator[_Socket]:
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return  # no Linux, or not for us to read
    for line in lines:
        fields = line.split()
        address, _, number = fields[1].partition(":")
        if fields[3] in {_ESTABLISHED, _LISTENING} and int(number, 16) == port:
            peer = int(fields[2].partition(":")[2], 16)
            yield _Socket(_address(address), peer, int(fields[7]))


def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an address, whose words of four bytes are in the machine's order."""
    raw = bytes.fromhex(text)
    words = (raw[start : start + 4] for start in range(0, len(raw), 4))
    step = -1 if sys.byteorder == "little" else 1
    return _plain(ip_address(b"".join(word[::step] for word in words)))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
