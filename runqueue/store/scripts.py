"""The transitions in Lua, as one library of Redis functions; and one call of one as a value.

A `ScriptCall` is made by a pure function (`job_calls.py`) and says which function, with what, and
how its reply reads; the sync and the async client differ only in how they send it. A server that
lacks the library is given it by whoever calls it first (https://redis.io/docs/latest/develop/programmability/functions-intro/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import redis
import redis.asyncio
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError

from runqueue.connection.redis_errors import NO_FUNCTION
from runqueue.store.keys import Keys

T = TypeVar("T")
Argument = str | bytes | int


@dataclass(frozen=True, slots=True)
class Script:
    """A transition: the name of its file, and of its function in the library."""

    name: str
    function: str


@dataclass(frozen=True, slots=True)
class ScriptCall(Generic[T]):
    """One call of a script: pure data until a client sends it."""

    script: Script
    account: str
    arguments: Sequence[Argument] = field(repr=False)
    parse: Callable[[Any], T]


class Send(Protocol):
    """Sends a call and returns its reply, as `RunQueue.send` does."""

    def __call__(self, call: ScriptCall[T]) -> T:
        """Send it."""


class AsyncSend(Protocol):
    """`Send` of coroutines."""

    async def __call__(self, call: ScriptCall[T]) -> T:
        """Send it."""


@dataclass(frozen=True, slots=True)
class Library:
    """All transitions: the name, which changes with the source, the source, and what is in it."""

    name: str
    source: str = field(repr=False)
    scripts: frozenset[str] = field(repr=False)


#: Scripts that take jobs in: a Redis that drops keys is refused by them alone, since an
#: operator still has to see the queue, and to pause it.
TAKES_IN = frozenset({"enqueue", "open_batch"})
#: The scripts in folders by role, and in `lib` the modules that they share.
LUA = files("runqueue") / "lua"
#: How the names of all versions' libraries begin.
FAMILY: Final = "runqueue_"
#: Redis' flags for a file's `-- flags:` line. By default a script also runs in a full server.
_FLAGS: Final = {"": "'allow-oom'", "no-writes": "'no-writes'", "refused-when-full": ""}


def sources(folder: Traversable = LUA) -> dict[str, Traversable]:
    """Return the Lua files below a folder, by their names, each of which is there once."""
    found: dict[str, Traversable] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= sources(entry)
        elif entry.name.endswith(".lua"):
            found[entry.name.removesuffix(".lua")] = entry
    return found


@cache
def library(folder: Traversable = LUA) -> Library:
    """Return the library: `core`, the modules, each after those that it uses, then the scripts.

    A file's first lines say which modules it uses itself (`-- use: limits board`), and whether it
    writes nothing or is refused by a full server (`-- flags: no-writes`, `refused-when-full`).
    """
    texts = {name: _code(entry.read_text("utf-8")) for name, entry in sources(folder).items()}
    scripts = frozenset(texts.keys() - sources(folder / "lib").keys())
    modules = dict.fromkeys(name for one in sorted(texts) for name in _modules_of(one, texts))
    text = texts["core"]
    text += "".join(f"local {one} = (function()\n{texts[one]}end)()\n" for one in modules)
    text += "".join(_registered(name, texts) for name in sorted(scripts))
    # SHA-1 tells versions apart; it is no safeguard.
    name = FAMILY + sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]
    return Library(name, f"#!lua name={name}\nlocal LIBRARY = '{name}_'\n{text}", scripts)


def _registered(name: str, texts: dict[str, str]) -> str:
    flags = _FLAGS[_header(texts[name], "flags")]
    return (
        f"redis.register_function({{ function_name = LIBRARY .. '{name}', flags = {{ {flags} }},\n"
        f"callback = function(keys, args)\nlocal q = open(keys, args)\n{texts[name]}"
        "end })\n"
    )


def _modules_of(name: str, texts: dict[str, str]) -> Iterator[str]:
    """Yield the modules that a file uses, each after those that it uses itself."""
    for one in _header(texts[name], "use").split():
        yield from _modules_of(one, texts)
        yield one


def _code(text: str) -> str:
    """Return a file's text with its comments blank, but for the first lines; lines keep numbers."""
    first, rest = text.split("\n", 2)[:2], "\n".join(text.split("\n")[2:])
    return "\n".join([*first, re.sub(r"^ *--[^\n]*", "", rest, flags=re.MULTILINE)])


