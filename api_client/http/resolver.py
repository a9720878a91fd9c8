"""Looks names of servers up, of unknown ones too, in threads of its own.

The system's look-up blocks, for ten seconds and more where a name's server never answers, and
users choose where their jobs' webhooks go. In the loop's own threads it would stop all other
look-ups. Here each domain has a share of the threads, and so have all names together that
were not resolved before: names that were get a thread whatever others do.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

#: Look-ups at once; of names of one domain; of names that were not resolved before, all together.
THREADS, PER_DOMAIN, STRANGERS = 64, 4, 48
#: Seconds that one is waited for, its turn included.
LOOK_UP_SECONDS = 10.0
#: Resolved names that are remembered.
MOST_KNOWN = 10_000

#: Asks for a name: host and port in, its addresses out; blocks, raises an OSError if it has none.
Ask = Callable[[str, int], Sequence[str]]


def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def domain_of(host: str) -> str:
    """Return what one owner has of a name: two labels, or three beneath the likes of co.uk."""
    labels = host.lower().rstrip(".").split(".")
    beneath = len(labels[-1]) == 2 and len(labels[-2:][0]) <= 3
    return ".".join(labels[-3:] if beneath else labels[-2:])


@dataclass(eq=False, slots=True)
class _LookUp:
    """One look-up, how many wait for it, and, once it has its turn, whether it is a stranger's."""

    result: "asyncio.Future[Sequence[str]]"
    waiting: int = 0
    is_begun: bool = False
    is_stranger: bool = False


class HostNames:
    """Looks names up, each of them once at a time; belongs to the loop of its first use.

    Args:
        ask: looks a name up.
        threads: look-ups at once.
    """

    def __init__(self, ask: Ask = addresses_of, threads: int = THREADS) -> None:
        self._ask = ask
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "look-up")
        self._open: dict[tuple[str, int], _LookUp] = {}
        #: Those of them that wait for their turn, the first first.
        self._queue: dict[tuple[str, int], _LookUp] = {}
        self._by_domain: Counter[str] = Counter()
        self._strangers = 0
        self._is_closed = False
        #: Names that were resolved at their last look-up, the newest last.
        self._known: dict[str, None] = {}

    @property
    def running(self) -> int:
        """How many have a thread."""
        return self._by_domain.total()

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name.

        Raises:
            OSError: it has none, or no answer came.
        """
        key = (host, port)
        one = self._open.get(key) or self._enter(key)
        one.waiting += 1
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await asyncio.shield(one.result)
        except TimeoutError:
            self._known.pop(host, None)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not one.result.cancelled() or (task is not None and task.cancelling()):
                raise
            # By `close`: the task that waits was not canceled, and gets an error.
            raise socket.gaierror(socket.EAI_AGAIN, "names are not looked up any more") from None
        finally:
            one.waiting -= 1
            # What has its thread goes on, and the next request for the name waits for that.
            if not one.waiting and not one.is_begun:
                self._leave(key, one)

    def close(self) -> None:
        """Look nothing up any more; what has its thread is not waited for."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._queue.clear()
        for one in self._open.values():
            with suppress(RuntimeError):  # its loop has ended, and with it all that waited
                one.result.cancel()

    def _enter(self, key: tuple[str, int]) -> _LookUp:
        one = _LookUp(asyncio.get_running_loop().create_future())
        self._open[key] = self._queue[key] = one
        self._begin_some()
        return one

    def _leave(self, key: tuple[str, int], one: _LookUp) -> None:
        for where in (self._open, self._queue):
            if where.get(key) is one:
                del where[key]

    def _begin_some(self) -> None:
        """Begin what has its turn."""
        for key, one in list(self._queue.items()):
            if self.running >= self._threads:
                return
            is_stranger = key[0] not in self._known
            is_full = is_stranger and self._strangers >= min(STRANGERS, self._threads)
            if is_full or self._by_domain[domain_of(key[0])] >= PER_DOMAIN:
                continue
            del self._queue[key]
            self._begin(key, one, is_stranger=is_stranger)

    def _begin(self, key: tuple[str, int], one: _LookUp, *, is_stranger: bool) -> None:
        thread = self._ask_in_thread(key)
        one.is_begun, one.is_stranger = True, is_stranger
        self._by_domain[domain_of(key[0])] += 1
        self._strangers += is_stranger
        asyncio.wrap_future(thread).add_done_callback(lambda found: self._end(key, one, found))

    def _ask_in_thread(self, key: tuple[str, int]) -> "Future[Sequence[str]]":
        try:
            return self._pool.submit(self._ask, *key)
        except RuntimeError:
            if self._is_closed:
                raise
        # The interpreter is ending, and gives threads nothing to do any more.
        found: Future[Sequence[str]] = Future()
        try:
            found.set_result(self._ask(*key))
        except OSError as error:
            found.set_exception(error)
        return found

    def _end(
        self, key: tuple[str, int], one: _LookUp, found: "asyncio.Future[Sequence[str]]"
    ) -> None:
        """Give the result to all that wait, and let others begin."""
        self._leave(key, one)
        domain = domain_of(key[0])
        self._by_domain[domain] -= 1
        if not self._by_domain[domain]:
            del self._by_domain[domain]
        self._strangers -= one.is_stranger
        error = None if found.cancelled() else found.exception()
        if not found.cancelled() and not one.result.done():
            if error is None:
                one.result.set_result(found.result())
            else:
                one.result.set_exception(error)
                one.result.exception()  # retrieved, even if no task waits any more
        self._remember(key[0], is_resolved=error is None and bool(one.waiting))
        self._begin_some()

    def _remember(self, host: str, *, is_resolved: bool) -> None:
        """Remember a name that was resolved while a task waited for it, and no other."""
        self._known.pop(host, None)
        if is_resolved:
            self._known[host] = None
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
