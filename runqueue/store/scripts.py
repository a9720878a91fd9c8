"""The transitions in Lua, as one library of Redis functions; and one call of one as a value.

A `ScriptCall` is made by a pure function (`job_calls.py`) and says which function, with what, and
how its reply reads (`async_sending.py` sends it). A server that lacks the library is given it by
the first caller (https://redis.io/docs/latest/develop/programmability/functions-intro/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Generic, Protocol, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoPermissionError, ResponseError

from runqueue.connection.redis_errors import NO_FUNCTION
from runqueue.records.retention import (
    MOST_RETENTION_SECONDS,
    RETENTION_SECONDS,
    SURELY_RETAINED_SECONDS,
)

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

    Before them stand the durations of `records/retention.py`, in microseconds. A file's first two
    lines say which modules it uses itself (`-- use: limits active_consumers`), and whether it
    writes nothing or is refused by a full server (`-- flags: no-writes`, `refused-when-full`). A
    script is the body of its function; one with functions of its own ends with `body` instead, so
    that they are made once and not at every call.
    Every script that writes ends in `changes.run`, so that module is always loaded, last.
    """
    texts = {name: _code(entry.read_text("utf-8")) for name, entry in sources(folder).items()}
    scripts = frozenset(texts.keys() - sources(folder / "lib").keys())
    modules = dict.fromkeys(name for one in sorted(texts) for name in _modules_of(one, texts))
    modules |= dict.fromkeys([*_modules_of("changes", texts), "changes"])
    text = f"local RETENTION = {RETENTION_SECONDS * 1_000_000}\n"
    text += f"local MOST_RETENTION = {MOST_RETENTION_SECONDS * 1_000_000}\n"
    text += f"local SURELY_RETAINED = {SURELY_RETAINED_SECONDS * 1_000_000}\n"
    text += texts["core"]
    text += "".join(f"local {one} = (function()\n{texts[one]}end)()\n" for one in modules)
    text += "".join(_registered(name, texts) for name in sorted(scripts))
    # SHA-1 tells versions apart; it is no safeguard.
    name = FAMILY + sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]
    return Library(name, f"#!lua name={name}\nlocal LIBRARY = '{name}_'\n{text}", scripts)


def _registered(name: str, texts: dict[str, str]) -> str:
    flags = _header(texts[name], "flags")
    call = "body(open(keys, args))" if flags == "no-writes" else "changes.run(body, keys, args)"
    has_body = "\nlocal function body(q)\n" in texts[name]
    text = texts[name] if has_body else f"local function body(q)\n{texts[name]}end\n"
    return (
        f"do\n{text}"
        f"redis.register_function({{ function_name = LIBRARY .. '{name}', "
        f"flags = {{ {_FLAGS[flags]} }},\n"
        f"callback = function(keys, args) return {call} end }})\nend\n"
    )


def _modules_of(name: str, texts: dict[str, str]) -> Iterator[str]:
    """Yield the modules that a file uses, each after those that it uses itself."""
    for one in _header(texts[name], "use").split():
        yield from _modules_of(one, texts)
        yield one


def _code(text: str) -> str:
    """Return a file's text with its comments blank, but for the first two; lines keep numbers."""
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


def is_missing(error: ResponseError) -> bool:
    """Say whether a server does not know the library."""
    return NO_FUNCTION in str(error)


def node_of(client: Any, key: str) -> dict[str, Any]:
    """Return what has a cluster's client send a command to the primary of a key."""
    is_cluster = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)
    return {"target_nodes": client.get_node_from_key(key)} if is_cluster else {}


def expect_loaded(error: ResponseError) -> None:
    """Pass an error of loading on, unless the library is there."""
    if isinstance(error, NoPermissionError):
        raise NoPermissionError(
            f"this server lacks the functions of this version ({library().name}), and this user may"
            f" not load them: start a worker or gateway of this version ({error})"
        ) from None
    if "already exists" not in str(error):  # another process was faster
        raise error


def names_of(found: Sequence[Any]) -> list[str]:
    """Return the names of the libraries that FUNCTION LIST returned."""
    names = list[str]()
    for row in found:  # a mapping, or its names and values; bytes, or decoded, as the client has it
        pairs = row.items() if isinstance(row, Mapping) else zip(row[::2], row[1::2], strict=True)
        names += [_text(value) for name, value in pairs if _text(name) == "library_name"]
    return names


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
