"""The Lua scripts: loading them, and one call of one as a value.

A `ScriptCall` is made by a pure function (`job_calls.py`) and says which script, with what, and how
its reply reads; the sync and the async client differ only in how they send it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Generic, TypeVar, cast

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from runqueue.store.keys import Keys

T = TypeVar("T")
Argument = str | bytes | int


@dataclass(frozen=True, slots=True)
class Script:
    """A transition's source, its shared parts in front, and the SHA-1 that EVALSHA requests."""

    name: str
    source: str
    sha: str


@dataclass(frozen=True, slots=True)
class ScriptCall(Generic[T]):
    """One script call: pure data until a client sends it."""

    script: Script
    account: str
    arguments: Sequence[Argument] = field(repr=False)
    parse: Callable[[Any], T]


#: Scripts that take jobs in: a Redis that drops keys is refused by them alone, since an
#: operator still has to see the queue, and to pause it.
TAKES_IN = frozenset({"enqueue", "open_batch"})
#: The scripts in folders by role, and in `lib` the parts that they share.
LUA = files("runqueue") / "lua"


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
def _source(name: str) -> str:
    return _files()[name].read_text()


@cache
def _files() -> dict[str, Traversable]:
    return sources()


@cache
def load(name: str) -> Script:
    """Return the script of that name, in front of it the parts that it uses, each once.

    A first line `-- use: limits board` names the parts that a script or a part uses itself. `core`
    comes before all, and a part after those that it uses. All but `core` are one function: Lua
    searches the locals of the running function for each one that a new closure uses, and these
    closures use those of `core` most.
    """
    parts: dict[str, None] = {}
    _add_parts(name, parts)
    body = "".join(map(_source, (*parts, name)))
    source = f"{_source('core')}local function run()\n{body}end\nreturn run()\n"
    # SHA-1 is Redis' name for a script, not a safeguard.
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def _add_parts(name: str, parts: dict[str, None]) -> None:
    first = _source(name).partition("\n")[0]
    for part in first.removeprefix("-- use:").split() if first.startswith("-- use:") else ():
        _add_parts(part, parts)
        parts[part] = None


def load_all() -> None:
    """Load every script, so that a process needs no more files for them later."""
    for name in _files().keys() - sources(LUA / "lib").keys():
        load(name)


def run(client: redis.Redis, call: ScriptCall[T], now_us: int = 0) -> T:
    """Send a call; the server is taught the script when it does not know it.

    Args:
        client: a client that returns bytes.
        call: what to run.
        now_us: the clock in microseconds, 0 = the server's own (anything else is for tests).
    """
    key, script = Keys(call.account).meta, call.script
    arguments = (now_us, *call.arguments)
    try:
        reply = client.evalsha(script.sha, 1, key, *cast(Any, arguments))
    except NoScriptError:
        reply = client.eval(script.source, 1, key, *cast(Any, arguments))
    return call.parse(reply)


async def run_async(client: redis.asyncio.Redis, call: ScriptCall[T], now_us: int = 0) -> T:
    """Send a call from a coroutine; see `run`."""
    key, script = Keys(call.account).meta, call.script
    arguments = (now_us, *call.arguments)
    try:
        reply = await client.evalsha(script.sha, 1, key, *cast(Any, arguments))
    except NoScriptError:
        reply = await client.eval(script.source, 1, key, *cast(Any, arguments))
    return call.parse(reply)
