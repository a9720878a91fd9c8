"""Long answers: sent as they are made, and cut off if they cannot go on."""

import asyncio

import structlog
from redis.exceptions import RedisError
from starlette.responses import StreamingResponse
from starlette.types import Send

from runqueue.errors import RunQueueError

log = structlog.get_logger()


async def first_of(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of several events is set; but not for long."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class Streamed(StreamingResponse):
    """An answer whose end shows that it is complete: an error cuts the connection."""

    async def stream_response(self, send: Send) -> None:
        """Send the parts."""
        try:
            await super().stream_response(send)
        except (RunQueueError, RedisError, OSError, TimeoutError) as error:
            log.warning("answer_cut", error=f"{type(error).__name__}: {error}"[:200])
