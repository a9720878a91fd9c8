"""Recording in groups: what gathered while the last script ran goes into the next call.

No barrier: the first item goes at once, those that come meanwhile go together, 200 at most; after a
large group 3 ms are waited for the next. An item's place is free only once its answer is recorded.
Redis being away never loses an item: the recorder asks again until it is back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError

from runqueue.scripts import Call

log = structlog.get_logger()

Item = TypeVar("Item")

#: Items in one script call, and bytes: results may be large, and Redis does one thing at a time. Of
#: 500 ends or acceptances it does nothing else for 20 ms; calls of 200 cost no more CPU a job.
GROUP, GROUP_BYTES = 200, 16 * 1024 * 1024
#: Where so many went at once the next are on their way, and are waited for: a third fewer scripts,
#: a tenth less of the worker's CPU a job, a fifth less of Redis' (two pairs of runs).
MANY, GATHER_SECONDS = 8, 0.003
#: Seconds between two tries while Redis is away: the first, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class Recorder(Generic[Item]):
    """Takes items one by one and records them in groups, one script call at a time.

    Args:
        call: makes the script call of a group.
        send: runs it.
        seen: told the items and the replies (for metrics and logs); may be left out.
        size: an item's bytes, where they matter.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Call[Any]],
        send: Callable[[Call[Any]], Awaitable[Any]],
        seen: Callable[[Sequence[Item], Any], None] | None = None,
        size: Callable[[Item], int] = lambda _: 0,
    ) -> None:
        self._call = call
        self._send = send
        self._seen = seen
        self._size = size
        self._waiting: list[tuple[Item, Callable[[], None]]] = []
        self._task: asyncio.Task[None] | None = None
        #: Whether the last group was one of many: then the first item waits for others, too.
        self._are_many = False

    def put(self, item: Item, recorded: Callable[[], None]) -> None:
        """Take an item; `recorded` is called once it is in Redis."""
        self._waiting.append((item, recorded))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_busy(self) -> bool:
        """Whether something is not recorded yet."""
        return self._task is not None

    async def settled(self) -> None:
        """Wait until everything taken so far is recorded."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                # One more turn of the loop: what its sockets bring now goes along, which makes the
                # groups a third larger and delays nothing.
                await asyncio.sleep(GATHER_SECONDS if self._are_many else 0)
                group = self._next_group()
                self._are_many = len(group) >= MANY
                await self._record([item for item, _ in group])
                for _, recorded in group:
                    recorded()
        finally:
            self._task = None

    def _next_group(self) -> list[tuple[Item, Callable[[], None]]]:
        size, count = 0, 0
        for item, _ in self._waiting[:GROUP]:
            size += self._size(item)
            if count and size > GROUP_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _record(self, items: list[Item]) -> None:
        """Record a group; one item that Redis refuses must not keep the others from it."""
        try:
            reply = await send_until_taken(self._send, self._call(items))
        except ResponseError:
            if len(items) > 1:
                half = len(items) // 2
                await self._record(items[:half])
                await self._record(items[half:])
                return
            # Its lease or its poll brings the job back; what the log can tell of it is kept here.
            log.exception(
                "record_refused",
                account=self._call(items).account,
                script=self._call(items).script.name,
                job_id=getattr(items[0], "job_id", None),
                run_id=getattr(items[0], "run_id", None),
            )
            return
        if self._seen is not None:
            self._seen(items, reply)


async def send_until_taken(send: Callable[[Call[Any]], Awaitable[Any]], call: Call[Any]) -> Any:
    """Send a call until Redis takes it: what it says must not be lost. Scripts may be repeated.

    Raises:
        ResponseError: Redis refuses the call as such; asking again would change nothing.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await send(call)
        except (OutOfMemoryError, ReadOnlyError, BusyLoadingError) as error:
            _tell_delay(call, error)
        except ResponseError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing may be lost, whatever went wrong
            _tell_delay(call, error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _tell_delay(call: Call[Any], error: Exception) -> None:
    name = call.script.name
    log.warning("record_delayed", account=call.account, script=name, error=str(error))
