"""The format of what is in Redis: one number, which every process compares before it serves."""

from contextlib import suppress

import redis
import redis.asyncio
from redis.exceptions import ResponseError

from runqueue.errors import OtherFormat
from runqueue.store.keys import FORMAT_KEY

#: Rises with each change of what is stored, or of what scripts take and reply: what another format
#: wrote is not read.
FORMAT = 1
#: Seconds after which a client compares again: Redis may have been replaced, or emptied.
COMPARED_SECONDS = 10.0


def check_format(client: redis.Redis) -> None:
    """Compare the formats; where Redis has none it gets this version's.

    Raises:
        OtherFormat: Redis holds another one.
    """
    if _is_own(client.get(FORMAT_KEY)):
        return
    with suppress(ResponseError):  # it takes no write now, or none of this user
        client.set(FORMAT_KEY, FORMAT, nx=True)
    _is_own(client.get(FORMAT_KEY))


async def check_format_async(client: redis.asyncio.Redis) -> None:
    """Compare the formats from a coroutine; see `check_format`."""
    if _is_own(await client.get(FORMAT_KEY)):
        return
    with suppress(ResponseError):
        await client.set(FORMAT_KEY, FORMAT, nx=True)
    _is_own(await client.get(FORMAT_KEY))


def _is_own(found: bytes | str | None) -> bool:
    told = found.decode(errors="replace") if isinstance(found, bytes) else found
    if told not in {None, str(FORMAT)}:
        raise OtherFormat(str(told), FORMAT)
    return told is not None
