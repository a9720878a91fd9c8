"""Lists are made a few at a time, each bearer's in its turn."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.requests import Request

from gateway.http.request_body import busy
from gateway.state.state import gate_of
from gateway.tenants.scope import sight_of
from runqueue import AsyncRunQueue

#: Seconds that a list waits for its turn.
LIST_SECONDS: Final = 10.0


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
