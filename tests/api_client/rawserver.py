"""A Skyvern made of bare sockets, which can fail in the ways a real one does.

`serving(behaviour)` gives a listening server; a behaviour is called once for each request whose
head has arrived, and does what it likes with the connection. A behaviour that returns True keeps
the connection for the next request.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

CERTIFICATE = Path(__file__).with_name("selfsigned.pem")


@dataclass
class Exchange:
    """One request, and the connection it came over."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""

    async def read_body(self) -> bytes:
        self.body = await self.reader.readexactly(int(self.headers.get("content-length", "0")))
        return self.body

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[[Exchange], Awaitable[bool]]


@dataclass
class Server:
    """A listening server and what it has seen."""

    url: str
    port: int
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0
    #: Set as soon as a request's head has arrived.
    asked: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[Server]:
    tasks: set[asyncio.Task[None]] = set()
    state = Server(url="", port=0)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        state.connections += 1
        number = state.connections
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (exchange := await _next(reader, writer, number)) is not None:
                state.exchanges.append(exchange)
                state.asked.set()
                if not await behaviour(exchange):
                    break
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)
    state.port = server.sockets[0].getsockname()[1]
    state.url = f"http://127.0.0.1:{state.port}"
    try:
        yield state
    finally:
        server.close()
        await asyncio.sleep(0)  # a connection that was just accepted gets its handler, to be ended
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _next(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
) -> Exchange | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
    return Exchange(method, target, headers, connection, reader, writer)


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Write an answer out; `retry_after="5"` becomes `retry-after: 5`."""
    lines = [f"HTTP/1.1 {status} Words", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(status: int, body: object = b"", **headers: str) -> Behaviour:
    """Read the whole request, then answer; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def behave(exchange: Exchange) -> bool:
        await exchange.read_body()
        await exchange.send(response(status, content, **headers))
        return True

    return behave


def answering_in_turn(*answers: bytes) -> Behaviour:
    """Give the first answer to the first request, and the last to all that are left over."""
    left = list(answers)

    async def behave(exchange: Exchange) -> bool:
        await exchange.read_body()
        await exchange.send(left.pop(0) if len(left) > 1 else left[0])
        return True

    return behave


async def resets_before_reading(exchange: Exchange) -> bool:
    exchange.reset()
    return False


async def reads_then_closes(exchange: Exchange) -> bool:
    await exchange.read_body()
    return False


async def reads_then_resets(exchange: Exchange) -> bool:
    await exchange.read_body()
    exchange.reset()
    return False


async def sends_garbage(exchange: Exchange) -> bool:
    await exchange.read_body()
    await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    return False


async def sends_a_bad_status_line(exchange: Exchange) -> bool:
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 two-hundred OK\r\n\r\n")
    return False


async def cuts_the_upload(exchange: Exchange) -> bool:
    await exchange.reader.readexactly(1000)
    exchange.reset()
    return False


async def cuts_the_answer(exchange: Exchange) -> bool:
    await exchange.read_body()
    await exchange.send(response(200, b'{"run_id": "tsk_1", "status": "queued"}')[:-10])
    return False


async def cuts_the_head(exchange: Exchange) -> bool:
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    return False


async def hangs(exchange: Exchange) -> bool:
    await exchange.read_body()
    await asyncio.Event().wait()
    return False


async def hangs_within_the_answer(exchange: Exchange) -> bool:
    await exchange.read_body()
    await exchange.send(response(200, b'{"run_id": "tsk_1", "status": "queued"}')[:-10])
    await asyncio.Event().wait()
    return False


def server_tls() -> ssl.SSLContext:
    """Make the server's side of TLS, with a certificate for 127.0.0.1."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE)
    return made


@contextmanager
def port_nobody_listens_on() -> Iterator[int]:
    """Give a port that refuses; bound, so that nobody else takes it meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextmanager
def port_with_a_full_backlog() -> Iterator[int]:
    """Give a port whose connections are not accepted and whose queue is full: SYNs are dropped."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(sock.getsockname())
            yield sock.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()
