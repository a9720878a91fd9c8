"""A pump moves many jobs through one stage: claim as many as there are free places, call, record.

Started by a Celery message, which only means "there may be work". At most one pump of a kind lives
per process and account; the board in Redis says which do. A pump ends when nothing is there to do,
and leaves the board in the same script that says so; after 20 s it hands over to a successor. Calls
that are open then finish by themselves and count as the successor's busy places.
"""

import asyncio
import time
import traceback
from abc import ABC, abstractmethod
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import structlog
from redis.exceptions import RedisError

from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.store import worker_calls
from runqueue.store.damage import damage_of
from worker.process.account import AccountLink

log = structlog.get_logger()

#: Seconds a pump lives, so that a Celery task ends.
LIFETIME = 20.0
#: Seconds between two refreshes of the pump's line on the board (it is believed for 1.5 s).
REFRESH = 0.5
#: Seconds an idle pump waits for more: a nudge costs a fraction of the Celery message that would
#: start the next one, and jobs that trickle in would cost one each.
LINGER = 1.0
#: Seconds that the script under way gets when a pump is drained, whatever the calls get.
CLAIM_GRACE = 2.0
#: Seconds before the next claim after one that met damaged keys: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Seconds a pump stays for something that is due later; beyond that the tick starts another.
STAYS_FOR = 1.0


class ConsumerEnd(StrEnum):
    """Why a pump's run came to its end."""

    IDLE = "idle"
    SUCCESSOR = "successor"
    ALREADY = "already"
    REFUSED = "refused"
    DRAINING = "draining"


class Pump(ABC):
    """One stage in one process and account.

    Args:
        account: what the process holds for the account.
        places: calls open at once.
    """

    kind: ClassVar[str]
    #: Seconds between two claims of what comes due one by one; a place that gets free asks for none
    #: meanwhile, unless all were busy.
    gathers: ClassVar[float] = 0.0

    def __init__(self, account: AccountLink, places: int) -> None:
        self.account = account
        self.places = places
        self.busy = 0
        self.draining = False
        self._was_full = True
        self._running = False
        self._ended = asyncio.Event()
        self._worked = 0.0
        self._pause = self._not_before = 0.0
        #: The server's time at the last claim; a successor's message carries it.
        self.server_us = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._nudged = asyncio.Event()

    def lingers(self) -> bool:
        """Tell whether an idle pump should stay on the board a little longer."""
        return time.monotonic() - self._worked < LINGER

    @abstractmethod
    async def take(self, want: int, tick_us: int) -> Taken:
        """Claim up to `want` items; 0 only refreshes the board."""

    @abstractmethod
    async def handle(self, item: Any) -> None:
        """Make one item's call and hand its answer to a recorder, which frees the place."""

    def nudge(self) -> None:
        """Say that there may be work."""
        self._nudged.set()

    def free_place(self) -> None:
        """Give an item's place back: its answer is recorded."""
        self.busy -= 1
        if self._was_full or not self.gathers:
            self._nudged.set()

    async def run(self, tick_us: int) -> ConsumerEnd:
        """Work until there is nothing to do.

        Args:
            tick_us: the server's time in the message that started this; an old message starts none.
        """
        if self._running:
            self.nudge()
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
        log.warning("claim_refused", account=self.account.name, kind=self.kind, error=str(error))

    async def _loop(self, tick_us: int) -> ConsumerEnd:
        end = time.monotonic() + LIFETIME
        while not self.draining and time.monotonic() < end:
            want = max(0, self.places - self.busy)
            taken = await self._taken(want, tick_us)
            tick_us = 0
            if taken.answer is not ClaimAnswer.OK:
                log.info(
                    "pump_refused",
                    account=self.account.name,
                    kind=self.kind,
                    answer=taken.answer.value,
                )
                return ConsumerEnd.REFUSED
            self._was_full = len(taken.items) == want
            for item in taken.items:
                self._start(item)
            wait = self._wait(taken, want)
            if wait is None:
                if not taken.left:
                    await self._leave()
                return ConsumerEnd.IDLE
            await _wait_or(self._nudged, wait)
        await self._leave()
        return ConsumerEnd.DRAINING if self.draining else ConsumerEnd.SUCCESSOR

    async def _taken(self, want: int, tick_us: int) -> Taken:
        """Claim; while Redis is away nothing is taken, and it is asked again a little later."""
        self._nudged.clear()
        try:
            taken = await self.take(want, tick_us)
        except RedisError as error:
            if damage_of(error) is not None:
                raise
            log.warning(
                "claim_unanswered", account=self.account.name, kind=self.kind, error=str(error)
            )
            return Taken(ClaimAnswer.OK, self.server_us, left=False)
        self.server_us, self._pause = taken.now_us, 0.0
        if taken.items:
            self._worked = time.monotonic()
        return taken

    def _wait(self, taken: Taken, want: int) -> float | None:
        """Return how many seconds to wait for a nudge before asking again; None = end."""
        if taken.left:
            # A message that came while the last script ran may have meant newer work.
            return 0.0 if self._nudged.is_set() else None
        if want == 0 or len(taken.items) == want:
            return REFRESH  # all places are busy: one that gets free nudges
        if taken.next_us == 0:
            return REFRESH  # a slot that gets free wakes us
        due = (taken.next_us - taken.now_us) / 1_000_000
        if due > STAYS_FOR:
            return None
        return min(max(due, self.gathers, 0.001), REFRESH)

    async def _leave(self) -> None:
        name = self.account.lease.name
        # Without Redis the line is forgotten by itself.
        with suppress(RedisError):
            await self.account.send(worker_calls.leave_board(self.account.name, self.kind, name))

    def _start(self, item: Any) -> None:
        self.busy += 1
        task = asyncio.get_running_loop().create_task(self.handle(item))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, item))

    def _done(self, item: Any, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug: the item's lease brings it back. Its place must not stay busy for ever.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "item_failed",
                account=self.account.name,
                kind=self.kind,
                **_ids_of(item),
                # Without its words, which may quote what a job holds.
                error=type(error).__name__,
                at=f"{Path(where.filename).name}:{where.lineno}",
            )
            self.free_place()

    async def drain(self, seconds: float) -> None:
        """Stop claiming, and wait for the calls on the wire; those that take longer are cut off.

        Args:
            seconds: how long the calls may take; a claim under way gets `CLAIM_GRACE` at least.
        """
        self.draining = True
        self.nudge()
        start = time.monotonic()
        if self._running:
            # What a claim under way still brings is given back: that has to be recorded, too.
            await _wait_or(self._ended, max(seconds, CLAIM_GRACE))
        if self._tasks:
            left = max(0.0, start + seconds - time.monotonic())
            await asyncio.wait(list(self._tasks), timeout=left)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))


def _ids_of(item: Any) -> dict[str, Any]:
    """Return the ids of what an item is about, of what several were taken together with it, too."""
    inner = item
    if not hasattr(item, "job_id") and isinstance(item, list | tuple) and item:
        inner = item[0]
    names = ("job_id", "attempt", "run_id")
    return {name: getattr(inner, name) for name in names if getattr(inner, name, "")}


async def _wait_or(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
