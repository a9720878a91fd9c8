"""What happens to the bytes of one direction of a connection."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from faults.traps import Direction, Trap

Cut = Literal["fin", "rst"]

#: An RST is what a socket that lingers for no time sends.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Way:
    """One direction, and what is done to it.

    Args:
        latency: seconds before each piece is passed on.
        rate: bytes a second; None = as they come.
        swallow: bytes are read and go nowhere.
        cut_after: bytes of a connection after which it is cut; None = never.
        cut: how.
        rewrite: a text and what takes its place; equally long, since lengths were announced.
        again: seconds after which an answer about a run comes once more; None = it does not.
        exchange: of two answers about runs each goes to the other's connection.
        exchanged: the first of the two, which waits half a second for the second.
        met: pieces to which any of this was done.
    """

    latency: float = 0.0
    rate: float | None = None
    swallow: bool = False
    cut_after: int | None = None
    cut: Cut = "rst"
    rewrite: tuple[bytes, bytes] | None = None
    again: float | None = None
    exchange: bool = False
    exchanged: tuple[asyncio.StreamWriter, bytes] | None = None
    met: int = 0


@dataclass(eq=False, slots=True)
class Link:
    """One connection: both its sockets, and what has passed."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    tails: dict[Direction, bytes] = field(default_factory=lambda: {"up": b"", "down": b""})
    awaits: list[Trap] = field(default_factory=list)

    def cut(self, how: Cut) -> None:
        """Close both sides."""
        for writer in (self.client, self.server):
            if how == "rst":
                # A socket that is closed already has no options to set.
                with suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
                    )
                writer.transport.abort()
            else:
                writer.close()

    async def take(
        self, direction: Direction, way: Way, data: bytes, sink: asyncio.StreamWriter
    ) -> bool:
        """Pass a piece on the way that its direction has; False = the connection was cut."""
        if way.swallow:
            way.met += 1
            return True
        if way.latency:
            way.met += 1
            await asyncio.sleep(way.latency)
        if way.rewrite:
            way.met += way.rewrite[0] in data
            data = data.replace(*way.rewrite)
        left = None if way.cut_after is None else way.cut_after - self.passed[direction]
        self.passed[direction] += len(data)
        if left is not None and left < len(data):
            way.met += 1
            sink.write(data[: max(left, 0)])
            await asyncio.sleep(0.02)  # what was written leaves before the cut
            self.cut(way.cut)
            return False
        if way.rate:
            way.met += 1
            for byte in data:
                if sink.is_closing():
                    return False
                sink.write(bytes((byte,)))
                await asyncio.sleep(1 / way.rate)
        elif way.exchange and _is_run(data):
            _exchange(way, sink, data)
        else:
            sink.write(data)
        if way.again is not None and _is_run(data):
            way.met += 1
            asyncio.get_running_loop().call_later(way.again, _write, sink, data)
        await sink.drain()
        return True


def _write(sink: asyncio.StreamWriter, data: bytes) -> None:
    if not sink.is_closing():
        sink.write(data)


def _is_run(data: bytes) -> bool:
    """Say whether a piece is an answer about one run."""
    return data.startswith(b"HTTP/1.1 200") and b'"run_request"' in data


def _exchange(way: Way, sink: asyncio.StreamWriter, data: bytes) -> None:
    first = way.exchanged
    if first is None:
        first = way.exchanged = sink, data
        asyncio.get_running_loop().call_later(0.5, _end_wait, way, first)
        return
    way.exchanged = None
    way.met += 2
    _write(first[0], data)
    _write(sink, first[1])


def _end_wait(way: Way, first: tuple[asyncio.StreamWriter, bytes]) -> None:
    if way.exchanged is first:
        way.exchanged = None
        _write(*first)
