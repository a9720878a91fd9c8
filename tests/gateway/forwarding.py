"""What stands before a gateway and does not say so: a tunnel, and nginx as it is shipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.proxying import copy_bytes

#: What a proxy speaks of its own connections.
_HOP = {"host", "connection", "content-length", "transfer-encoding"}


@asynccontextmanager
async def tunnel(url: str) -> AsyncIterator[str]:
    """Pass bytes on as they are, as `socat` and `ssh -L` do; yields the URL before it."""
    host, port = url.removeprefix("http://").split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy_bytes(reader, back), copy_bytes(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def plain_proxy(url: str) -> AsyncIterator[str]:
    """Pass requests on as `proxy_pass` does by default: our own name as `Host`, nothing added."""

    async def serve(request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        body = await request.read()
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                request.method,
                url + str(request.rel_url),
                headers=headers,
                data=body or None,
                allow_redirects=False,
            ) as answer,
        ):
            said = [(k, v) for k, v in answer.headers.items() if k.lower() not in _HOP]
            return web.Response(status=answer.status, body=await answer.read(), headers=said)

    runner = web.AppRunner(_app(serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _app(serve: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    return app