def _header(text: str, what: str) -> str:
    for line in text.splitlines()[:2]:
        if line.startswith(f"-- {what}: "):
            return line.removeprefix(f"-- {what}: ")
    return ""


@cache
def load(name: str) -> Script:
    """Return the script of that name.

    Raises:
        KeyError: there is none.
    """
    if name not in library().scripts:
        raise KeyError(name)
    return Script(name, f"{library().name}_{name}")


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


async def run_async(client: redis.asyncio.Redis, call: ScriptCall[T], now_us: int | str = 0) -> T:
    """Send a call from a coroutine; see `run`."""
    key, function = Keys(call.account).meta, call.script.function
    arguments = cast(Any, (now_us, *call.arguments))
    try:
        reply = await client.fcall(function, 1, key, *arguments)
    except ResponseError as error:
        if not is_missing(error):
            raise
        await _load_library_async(client, key)
        reply = await client.fcall(function, 1, key, *arguments)
    return call.parse(reply)


def is_missing(error: ResponseError) -> bool:
    """Say whether a server does not know the library."""
    return NO_FUNCTION in str(error)


def load_library(client: redis.Redis, key: str) -> None:
    """Load the library into the server that has a key.

    Raises:
        RedisError: the server's, or the connection's. One without free memory takes none, even
            without those of other versions; and a user may have no right to load any.
    """
    command, node = cast(Any, client).execute_command, _node_of(client, key)
    try:
        try:
            command("FUNCTION LOAD", library().source, **node)
        except OutOfMemoryError:
            for name in names_of(command("FUNCTION LIST", "LIBRARYNAME", f"{FAMILY}*", **node)):
                command("FUNCTION DELETE", name, **node)  # who needs one loads it again
            command("FUNCTION LOAD", library().source, **node)
    except ResponseError as error:
        _expect_loaded(error)


async def _load_library_async(client: redis.asyncio.Redis, key: str) -> None:
    command, node = cast(Any, client).execute_command, _node_of(client, key)
    try:
        try:
            await command("FUNCTION LOAD", library().source, **node)
        except OutOfMemoryError:
            found = await command("FUNCTION LIST", "LIBRARYNAME", f"{FAMILY}*", **node)
            for name in names_of(found):
                await command("FUNCTION DELETE", name, **node)
            await command("FUNCTION LOAD", library().source, **node)
    except ResponseError as error:
        _expect_loaded(error)


def _node_of(client: Any, key: str) -> dict[str, Any]:
    """Return what has a cluster's client send a command to the primary of a key."""
    is_cluster = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)
    return {"target_nodes": client.get_node_from_key(key)} if is_cluster else {}


def _expect_loaded(error: ResponseError) -> None:
    if isinstance(error, NoPermissionError):
        raise NoPermissionError(
            f"this server lacks the functions of this version ({library().name}), and this user may"
            f" not load them: start a worker or gateway of this version ({error})"
        ) from None
    if "already exists" not in str(error):  # another process was faster
        raise error


def names_of(found: Sequence[Any]) -> list[str]:
    """Return the names of the libraries that FUNCTION LIST told of."""
    names = list[str]()
    for row in found:  # a mapping, or its names and values; bytes, or decoded, as the client has it
        pairs = row.items() if isinstance(row, Mapping) else zip(row[::2], row[1::2], strict=True)
        names += [_text(value) for name, value in pairs if _text(name) == "library_name"]
    return names


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
