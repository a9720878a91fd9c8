"""The layer around the application that counts what each request has in flight."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.problems import refusal
from gateway.tenants.in_flight import SMALL, RequestShare, too_many_bytes, too_much

_TAKEN: Final = "runqueue.taken"
#: Bytes that are sent at a time: the server waits for the client between two pieces, so that it
#: never holds more of an answer itself.
PIECE: Final = 64 * 1024
#: Seconds that a request waits for the work of others of its bearer.
WORK_SECONDS = 30.0


class Counting:
    """Gives back what a request took once its answer is sent, its client gone, or it broke off.

    An answer over `SMALL` counts until then. One to a GET becomes a 429 if there is no room for it;
    others are sent, since their work is done.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        taken = scope[_TAKEN] = RequestShare()
        is_refused = False

        async def counted(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                size = int(Headers(raw=message["headers"]).get("content-length", "0"))
                if size > SMALL and not taken.takes(size, always=scope["method"] != "GET"):
                    is_refused = True
                    await refusal(too_many_bytes())(scope, receive, send)
            if not is_refused:
                await _in_pieces(message, send)

        try:
            await self._app(scope, receive, counted)
        finally:
            taken.give_back()


async def _in_pieces(message: Message, send: Send) -> None:
    body = message.get("body", b"")
    if len(body) > PIECE:
        for start in range(0, len(body), PIECE):
            part = body[start : start + PIECE]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        message = {**message, "body": b""}  # once the last piece is nearly sent, too
    await send(message)


def taken_by(request: Request) -> RequestShare:
    """Return what a request has in flight."""
    return cast(RequestShare, request.scope[_TAKEN])


def work_of(request: Request) -> asyncio.Lock:
    """Return what a stream holds for a piece of its work (`InFlight.work`)."""
    return taken_by(request).holder.work


@asynccontextmanager
async def working(request: Request) -> AsyncIterator[None]:
    """Hold the bearer's work (`InFlight.work`) for the block.

    Raises:
        Refused: that of the bearer's other requests takes too long.
    """
    work = work_of(request)
    try:
        async with asyncio.timeout(WORK_SECONDS):
            await work.acquire()
    except TimeoutError:
        raise too_much("other lists, large bodies or results of this token take too long") from None
    try:
        yield
    finally:
        work.release()
