"""Lists are made a few at a time, each bearer's in its turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from gateway.state.state import gate_of
from gateway.tenants.scope import sight_of
from runqueue import AsyncRunQueue


@asynccontextmanager
async def listing(request: Request) -> AsyncIterator[AsyncRunQueue]:
    """Wait for the turn to make a list, and yield the queue as the bearer sees it.

    Args:
        request: of who `requires` let through.

    Raises:
        HTTPException: others of the bearer's take too long.
    """
    sight = sight_of(request)
    async with gate_of(request).list_turn(sight.name):
        yield sight.queue
