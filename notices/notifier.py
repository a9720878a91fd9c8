"""Tells of an account: looks at it every 15 s, sends what is due, and records what was sent.

Every process that has URLs takes part; the lease in Redis has one of each role do it at a time. A
message is recorded after it is sent: of a process that is killed in between, it comes once more.
Each URL has a task of its own, which sends one message after the other, so none waits for another.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import Final, Literal

import structlog
from redis.exceptions import RedisError

from config.notices import NotifyUrl
from config.redaction import Redactor
from config.settings import Account
from notices.calls import Noticed, notices_claim, notices_record
from notices.policy import EVENTS, Key, Message, Policy, Seen, read_notices
from notices.sending import Sender
from runqueue.connection.redis_errors import UNREADABLE
from runqueue.errors import RunQueueError
from runqueue.records.account import AccountStats
from runqueue.store import budgets, job_calls
from runqueue.store.scripts import AsyncSend

log = structlog.get_logger()

#: Seconds between two rounds, and for which a process that died keeps the others from theirs.
EVERY, LEASE_SECONDS = 15.0, 45.0
#: Seconds after which a receiver counts as failed, while its answer is still awaited.
SEND_SECONDS = 10.0
#: Seconds that what is being sent has to end when the process stops.
STOP_SECONDS = 5.0
#: Seconds before a URL that failed is tried again: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 600.0
#: Seconds after which an unconfirmed job is told, and for which the end of a job is a recent one.
LATE_SECONDS, RECENT_SECONDS = 600, 3600
#: Batches whose names and counts are read for one round.
BATCHES = 20
#: What a gateway tells: no worker can.
OF_GATEWAY: Final = frozenset({"no_worker"})

#: Counts a message: its event, the number of the URL, and whether it was sent.
Count = Callable[[str, int, bool], None]


class Notifier:
    """Tells of one account, in one process; lives on its event loop.

    Args:
        account: which.
        role: a worker tells all but that there is none, which a gateway tells.
        settings: the account's.
        public_url: the gateway's; None = not known.
        send: runs scripts.
        count: counts messages.
    """

    def __init__(
        self,
        account: str,
        role: Literal["worker", "gateway"],
        settings: Account,
        *,
        public_url: str | None,
        send: AsyncSend,
        count: Count,
    ) -> None:
        self._account, self._role, self._settings = account, role, settings
        self._send, self._count = send, count
        urls: Sequence[NotifyUrl] = settings.notify_urls
        #: Sends a message: '' once it is sent, else why not. The simulation replaces it.
        self.deliver: Callable[[Message], Awaitable[str]] = Sender(urls)
        events = OF_GATEWAY if role == "gateway" else frozenset(EVENTS) - OF_GATEWAY
        self._policy = Policy(account, events, [url.events for url in urls], public_url)
        self._redact = Redactor([*settings.keys, *settings.signing_secrets])
        self._name = secrets.token_hex(8)
        self._lease_until = 0.0
        self._sending: dict[int, asyncio.Task[None]] = {}
        #: By URL: seconds of the last pause, and until when it lasts.
        self._pauses: dict[int, tuple[float, float]] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if there is a URL to tell."""
        if self._settings.notify_urls and self._loop is None:
            self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is being sent gets some seconds to be recorded."""
        tasks = [self._loop] if self._loop else []
        if self._loop is not None:
            self._loop.cancel()
        if self._sending:
            await asyncio.wait(self._sending.values(), timeout=STOP_SECONDS)
        tasks += self._sending.values()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self) -> None:
        while True:
            began, wait = time.monotonic(), EVERY
            try:
                wait = await self.round()
            except (RedisError, RunQueueError, OSError) as error:
                log.debug("notices_not_read", account=self._account, error=str(error))
            except Exception as error:  # noqa: BLE001 - a bug must not end it for good
                name = type(error).__name__  # its words and its trace may hold what is told
                log.error("notices_failed", account=self._account, error=name)  # noqa: TRY400
            await asyncio.sleep(max(1.0, wait - (time.monotonic() - began)))

    async def round(self) -> float:
        """Look once, and begin to send what is due; returns the seconds until the next round."""
        asked, busy = time.monotonic(), {*self._sending}  # as of before it is read what was sent
        times = [int(s * 1e6) for s in (LEASE_SECONDS, LATE_SECONDS, RECENT_SECONDS)]
        found = await self._send(notices_claim(self._account, self._role, self._name, times))
        if found.held_until_us:
            return min(EVERY, (found.held_until_us - found.now_us) / 1e6)
        self._lease_until = asked + LEASE_SECONDS
        plan = self._policy.plan(found.now_us, read_notices(found.fields), await self._look(found))
        if (plan.fields or plan.batches) and not await self._record(plan.fields, plan.batches):
            return EVERY
        for receiver, messages in groupby(plan.messages, lambda one: one.receiver):
            _, until = self._pauses.get(receiver, (0.0, 0.0))
            if receiver not in busy and time.monotonic() >= until:
                ahead_us = found.now_us - int(asked * 1e6)
                task = asyncio.create_task(self._tell(list(messages), ahead_us))
                self._sending[receiver] = task
                task.add_done_callback(partial(self._ended, receiver))
        return EVERY

    def _ended(self, receiver: int, _: asyncio.Task[None]) -> None:
        del self._sending[receiver]

    async def _record(
        self, fields: dict[str, str], batches: Sequence[tuple[str, str]] = ()
    ) -> bool:
        call = notices_record(self._account, self._role, self._name, fields, batches)
        return await self._send(call)

    async def _tell(self, messages: Sequence[Message], ahead_us: int) -> None:
        """Send messages to one URL, until one fails or the lease is over.

        Args:
            messages: all to the same URL.
            ahead_us: by how much the queue's clock is ahead of the monotonic one.
        """
        for message in messages:
            if time.monotonic() >= self._lease_until:
                return
            why = await self._sent(message)
            if why:
                self._failed(message, why)
                return
            self._count(message.event, message.receiver, True)
            self._pauses.pop(message.receiver, None)
            await self._record_sent(message, ahead_us)

    async def _sent(self, message: Message) -> str:
        """Send a message; one that takes long counts as failed, and is awaited all the same."""
        sending = asyncio.ensure_future(self.deliver(message))
        done, _ = await asyncio.wait([sending], timeout=SEND_SECONDS)
        if not done:
            self._warn(message, f"the receiver gave no answer within {SEND_SECONDS:g} s")
        return await sending

    async def _record_sent(self, message: Message, ahead_us: int) -> None:
        """Record a message; while Redis is away this URL gets no other."""
        changes = message.changes(ahead_us + int(time.monotonic() * 1e6))
        is_away = True
        while is_away:
            with suppress(RedisError, RunQueueError, OSError):
                await self._record(changes)
                is_away = False
            await asyncio.sleep(float(is_away))

    def _failed(self, message: Message, why: str) -> None:
        pause, _ = self._pauses.get(message.receiver, (0.0, 0.0))
        pause = min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)
        self._pauses[message.receiver] = pause, time.monotonic() + pause
        self._warn(message, why)

    def _warn(self, message: Message, why: str) -> None:
        self._count(message.event, message.receiver, False)
        log.warning(
            "notification_failed",
            account=self._account,
            notify_url=message.receiver,
            about=message.event,
            why=why,
        )

    async def _look(self, found: Noticed) -> dict[Key, Seen]:
        stats = await self._send(job_calls.stats(self._account))
        if self._role == "gateway":
            words = f"no worker process serves account {self._account}: start one"
            return {} if stats.processes else {Key("no_worker"): Seen(words)}
        seen = self._of_stats(stats) | self._of_jobs(found) | await self._of_batches(found)
        return seen | await self._of_budgets()

    def _of_stats(self, stats: AccountStats) -> dict[Key, Seen]:
        waits = [one for one in stats.waits_for if one.kind in {"account_paused", "account_held"}]
        words = "; ".join(self._redact.text(one.words) for one in waits)
        return {Key("account_held"): Seen(words)} if words else {}

    def _of_jobs(self, found: Noticed) -> dict[Key, Seen]:
        seen = {}
        if found.late:
            words = f"{found.late:,} for more than 10 minutes, the first is job {found.oldest}"
            seen[Key("unconfirmed")] = Seen(words, found.oldest_us)
        for job, since_us in found.paused:
            seen[Key("needs_person", job)] = Seen(f"job {job} waits for a person", since_us)
        own = self._settings
        for group, (n, bad) in found.groups.items():
            if n >= own.notify_failure_jobs and bad >= n * own.notify_failure_share:
                words = f"group {group}: {bad} of the last {n} jobs failed or are dead"
                seen[Key("failures", group)] = Seen(words)
        return seen

    async def _of_batches(self, found: Noticed) -> dict[Key, Seen]:
        seen = {}
        for place, (batch_id, what, at_us) in enumerate(found.batches):
            words = f"batch {batch_id}"
            batch = None
            if place < BATCHES:
                try:
                    batch = await self._send(job_calls.get_batch(self._account, batch_id))
                except UNREADABLE:
                    log.debug("batch_unread", account=self._account, batch=batch_id)
            if batch is not None:
                counts = ", ".join(f"{n:,} {state.value}" for state, n in batch.states.items())
                name = f" ({batch.name})" if batch.name else ""
                words = f"{words}{name}: {batch.status.value}, {counts or 'no jobs'}"
            seen[Key(f"batch_{what}", batch_id)] = Seen(words, at_us)
        return seen

    async def _of_budgets(self) -> dict[Key, Seen]:
        seen = {}
        scopes = await self._send(budgets.budget_scopes(self._account))
        scopes.sort()
        for start in range(0, len(scopes), budgets.A_CALL):
            some = scopes[start : start + budgets.A_CALL]
            for use in await self._send(budgets.read_budgets(self._account, some)):
                if use.spent_ratio < 0.8:
                    continue
                words = f"{use.target}: {use.spent:,} spent of {use.budget.words()}"
                events = ["budget_80", *(["budget_spent"] if use.spent_ratio >= 1 else [])]
                for event in events:
                    seen[Key(event, f"{use.scope} {use.target}")] = Seen(words)
        return seen
