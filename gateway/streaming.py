"""Long answers: sent as they are made, cut where they cannot go on, and not waited for for ever."""

import asyncio

import structlog
from redis.exceptions import RedisError
from starlette.responses import StreamingResponse
from starlette.types import Send

from runqueue.errors import RunQueueError

log = structlog.get_logger()

#: Seconds in which the receiver has to take a part.
PART_SECONDS = 60.0


async def first_of(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of several events is set; but not for long."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class Streamed(StreamingResponse):
    """An answer whose end says that it is whole: what breaks it off cuts the connection."""

    async def stream_response(self, send: Send) -> None:
        """Send the parts."""

        async def patiently(message: object) -> None:
            async with asyncio.timeout(PART_SECONDS):
                await send(message)  # type: ignore[arg-type]

        try:
            await super().stream_response(patiently)
        except (RunQueueError, RedisError, OSError, TimeoutError) as error:
            log.warning("answer_cut", error=f"{type(error).__name__}: {error}"[:200])
