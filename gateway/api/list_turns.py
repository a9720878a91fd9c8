"""Lists are made a few at a time; bearers take turns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from gateway.state.state import gate_of
from gateway.tenants.scope import tenant_scope_of
from runqueue import AsyncRunQueue


@asynccontextmanager
async def listing(request: Request) -> AsyncIterator[AsyncRunQueue]:
    """Wait for the turn to make a list, and yield the queue as the bearer sees it.

    Args:
        request: one that `requires` let through.

    Raises:
        HTTPException: other lists of the bearer's take too long.
    """
    tenant_scope = tenant_scope_of(request)
    async with gate_of(request).list_turn(tenant_scope.name):
        yield tenant_scope.queue
