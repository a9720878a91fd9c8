"""Looking names of servers up, strangers' too, in threads that nobody else waits for.

The system's look-up blocks, for ten seconds and more where a name's server never answers; and
whoever hands in a job chooses where its webhook goes. In the loop's own threads it would stop all
other look-ups.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

#: Look-ups at once.
THREADS = 16
#: Seconds that one is waited for, its turn included.
LOOK_UP_SECONDS = 10.0

#: Asks for a name: host and port in, its addresses out; blocks, raises an OSError if it has none.
Ask = Callable[[str, int], Sequence[str]]


def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(eq=False, slots=True)
class _LookUp:
    """One look-up, and how many wait for it."""

    thread: "Future[Sequence[str]]"
    told: "asyncio.Future[Sequence[str]]"
    waiting: int = 0


class Names:
    """Looks names up, each of them once at a time; belongs to the loop of its first use.

    Args:
        ask: looks a name up.
        threads: look-ups at once.
    """

    def __init__(self, ask: Ask = addresses_of, threads: int = THREADS) -> None:
        self._ask = ask
        self._pool = ThreadPoolExecutor(threads, "look-up")
        self._open: dict[tuple[str, int], _LookUp] = {}

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name.

        Raises:
            OSError: it has none, or nobody tells.
        """
        key = (host, port)
        one = self._open.get(key) or self._begin(key)
        one.waiting += 1
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await asyncio.shield(one.told)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "nobody tells in time") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not one.told.cancelled() or (task is not None and task.cancelling()):
                raise
            # By `close`: the task that waits was not canceled, and is told an error.
            raise socket.gaierror(socket.EAI_AGAIN, "names are not looked up any more") from None
        finally:
            one.waiting -= 1
            # What has its thread goes on, and whoever asks for the name again waits for that.
            if not one.waiting and one.thread.cancel():
                self._end(key, one)

    def close(self) -> None:
        """Look nothing up any more; what has its thread is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for one in self._open.values():
            with suppress(RuntimeError):  # its loop has ended, and with it whoever waited
                one.told.cancel()

    def _begin(self, key: tuple[str, int]) -> _LookUp:
        thread = self._pool.submit(self._ask, *key)
        one = self._open[key] = _LookUp(thread, asyncio.wrap_future(thread))
        one.told.add_done_callback(lambda _: self._end(key, one))
        return one

    def _end(self, key: tuple[str, int], one: _LookUp) -> None:
        if self._open.get(key) is one:
            del self._open[key]
        if one.told.done() and not one.told.cancelled():
            one.told.exception()  # known, whether or not somebody still waits
