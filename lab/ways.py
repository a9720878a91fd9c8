"""What happens to the bytes of one direction of a connection."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from lab.traps import Direction, Trap

Cut = Literal["fin", "rst"]

#: An RST is what a socket that lingers for no time sends.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Way:
    """One direction, and what is done to it.

    Args:
        swallow: bytes are read and go nowhere.
        cut_after: bytes of a connection after which it is cut; None = never.
        cut: how.
        met: pieces to which any of this was done.
    """

    swallow: bool = False
    cut_after: int | None = None
    cut: Cut = "rst"
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
        left = None if way.cut_after is None else way.cut_after - self.passed[direction]
        self.passed[direction] += len(data)
        if left is not None and left < len(data):
            way.met += 1
            sink.write(data[: max(left, 0)])
            await asyncio.sleep(0.02)  # what was written leaves before the cut
            self.cut(way.cut)
            return False
        sink.write(data)
        await sink.drain()
        return True
