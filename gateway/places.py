"""Places that a request takes of somebody's share, and gives back when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.content import busy
from gateway.gate import gate_of
from gateway.shares import Shares
from gateway.sight import sight_of
from runqueue import AsyncRunQueue

#: Seconds that a list waits for its turn.
LIST_SECONDS: Final = 10.0

_HELD: Final = "runqueue.held"


def hold(request: Request, shares: Shares, holder: str, refusal: str) -> None:
    """Take a place for the rest of a request, its answer included.

    Args:
        request: the request.
        shares: the places.
        holder: whose share it is of.
        refusal: what is said where there is none left for him.

    Raises:
        HTTPException: there is none left for him now.
    """
    if not shares.take(holder):
        raise busy(refusal)
    held: list[Callable[[], None]] = request.scope[_HELD]
    held.append(partial(shares.give_back, holder))


@asynccontextmanager
async def listing(request: Request) -> AsyncIterator[AsyncRunQueue]:
    """Wait for the turn to make a list, and yield the queue as the bearer sees it.

    Args:
        request: of who `requires` let through.

    Raises:
        HTTPException: others of the bearer's take too long.
    """
    gate, sight = gate_of(request), sight_of(request)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(gate.lists.of(sight.name, LIST_SECONDS))
        except TimeoutError:
            raise busy("too many lists are asked for; try again") from None
        yield sight.queue


class GivesBack:
    """Gives back the places of a request (see `hold`) once it is over.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        held: list[Callable[[], None]] = []
        scope[_HELD] = held
        try:
            await self._app(scope, receive, send)
        finally:
            for give_back in held:
                give_back()
