"""What one process records for one account: a batch writer for each kind of outcome.

It records in groups: what gathered while the last script ran goes into the next call.

No barrier: the first item goes at once, those that come meanwhile go together, 200 at most; after a
large group 3 ms are waited for the next. A group that is refused is halved down to the items at
fault: these alone wait (for a person who mends the keys, say) or are abandoned (they can never be
written).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from runqueue.connection.redis_errors import Cause, cause_of
from runqueue.observe.run_spans import TracedRun, TracedRuns
from runqueue.records.claim_items import Finished, GivenBack, Lost, RunAccepted, RunAgain
from runqueue.store import delivery_calls, worker_calls
from runqueue.store.scripts import ScriptCall
from worker.poll_times import SOON_SECONDS

log = structlog.get_logger()

Item = TypeVar("Item")
#: An item, and what is called once it is recorded: that frees the capacity it takes.
_Entry = tuple[Item, Callable[[], None]]

#: Items in one script call, and bytes: results may be large, and Redis does one thing at a time. Of
#: 500 ends or acceptances it does nothing else for 20 ms; calls of 200 cost no more CPU a job.
GROUP, GROUP_BYTES = 200, 16 * 1024 * 1024
#: Where so many went at once the next are on their way, and are waited for: a third fewer scripts,
#: a tenth less of the worker's CPU a job, a fifth less of Redis' (two pairs of runs).
MANY, GATHER_SECONDS = 8, 0.003
#: Seconds between two tries while Redis is away: the first, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
#: Why a claim is given back, as `give_back.lua` has it.
_REASONS = ("void", "not_sent", "busy", "limited", "account", "later")
#: Items set aside whose capacity is free again, and their bytes; those beyond keep theirs.
ASIDE, ASIDE_BYTES = 200, 16 * 1024 * 1024


def _nothing() -> None:
    """Stand for what frees the capacity of an item that has none any more."""


class BatchWriter(Generic[Item]):
    """Takes items one by one and records them in groups, one script call at a time.

    The consumers' capacity bounds what gathers: it is free again only once an item is recorded, and
    while Redis takes nothing a group is sent again until it does.

    Args:
        call: makes the script call of a group.
        send: runs it.
        seen: called with the items and the replies (for traces and logs); may be left out.
        size: an item's bytes, where they matter.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], ScriptCall[Any]],
        send: Callable[[ScriptCall[Any]], Awaitable[Any]],
        seen: Callable[[Sequence[Item], Any], None] | None = None,
        size: Callable[[Item], int] = lambda _: 0,
    ) -> None:
        self._call = call
        self._send = send
        self._seen = seen
        self._size = size
        self._waiting: list[_Entry[Item]] = []
        self._task: asyncio.Task[None] | None = None
        #: Whether the last group was one of many: then the first item waits for others, too.
        self._are_many = False
        #: What is refused alone and may be taken later, and the task that tries it again.
        self._aside: list[_Entry[Item]] = []
        self._retry: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        #: The account and the script, for the log.
        self._about = ("", "")

    def put(self, item: Item, recorded: Callable[[], None]) -> None:
        """Take an item; `recorded` is called once it is in Redis, or set aside."""
        self._waiting.append((item, recorded))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def settled(self) -> None:
        """Wait until everything taken so far is recorded.

        What was set aside is tried once more and then given up, with a line in the log.
        """
        while self._task is not None:
            await asyncio.wait([self._task])
        if self._retry is not None:
            self._ending.set()
            await asyncio.wait([self._retry])
            self._ending.clear()

    async def _run(self) -> None:
        try:
            while self._waiting:
                # One more turn of the loop: what its sockets bring now goes along, which makes the
                # groups a third larger and delays nothing.
                await asyncio.sleep(GATHER_SECONDS if self._are_many else 0)
                group = self._next_group(self._waiting)
                self._are_many = len(group) >= MANY
                await self._record(group)
        except asyncio.CancelledError:
            self._give_up(self._waiting)
            raise
        finally:
            self._task = None

    def _next_group(self, entries: list[_Entry[Item]]) -> list[_Entry[Item]]:
        """Take the first of the entries, as many as go together."""
        size, count = 0, 0
        for item, _ in entries[:GROUP]:
            size += self._size(item)
            if count and size > GROUP_BYTES:
                break
            count += 1
        group = entries[:count]
        del entries[:count]
        return group

    async def _record(self, group: list[_Entry[Item]]) -> bool:
        """Record a group as soon as Redis takes it; False = some of it was set aside."""
        items, pause = [item for item, _ in group], 0.0
        while True:
            try:
                if pause:
                    await asyncio.sleep(pause)
                reply = await self._send_once(items)
                break
            except asyncio.CancelledError:
                self._give_up(group)
                raise
            except Exception as error:  # noqa: BLE001 - nothing may be lost, whatever went wrong
                cause = cause_of(error)
                if cause is not Cause.SERVER:
                    return await self._refused(group, cause, error)
                self._log("record_delayed", error)
            pause = min(pause * 2, LONGEST_PAUSE) or FIRST_PAUSE
        for _, recorded in group:
            recorded()
        if self._seen is not None:
            self._seen(items, reply)
        return True

    async def _send_once(self, items: list[Item]) -> Any:
        call = self._call(items)
        self._about = (call.account, call.script.name)
        return await self._send(call)

    async def _refused(self, group: list[_Entry[Item]], cause: Cause, error: Exception) -> bool:
        """Halve a group that was refused: one item must not keep the others from their record."""
        if len(group) > 1:
            first, second = group[: len(group) // 2], group[len(group) // 2 :]
            try:
                is_taken = await self._record(first)
            except asyncio.CancelledError:
                self._give_up(second)
                raise
            return await self._record(second) and is_taken
        if cause is not Cause.CALL:
            self._set_aside(*group[0], error)
            return False
        # Nothing can record it: what the log may show of it is kept there.
        ((item, recorded),) = group
        self._log("record_refused", error, item)
        recorded()
        return True

    def _set_aside(self, item: Item, recorded: Callable[[], None], error: Exception) -> None:
        """Keep an item for later, out of the others' way; a few, and small ones, free capacity."""
        sizes = [self._size(kept) for kept, then in self._aside if then is _nothing]
        is_small = sum(sizes) + self._size(item) <= ASIDE_BYTES
        if recorded is not _nothing and len(sizes) < ASIDE and is_small:
            self._log("record_set_aside", error, item)
            recorded()
            recorded = _nothing
        self._aside.append((item, recorded))
        if self._retry is None:
            self._retry = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        """Try what was set aside: one of them, and all others once that one is taken."""
        pause = FIRST_PAUSE
        try:
            while self._aside:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._ending.wait()
                is_last = self._ending.is_set()
                is_taken = await self._record([self._aside.pop(0)])
                left = len(self._aside) if is_taken or is_last else 0
                while left > 0:
                    group = self._next_group(self._aside)
                    left -= len(group)
                    await self._record(group)
                pause = FIRST_PAUSE if is_taken else min(pause * 2, LONGEST_PAUSE)
                if is_last:
                    self._give_up(self._aside)
        except asyncio.CancelledError:
            self._give_up(self._aside)
            raise
        finally:
            self._retry = None

    def _give_up(self, entries: list[_Entry[Item]]) -> None:
        """Say what will not be recorded any more: the process ends."""
        for item, recorded in entries:
            self._log("record_lost", None, item)
            recorded()
        entries.clear()

    def _log(self, event: str, error: Exception | None, item: Item | None = None) -> None:
        """Log what happened to a group, or to one item of it."""
        about: dict[str, Any] = dict(zip(("account", "script"), self._about, strict=True))
        if item is not None:
            ids = ((name, getattr(item, name, None)) for name in ("job_id", "run_id"))
            about |= {name: value for name, value in ids if value}
        if error is not None:
            about["error"] = f"{type(error).__name__}: {error}"
        (log.warning if event == "record_delayed" else log.error)(event, **about)


#: A record, and what writes it.
Write = tuple[BatchWriter[Any], Any]


class Writers:
    """The batch writers of an account.

    Args:
        account: the account.
        send: runs a script.
        traces: where the ends of traced runs go.
        marked: whether submissions carry markers.
    """

    def __init__(
        self,
        account: str,
        send: Callable[[ScriptCall[Any]], Awaitable[Any]],
        traces: TracedRuns,
        *,
        marked: bool,
    ) -> None:
        self._account = account
        self._send = send
        self._traces = traces
        #: Every one of them: `_add` is what makes them.
        self.all: list[BatchWriter[Any]] = []
        add, calls = self._add, worker_calls
        self.running = add(calls.mark_running, self._log_orphans)
        self.dead = add(calls.mark_dead)
        self.unconfirmed: BatchWriter[Lost] = add(partial(calls.mark_unconfirmed, marked=marked))
        self.polled = add(calls.mark_polled)
        self.finished = add(calls.finish, self._trace_ends, size=_result_bytes)
        self.run_again = add(calls.retry_run, self._trace_ends, size=_result_bytes)
        self.overdue = add(calls.cancel_overdue)
        self.abandoned = add(calls.abandon_run)
        self.approvals = add(calls.record_approval)
        self.ended_orphans = add(calls.drop_orphans)
        self.over_orphans = add(calls.orphans_over)
        self.poll_now = add(calls.poll_now)
        self.poll_soon: BatchWriter[str] = add(
            partial(calls.poll_now, after_us=int(SOON_SECONDS * 1e6))
        )
        self.deliveries = add(delivery_calls.record_delivery, size=lambda item: len(item.body))
        self.details = add(calls.record_details)
        self.callbacks = add(delivery_calls.record_callback)
        self.returned: dict[str, BatchWriter[GivenBack]] = {
            why: add(partial(calls.give_back, why=why)) for why in _REASONS
        }

    def _add(
        self,
        call: Callable[[str, Sequence[Item]], ScriptCall[Any]],
        seen: Callable[[Sequence[Item], Any], None] | None = None,
        size: Callable[[Item], int] = lambda _: 0,
    ) -> BatchWriter[Item]:
        writer = BatchWriter[Item](partial(call, self._account), self._send, seen, size)
        self.all.append(writer)
        return writer

    async def settled(self) -> None:
        """Wait until everything that any of them took is recorded."""
        for writer in self.all:
            await writer.settled()

    def _trace_ends(self, items: Sequence[TracedRun], codes: Sequence[int]) -> None:
        recorded = [item for item, code in zip(items, codes, strict=True) if code]
        self._traces.over(recorded, "poll")

    def _log_orphans(self, items: Sequence[RunAccepted], codes: Sequence[int]) -> None:
        for item, code in zip(items, codes, strict=True):
            if code in {2, 3}:
                event = "orphan_run" if code == 2 else "run_is_another_jobs"
                log.error(event, account=self._account, job_id=item.job_id, run_id=item.run_id)


def _result_bytes(item: Finished | RunAgain) -> int:
    return len(item.result)
