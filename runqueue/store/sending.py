# Generated from async_sending.py by tools/generate.py: change that, and run `make generate`.
"""Sending calls of the scripts: a server that lacks these is given them by its first caller."""

from contextlib import suppress
from typing import Any, cast

import redis
from redis.exceptions import OutOfMemoryError, ResponseError

from runqueue.store.keys import FORMAT, FORMAT_KEY, Keys, is_own_format
from runqueue.store.scripts import (
    FAMILY,
    ScriptCall,
    T,
    expect_loaded,
    is_missing,
    library,
    names_of,
    node_of,
)


def run(client: redis.Redis, call: ScriptCall[T], now_us: int | str = 0) -> T:
    """Send a call; a server that does not know the library is given it.

    Args:
        client: a client that returns bytes.
        call: what to run.
        now_us: the clock in microseconds, 0 = the server's own; anything else is for tests, and
            '=<us>' = what the server's own would show.
    """
    key, function = Keys(call.account).meta, call.script.function
    arguments = cast(Any, (now_us, *call.arguments))
    try:
        reply = client.fcall(function, 1, key, *arguments)
    except ResponseError as error:
        if not is_missing(error):
            raise
        load_library(client, key)
        reply = client.fcall(function, 1, key, *arguments)
    return call.parse(reply)


def load_library(client: redis.Redis, key: str) -> None:
    """Load the library into the server that has a key.

    Raises:
        RedisError: the server's, or the connection's. One without free memory takes none, even
            without those of other versions; and a user may have no right to load any.
    """
    command, node = cast(Any, client).execute_command, node_of(client, key)
    try:
        try:
            command("FUNCTION LOAD", library().source, **node)
        except OutOfMemoryError:
            found = command("FUNCTION LIST", "LIBRARYNAME", f"{FAMILY}*", **node)
            for name in names_of(found):
                command("FUNCTION DELETE", name, **node)  # who needs one loads it again
            command("FUNCTION LOAD", library().source, **node)
    except ResponseError as error:
        expect_loaded(error)


def check_format(client: redis.Redis) -> None:
    """Compare the formats; where Redis has none it gets this version's.

    Raises:
        OtherFormat: Redis holds another one.
    """
    if is_own_format(client.get(FORMAT_KEY)):
        return
    with suppress(ResponseError):  # it takes no write now, or none of this user
        client.set(FORMAT_KEY, FORMAT, nx=True)
    is_own_format(client.get(FORMAT_KEY))
