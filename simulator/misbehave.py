"""Carrying out a fault on the wire."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
from aiohttp import web

from simulator.faults import Action

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Seconds for bytes already written to leave, before the connection is reset behind them.
_FLUSH_SECONDS = 0.02

#: Faults that spoil the true answer, so that the request always takes effect.
_SPOILERS = frozenset({"truncate", "drip", "huge"})


async def misbehave(request: web.Request, action: Action, handler: Handler) -> web.StreamResponse:
    """Answer a request as a fault says.

    Args:
        request: the request.
        action: its fault.
        handler: gives the true answer; running it is what commits the request.
    """
    exchange = _Exchange(request, action)
    if action.reset == "before":
        await asyncio.sleep(action.latency)
        return exchange.reset()
    # First of all: it cannot be read any more once the client has gone.
    await request.read()
    await asyncio.sleep(action.latency)
    kind = action.answer
    if kind is None:
        answer = await handler(request)
        await asyncio.sleep(action.answer_latency)
        return answer
    if action.committed or action.reset == "mid_answer" or kind in _SPOILERS:
        exchange.keep_answer(await handler(request))
    await asyncio.sleep(action.answer_latency)
    return await _FAULTS[kind](exchange)


@dataclass(slots=True)
class _Exchange:
    """One spoiled request, with the true answer if it took effect."""

    request: web.Request
    action: Action
    true_status: int = 200
    true_body: bytes = b""

    def keep_answer(self, answer: web.StreamResponse) -> None:
        self.true_status = answer.status
        if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            self.true_body = answer.body

    @property
    def half(self) -> bytes:
        return self.true_body[: len(self.true_body) // 2]

    def write_head(self) -> None:
        """Promise the whole of the true answer."""
        self.write(
            f"HTTP/1.1 {self.true_status} Simulated\r\n"
            f"Content-Type: application/json\r\n"
            f"Content-Length: {len(self.true_body)}\r\n\r\n".encode()
        )

    def write(self, data: bytes) -> None:
        if self.request.transport is not None:
            self.request.transport.write(data)

    def finish(self) -> web.Response:
        """Close with a FIN; the response goes nowhere, aiohttp only requires one."""
        if self.request.transport is not None:
            self.request.transport.close()
        return web.Response()

    def reset(self) -> web.Response:
        """Close with an RST: the socket's linger time is 0."""
        transport = self.request.transport
        if transport is not None:
            endpoint = transport.get_extra_info("socket")
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return web.Response()


async def _status(exchange: _Exchange) -> web.Response:
    action = exchange.action
    content_type, body = "application/json", b""
    if isinstance(action.body, str):
        content_type, body = "text/plain", action.body.encode()
    elif "body" in action.model_fields_set:
        body = orjson.dumps(action.body)
    headers = {"Content-Type": action.content_type or content_type, **action.headers}
    return web.Response(status=action.status or 500, body=body, headers=headers)


async def _unavailable(exchange: _Exchange) -> web.Response:
    if exchange.action.unavailable == "plain":
        return web.Response(status=503, text="Service Unavailable")
    headers = {"Content-Type": "application/json"}
    if exchange.action.unavailable == "database":
        body = orjson.dumps({"error": "Database temporarily unavailable"})
    else:
        body = orjson.dumps({"detail": "No run was created"})
        headers["Retry-After"] = "5"
    return web.Response(status=503, body=body, headers=headers)


async def _reset(exchange: _Exchange) -> web.Response:
    if exchange.action.reset == "mid_answer":
        exchange.write_head()
        exchange.write(exchange.half)
        await asyncio.sleep(_FLUSH_SECONDS)
    return exchange.reset()


async def _close(exchange: _Exchange) -> web.Response:
    return exchange.finish()


async def _truncate(exchange: _Exchange) -> web.Response:
    if exchange.action.truncate == "json":
        return web.Response(
            status=exchange.true_status, body=exchange.half, content_type="application/json"
        )
    exchange.write_head()
    exchange.write(exchange.half)
    return exchange.finish()


async def _empty200(_exchange: _Exchange) -> web.Response:
    return web.Response(content_type="application/json")


async def _html200(_exchange: _Exchange) -> web.Response:
    return web.Response(text="<html><body>Please wait</body></html>", content_type="text/html")


async def _drip(exchange: _Exchange) -> web.Response:
    exchange.write_head()
    for byte in exchange.true_body:
        if exchange.request.transport is None or exchange.request.transport.is_closing():
            break
        exchange.write(bytes([byte]))
        await asyncio.sleep(1 / (exchange.action.drip or 1))
    return exchange.finish()


async def _huge(exchange: _Exchange) -> web.Response:
    body, size = exchange.true_body, exchange.action.huge or 0
    if body.endswith(b"}"):
        body = body[:-1] + b',"filler":"' + b"x" * size + b'"}'
    else:
        # A list or null: blanks after it do not change the JSON.
        body += b" " * size
    return web.Response(status=exchange.true_status, body=body, content_type="application/json")


async def _garbage(exchange: _Exchange) -> web.Response:
    exchange.write(b"\x16\x03 this is no status line\r\n\r\n")
    return exchange.finish()


_FAULTS: dict[str, Callable[[_Exchange], Awaitable[web.Response]]] = {
    "status": _status,
    "unavailable": _unavailable,
    "reset": _reset,
    "close": _close,
    "truncate": _truncate,
    "empty200": _empty200,
    "html200": _html200,
    "drip": _drip,
    "huge": _huge,
    "garbage": _garbage,
}
