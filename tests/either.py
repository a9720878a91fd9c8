"""Either queue, blocking or for coroutines, asked in the same way: what a test says of both."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from runqueue import AsyncRunQueue, RunQueue
from runqueue.remote.queue import RemoteQueue

#: Calls a method of either queue by its name and returns its answer.
Ask = Callable[..., Any]
#: The token of the gateway that tests start.
TOKEN = "token-of-all-0123456789"


async def answer_of(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a method of either queue, or of a job's handle: a blocking one in a thread."""
    if inspect.iscoroutinefunction(method):
        return await method(*arguments, **named)
    return await asyncio.to_thread(method, *arguments, **named)


@asynccontextmanager
async def both(kind: str, url: str, **options: Any) -> AsyncIterator[Ask]:
    """Open a queue, `sync`, `async` or `gateway`; gives what calls it by the name of the method."""
    kinds: dict[str, Callable[..., Any]] = {
        "sync": RunQueue,
        "async": AsyncRunQueue,
        "gateway": partial(RemoteQueue, token=TOKEN),
    }
    queue: Any = kinds[kind](url, **options)

    async def call(name: str, *arguments: Any, **named: Any) -> Any:
        return await answer_of(getattr(queue, name), *arguments, **named)

    try:
        yield call
    finally:
        await call("close")
