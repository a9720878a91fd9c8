"""A consumer moves many jobs through one stage: claim as many as it has capacity for, call, record.

A Celery message starts it, and only means "there may be work". One process runs at most one
consumer of a stage for an account; Redis lists the active consumers (`active_consumers:<stage>`). A
consumer ends when there is nothing to do, and leaves that list in the script that says so. After
20 s it hands over to a successor, but not while a claim is unanswered: the jobs that it took belong
to this process, and the successor may run in another. Calls that are open then finish by themselves
and count as the successor's.
"""

import asyncio
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

import structlog
from redis.exceptions import RedisError

from runqueue.connection.redis_errors import damage_of, quarantined_a_job
from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.store import worker_calls
from runqueue.store.scripts import ScriptCall
from worker.process.account import AccountRuntime
from worker.process.writers import Write

log = structlog.get_logger()

#: What a stage takes and handles one by one.
Item = TypeVar("Item")
#: What a claim script gives out, and what it takes besides account, process, limit and tick.
Claim = TypeVar("Claim")
P = ParamSpec("P")

#: Seconds a consumer runs, so that a Celery task ends.
LIFETIME = 20.0
#: Seconds between two refreshes of the consumer's entry in Redis, which is believed for 1.5 s.
REFRESH = 0.5
#: Seconds an idle consumer waits for more: waking it costs a fraction of the Celery message that
#: would start the next one, and jobs that trickle in would cost one each. Less than its entry in
#: Redis is believed for.
STAY_IDLE_SECONDS = 1.0
#: Seconds that the script under way gets when a consumer is drained, whatever the calls get.
CLAIM_GRACE = 2.0
#: Seconds before the next claim after one that met damaged keys: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Work that is due within these seconds keeps a consumer active, as in the claim scripts; for later
#: work the tick starts another.
DUE_SOON = 1.0


class ConsumerEnd(StrEnum):
    """Why a consumer's run came to its end."""

    IDLE = "idle"
    SUCCESSOR = "successor"
    ALREADY = "already"
    REFUSED = "refused"
    DRAINING = "draining"


