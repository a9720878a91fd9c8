"""More behaviours for `rawserver`: slow ones, one without end, an echo; no HTTP at all."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.api_client.rawserver import Exchange

#: Seconds between two bytes: short against any limit, so that only a limit for the whole helps.
DRIP_INTERVAL = 0.02


async def drips_the_head(exchange: Exchange) -> bool:
    return await _drips(exchange, b"x-endless: ")


async def drips_the_body(exchange: Exchange) -> bool:
    return await _drips(exchange, b"content-length: 1000000\r\n\r\n")


async def _drips(exchange: Exchange, fields: bytes) -> bool:
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 200 OK\r\n" + fields)
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(DRIP_INTERVAL)


async def reads_slowly(exchange: Exchange) -> bool:
    while True:
        await exchange.reader.read(50_000)
        await asyncio.sleep(DRIP_INTERVAL)


async def sends_too_much(exchange: Exchange) -> bool:
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    try:
        while True:
            await exchange.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
    finally:
        exchange.writer.transport.abort()  # what is still to be written will not be read


@asynccontextmanager
async def listening(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Give `127.0.0.1:port` of a server that does not speak HTTP; wait for its connections' ends.

    Args:
        connected: called for each connection, which is closed afterwards.
        tls: None = plain TCP.
    """
    tasks: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            if tls is not None:
                await writer.start_tls(tls)
            await connected(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, tasks))
