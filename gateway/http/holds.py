"""Capacity that a request takes of its holder's share, and gives back when it is over."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.problems import problem
from gateway.http.protocol import connection_of
from gateway.http.request_body import BUSY_SECONDS, SMALL, busy
from gateway.tenants.shares import Shares
from gateway.tenants.turns import Turns
from webhooks import receiver_address

_HELD: Final = "runqueue.held"
_UNREAD: Final = "too many large answers are being sent; try again"
_TOO_LARGE: Final = problem(503, _UNREAD, retry_after=BUSY_SECONDS)


def hold(request: Request, shares: Shares, holder: str, refusal: str, amount: int = 1) -> None:
    """Take an amount of a share for the rest of a request, its answer included.

    Args:
        request: the request.
        shares: the capacity.
        holder: whose share it is of.
        refusal: the error text if the share is used up.
        amount: how much.

    Raises:
        HTTPException: the share is used up.
    """
    if not shares.take(holder, amount):
        raise busy(refusal)
    held: list[Callable[[], None]] = request.scope[_HELD]
    held.append(partial(shares.give_back, holder, amount))


def hold_answer(request: Request, answers: Shares, holder: str, most: int) -> None:
    """Take the bytes of the answer to a call that changes something, before it does.

    Args:
        request: the request.
        answers: bytes of large answers.
        holder: whose share it is of.
        most: bytes that the answer will not exceed.

    Raises:
        HTTPException: the share is used up.
    """
    if most > SMALL:
        hold(request, answers, holder, _UNREAD, most)


@asynccontextmanager
async def in_turn(turns: Turns, name: str, patience: float, refusal: str) -> AsyncIterator[None]:
    """Wait for a turn, and hold it for the block.

    Args:
        turns: limits how many run at a time.
        name: the holder.
        patience: seconds to wait for it.
        refusal: the error text if it does not come in time.

    Raises:
        HTTPException: it does not come in time.
    """
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(turns.of(name, patience))
        except TimeoutError:
            raise busy(refusal) from None
        yield


class GivesBack:
    """Gives back the capacity of a request (see `hold`) once its answer was read.

    A large answer takes its bytes of its bearer's share as well. That to a GET becomes a 503 if the
    share is used up; other methods take theirs before their work (`hold_answer`).

    Args:
        app: the application.
        answers: bytes of large answers.
    """

    def __init__(self, app: ASGIApp, answers: Shares) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"].startswith(receiver_address.PATH):
            await self._app(scope, receive, send)  # webhooks hold nothing here
            return
        held: list[Callable[[], None]] = []
        scope[_HELD] = held
        try:
            await self._app(scope, receive, self._sized(scope, receive, send))
            if held:
                await connection_of(scope).answers_read()
        finally:
            for give_back in held:
                give_back()

    def _sized(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """Return a `send` that passes an answer on if the bearer's share allows it."""
        is_refused = False

        async def sized(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                is_refused = not self._take(scope, message)
                if is_refused:
                    await _TOO_LARGE(scope, receive, send)
            if not is_refused:
                await send(message)

        return sized

    def _take(self, scope: Scope, start: Message) -> bool:
        """Take the bytes of an answer; say whether it may go."""
        size = int(Headers(raw=start["headers"]).get("content-length", "0"))
        if size <= SMALL or scope["method"] != "GET":
            return True
        holder = scope["state"].get("bearer", "")
        if not self._answers.take(holder, size):
            return False
        scope[_HELD].append(partial(self._answers.give_back, holder, size))
        return True