class Consumer(ABC, Generic[Item]):
    """One stage in one process and account.

    Args:
        account: what the process holds for the account.
        capacity: calls open at once.
    """

    stage: ClassVar[str]
    #: Seconds at least between two claims, where items come due one by one.
    min_claim_interval: ClassVar[float] = 0.0

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        self.account = account
        self.capacity = capacity
        self.busy = 0
        self.draining = False
        self._was_full = True
        #: Whether the last claim has its reply: else its jobs may be this process's.
        self._claim_answered = True
        self._running = False
        self._ended = asyncio.Event()
        self._worked = 0.0
        self._pause = self._not_before = 0.0
        #: The server's time at the last claim; a successor's message carries it.
        self.server_us = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Say whether it is active: a wake-up makes it claim."""
        return self._running

    @property
    def takes_more(self) -> bool:
        """Say whether a wake-up makes it claim at once: it is active and has free capacity."""
        return self._running and not self.draining and self.busy < self.capacity

    def stays_idle(self) -> bool:
        """Say whether an idle consumer should stay active a little longer."""
        return time.monotonic() - self._worked < STAY_IDLE_SECONDS

    @abstractmethod
    async def take(self, limit: int, tick_us: int) -> Taken[Item]:
        """Claim up to `limit` items; 0 only refreshes the list of active consumers."""

    async def claim(
        self,
        script: Callable[Concatenate[str, str, int, int, P], ScriptCall[Taken[Claim]]],
        limit: int,
        tick_us: int,
        *args: P.args,
        **options: P.kwargs,
    ) -> Taken[Claim]:
        """Run a claim script for this account and process.

        Args:
            script: makes its call.
            limit, tick_us: as in `take`.
            args, options: what else the script takes.
        """
        account = self.account
        return await account.run(script, account.lease.name, limit, tick_us, *args, **options)

    @abstractmethod
    async def handle(self, item: Item) -> Sequence[Write]:
        """Make one item's call, and return what is to be written of its answer."""

    def about(self, item: Item) -> dict[str, Any]:
        """Return what the log says of an item: ids, never what a request holds."""
        del item
        return {}

    def wake(self) -> None:
        """Say that there may be work."""
        self._woken.set()

    def release(self) -> None:
        """Free an item's capacity: all that came of it is recorded.

        Wake only if the last claim was full: otherwise nothing was left behind.
        """
        self.busy -= 1
        if self._was_full:
            self._woken.set()

    def warn(self, item: Item, event: str, /, **details: Any) -> None:
        """Log what is to be known of an item; what fails in that costs no record of it."""
        own = {"event": event, "account": self.account.name}
        try:
            log.warning(**{**details, **self.about(item), **own})
        except Exception as error:  # noqa: BLE001 - a bug, or a log that takes nothing
            self._log_failure(item, error)

    async def process(self, item: Item) -> None:
        """Handle one item, and have its records written; its capacity is free once all are."""
        writes: Sequence[Write] = ()
        try:
            writes = await self.handle(item)
        except Exception as error:  # noqa: BLE001 - a bug: the item's lease brings it back
            self._log_failure(item, error)
        finally:
            if not writes:
                self.release()
        release = self.release if len(writes) == 1 else _after(len(writes), self.release)
        for writer, record in writes:
            writer.put(record, release)

    async def run(self, tick_us: int) -> ConsumerEnd:
        """Work until there is nothing to do.

        Args:
            tick_us: the server's time in the message that started this; an old message starts none.
        """
        if self._running:
            self.wake()
            return ConsumerEnd.ALREADY
        if time.monotonic() < self._not_before:
            return ConsumerEnd.REFUSED
        self._running = True
        self._ended.clear()
        try:
            return await self._loop(tick_us)
        except Exception as error:
            if damage_of(error) is None:
                raise
            self._back_off(error)
            return ConsumerEnd.REFUSED
        finally:
            self._running = False
            self._ended.set()

    def _back_off(self, error: Exception) -> None:
        """Claim nothing for a while: what keeps this account from it does not pass in a second."""
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause
        self.account.log.warning("claim_refused", stage=self.stage, error=str(error))

    async def _loop(self, tick_us: int) -> ConsumerEnd:
        end = time.monotonic() + LIFETIME
        while not self.draining and (time.monotonic() < end or not self._claim_answered):
            limit = max(0, self.capacity - self.busy)
            taken = await self._taken(limit, tick_us)
            tick_us = 0
            if taken.answer is not ClaimAnswer.OK:
                self.account.log.info(
                    "consumer_refused", stage=self.stage, answer=taken.answer.value
                )
                return ConsumerEnd.REFUSED
            self._was_full = len(taken.items) == limit
            for item in taken.items:
                self._start(item)
            wait = self._wait(taken, limit)
            if wait is None:
                if not taken.consumer_left:
                    await self._leave()
                return ConsumerEnd.IDLE
            # Half of what `asyncio.timeout` takes, and the next claim clears it anyway.
            timer = asyncio.get_running_loop().call_later(wait, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                timer.cancel()
        await self._leave()
        return ConsumerEnd.DRAINING if self.draining else ConsumerEnd.SUCCESSOR

    async def _taken(self, limit: int, tick_us: int) -> Taken[Item]:
        """Claim; where that fails nothing is taken, and the same claim is made a little later.

        So it is while Redis is away, and where a job was quarantined.
        """
        self._woken.clear()
        self._claim_answered = False
        try:
            taken = await self.take(limit, tick_us)
        except RedisError as error:
            if damage_of(error) is not None and not quarantined_a_job(error):
                raise
            self.account.log.warning("claim_unanswered", stage=self.stage, error=str(error))
            return Taken(ClaimAnswer.OK, self.server_us, consumer_left=False)
        self._claim_answered, self.server_us, self._pause = True, taken.now_us, 0.0
        if taken.items:
            self._worked = time.monotonic()
        return taken

    def _wait(self, taken: Taken[Item], limit: int) -> float | None:
        """Return how many seconds to wait before claiming again, unless woken; None = end."""
        if taken.consumer_left:
            # A message that came while the last script ran may have meant newer work.
            return 0.0 if self._woken.is_set() else None
        if limit == 0 or len(taken.items) == limit:
            return REFRESH  # all capacity is in use: what gets free wakes us
        if taken.next_us == 0:
            # New work, or a slot that gets free, wakes us.
            return STAY_IDLE_SECONDS if self._claim_answered else REFRESH
        due = (taken.next_us - taken.now_us) / 1_000_000
        if due > DUE_SOON:
            return None
        return min(max(due, self.min_claim_interval, 0.001), REFRESH)

    async def _leave(self) -> None:
        name = self.account.lease.name
        # Without Redis the entry expires by itself.
        with suppress(RedisError):
            await self.account.run(worker_calls.remove_consumer, self.stage, name)

    def _start(self, item: Item) -> None:
        self.busy += 1
        task = asyncio.get_running_loop().create_task(self.process(item))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _log_failure(self, item: Item, error: Exception) -> None:
        """Log a bug, without its words, which may quote what a job holds."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        ids: dict[str, Any] = {}
        with suppress(Exception):  # the bug may be there
            ids = self.about(item)
        own = {
            "event": "item_failed",
            "account": self.account.name,
            "stage": self.stage,
            "error": type(error).__name__,
            "at": f"{Path(where.filename).name}:{where.lineno}",
        }
        with suppress(Exception):  # the log may take nothing
            log.error(**{**ids, **own})

    async def drain(self, seconds: float) -> None:
        """Stop claiming, and wait for the calls on the wire; those that take longer are cut off.

        Args:
            seconds: how long the calls may take; a claim under way gets `CLAIM_GRACE` at least.
        """
        self.draining = True
        self.wake()
        start = time.monotonic()
        if self._running:
            # What a claim under way still brings is given back: that has to be recorded, too.
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, CLAIM_GRACE)):
                    await self._ended.wait()
        if self._tasks:
            left = max(0.0, start + seconds - time.monotonic())
            await asyncio.wait(list(self._tasks), timeout=left)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))


def _after(count: int, then: Callable[[], None]) -> Callable[[], None]:
    """Return what calls `then` once it was called itself so many times."""
    left = count

    def one() -> None:
        nonlocal left
        left -= 1
        if not left:
            then()

    return one
