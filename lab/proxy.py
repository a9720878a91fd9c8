"""A TCP proxy that does to its connections what networks and dying processes do.

    with Network() as network:
        proxy = network.proxy("127.0.0.1", 6379)
        trap = proxy.trap("up", b"FCALL", reply=True)   # the answer to the next script
        trap.wait(10)                                     # it is held here
        worker.kill()
        trap.drop()

`up` is the direction from the client to the server, `down` the other. Everything can be set while
connections are open, from any thread.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from lab.traps import Direction, Trap
from lab.ways import Cut, Link, Way

_CHUNK = 65_536


class Proxy:
    """One way to a server; made by `Network.proxy`.

    Args:
        network: whose thread it lives on.
        host, port: the server; may be changed, for connections to come.
    """

    def __init__(self, network: "Network", host: str, port: int) -> None:
        self.up, self.down = Way(), Way()
        self.target = (host, port)
        self.port = 0
        self.links: set[Link] = set()
        self._network = network
        self._traps: list[Trap] = []
        self._held: dict[Direction, asyncio.Event] = {}
        self._server: asyncio.Server | None = None
        #: What stands in the server's place while it is stalled.
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []

    def trap(
        self, direction: Direction, pattern: bytes, *, reply: bool = False, times: int = 1
    ) -> Trap:
        """Set a trap; see `Trap`."""
        made = Trap(direction, pattern, reply=reply, times=times)
        self._traps.append(made)
        return made

    def hold(self, *directions: Direction) -> None:
        """Let nothing pass in these directions (default both); it waits, as TCP has it wait."""
        for direction in directions or ("up", "down"):
            self._network.soon(self._held[direction].clear)

    def heal(self) -> None:
        """Undo everything: what was held passes, connections that lost bytes are cut."""
        lossy = self.up.swallow or self.down.swallow
        self.up, self.down = Way(), Way()
        if lossy:
            self.cut("rst")
        if self._server is None:
            self._network.run(self._listen())
        for filler in self._fillers:
            filler.close()
        for held in self._held.values():
            self._network.soon(held.set)

    def refuse(self) -> None:
        """Have new connections refused, as by a machine where nobody listens; `heal` ends it."""

        async def refuse() -> None:
            if self._server is not None:
                self._server.close()
            self._server = None

        self._network.run(refuse())

    def stall(self) -> None:
        """Have new connections wait, as by a machine too busy to take any; `heal` takes them."""
        self.refuse()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=0)
        # They fill its queue; from then on the kernel answers nobody who knocks.
        self._fillers = [socket.socket() for _ in range(2)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))

    def cut(self, how: Cut = "rst") -> None:
        """Cut every open connection."""

        def cut() -> None:
            for link in list(self.links):
                link.cut(how)

        self._network.soon(cut)

    async def open(self) -> None:
        """Listen on a free port."""
        for direction in ("up", "down"):
            event = asyncio.Event()
            event.set()
            self._held[direction] = event
        await self._listen()

    async def _listen(self) -> None:
        listener = self._listener or socket.create_server(("127.0.0.1", self.port))
        self._listener = None
        self._server = await asyncio.start_server(self._accept, sock=listener, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        for waiting in (self._listener, *self._fillers):
            if waiting is not None:
                waiting.close()
        for link in list(self.links):
            link.cut("rst")
        for trap in self._traps:
            trap.drop()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection(*self.target)
        except OSError:
            client.transport.abort()
            return
        link = Link(client, server)
        self.links.add(link)
        try:
            await asyncio.gather(
                self._flow(link, "up", reader, server), self._flow(link, "down", answers, client)
            )
        except OSError:
            link.cut("rst")
        except asyncio.CancelledError:
            return  # the network ends; asyncio would tell of a task that was canceled here
        finally:
            self.links.discard(link)
            link.cut("fin")

    async def _flow(
        self,
        link: Link,
        direction: Direction,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        while data := await source.read(_CHUNK):
            for trap in self._sprung(link, direction, data):
                if not await trap.catch():
                    link.cut("rst")
                    return
            await self._held[direction].wait()
            way = self.up if direction == "up" else self.down
            if not await link.take(direction, way, data, sink):
                return
        await self._held[direction].wait()
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()

    def _sprung(self, link: Link, direction: Direction, data: bytes) -> list[Trap]:
        """Return the traps that these bytes spring; a pattern may come in two pieces."""
        sprung = [trap for trap in link.awaits if trap.direction != direction]
        link.awaits = [trap for trap in link.awaits if trap.direction == direction]
        if not self._traps:
            return sprung
        tail = link.tails[direction]
        seen = tail + data
        longest = max(len(trap.pattern) for trap in self._traps)
        link.tails[direction] = seen[-longest + 1 :] if longest > 1 else b""
        for trap in self._traps:
            if trap.direction != direction or trap.times < 0:
                continue
            if seen.find(trap.pattern, max(0, len(tail) - len(trap.pattern) + 1)) < 0:
                continue
            if trap.reply:
                link.awaits.append(trap)
            else:
                sprung.append(trap)
        self._traps = [trap for trap in self._traps if trap.times >= 0]
        return sprung


class Network:
    """The thread on which proxies live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for proxy in self._proxies:
            self.run(proxy.close())
        self.run(self._cut_off())
        self.soon(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def proxy(self, host: str, port: int) -> Proxy:
        """Make a proxy to a server; it listens on `port` of 127.0.0.1."""
        made = Proxy(self, host, port)
        self.run(made.open())
        self._proxies.append(made)
        return made

    def soon(self, act: Callable[[], object]) -> None:
        """Have something done on the thread."""
        self._loop.call_soon_threadsafe(act)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Have something done on the thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _cut_off(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
