"""Places that a request takes of somebody's share, and gives back when it is over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.content import busy
from gateway.shares import Shares

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
