"""Compares what goes on in an account with what was sent, every 15 s, and sends the difference.

What lasts is sent when it begins, hourly, and when it is over; the end of a batch, once. A lease in
Redis has one process of each role do this at a time. What was sent is recorded afterwards: of a
process that is killed in between, a message comes once more.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from config.redaction import Redactor
from config.settings import Account
from runqueue.connection.redis_errors import UNREADABLE
from runqueue.errors import RunQueueError
from runqueue.ids import DEFAULT
from runqueue.records.waits import utc
from runqueue.store import budgets, job_calls
from runqueue.store.replies import flat, rows
from runqueue.store.scripts import AsyncSend, ScriptCall, load
from webhooks.notices.sending import Kind, Message, Sender

log = structlog.get_logger()

#: Seconds between two rounds, and for which a process that died keeps the others from theirs.
EVERY, LEASE_SECONDS = 15.0, 45.0
#: Seconds that a condition has to last, or to be gone, before that is sent; and between repeats.
SETTLE_SECONDS, REPEAT_SECONDS = 30.0, 3600
#: Seconds after which a URL that gave no answer is given up, and that a stop waits for answers.
SEND_SECONDS, STOP_SECONDS = 60.0, 5.0
#: Seconds after which an unconfirmed job is late, and for which the end of a job is recent.
LATE_SECONDS, RECENT_SECONDS = 600, 3600
#: Lines of one message, and characters of a line.
LINES, LONGEST = 20, 300


class Event(NamedTuple):
    """What is said of an event.

    Args:
        begins: what happened.
        over: what is said once it is over; '' = it happens once.
        command: shows more.
        kind: how bad it is.
    """

    begins: str
    over: str
    command: str
    kind: Kind = "warning"


EVENTS: Final[Mapping[str, Event]] = {
    "account_held": Event(
        "the account is held", "the account is free again", "runqueue stats", "failure"
    ),
    "budget_80": Event(
        "a budget is spent to 80 %", "a budget is below 80 % again", "runqueue budgets list"
    ),
    "budget_spent": Event(
        "a budget is spent", "a budget has room again", "runqueue budgets list", "failure"
    ),
    "unconfirmed": Event(
        "jobs are unconfirmed for long",
        "no job is unconfirmed for long",
        "runqueue unconfirmed list",
    ),
    "needs_person": Event("a run needs a person", "a run goes on", "runqueue jobs list --paused"),
    "batch_over": Event("a batch is over", "", "runqueue batch list", "info"),
    "batch_aborted": Event("a batch was aborted", "", "runqueue batch list", "failure"),
    "failures": Event(
        "many jobs of a group fail", "fewer jobs of a group fail", "runqueue jobs list --state failed"
    ),
    "no_worker": Event(
        "no worker serves the account", "a worker serves it again", "runqueue doctor", "failure"
    ),
}
#: What a gateway sends: no worker can.
_OF_GATEWAY: Final = frozenset({"no_worker"})
#: Commands that show every account.
OF_ALL_ACCOUNTS: Final = ("runqueue stats", "runqueue doctor")


class Condition(NamedTuple):
    """What goes on: in words, and since when; 0 = that is not known."""

    words: str
    since_us: int


class Notifier:
    """Sends notifications of one account, in one process; lives on its event loop.

    Args:
        account: which.
        role: a gateway sends that no worker lives, a worker all else.
        settings: the account's.
        public_url: the gateway's; None = not known.
        send: runs scripts.
        counter: the metric of notifications.
    """

    def __init__(
        self,
        account: str,
        role: Literal["worker", "gateway"],
        settings: Account,
        *,
        public_url: str | None,
        send: AsyncSend,
        counter: Counter,
    ) -> None:
        self._account, self._role, self._settings = account, role, settings
        self._public_url, self._send, self._counter = public_url, send, counter
        #: Sends to the URL of a number: '' once it is sent, else why not. The simulation has its own.
        self.deliver: Callable[[int, Message], Awaitable[str]] = Sender(settings.notify_urls)
        self._events = _OF_GATEWAY if role == "gateway" else EVENTS.keys() - _OF_GATEWAY
        self._redact = Redactor([*settings.keys, *settings.signing_secrets])
        self._process = secrets.token_hex(8)
        #: Since when what goes on differs from what was sent.
        self._changed: dict[str, int] = {}
        #: What is being sent, and what of it Redis does not know yet.
        self._sending: dict[asyncio.Task[None], Sequence[str]] = {}
        self._unrecorded: dict[str, str] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if there is a URL."""
        if self._settings.notify_urls and self._loop is None:
            self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is being sent has some seconds to be recorded."""
        if self._loop is not None:
            self._loop.cancel()
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - a bug must not end it for good
                # Its words may hold what is sent.
                log.warning("notices_failed", account=self._account, error=type(error).__name__)
            await asyncio.sleep(EVERY)

    async def round(self) -> None:
        """Look once, and begin to send what is due."""
        # As of before Redis is read: what is recorded meanwhile may not be in the reply.
        busy = {*flat(self._sending.values())}
        now, *reply = await self._exchange()
        if not reply:
            self._changed = {}
            return
        records = {}
        for field, value in rows(reply[0], 0, 2):
            if field.decode().partition(":")[0] in self._events:
                records[field.decode()] = tuple(map(int, value.split()))
        seen = await self._look(reply[1])
        differ = records.keys() ^ seen.keys()
        self._changed = {key: self._changed.get(key, now) for key in differ}
        due: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for key in {**seen, **records}:
            name = key.partition(":")[0]
            if key not in differ:
                is_due = now - records[key][1] >= REPEAT_SECONDS * 1e6
            else:
                is_due = now - self._changed[key] >= SETTLE_SECONDS * 1e6 or not EVENTS[name].over
            if is_due and key not in busy:
                due[name, key not in seen].append(key)
        for (name, is_over), keys in due.items():
            lines, sent = [], {}
            for key in keys:
                old, new = records.get(key), seen.get(key)
                since = old[0] if old else (new and new.since_us) or self._changed[key]
                words = new.words if new else key.partition(":")[2] or f"account {self._account}"
                time = f"to {_utc(self._changed[key])}" if is_over else f"since {_utc(since)}"
                lines.append(f"- {words} ({time})")
                sent[key] = "" if is_over else f"{since} {now}"
            self._begin(name, is_over, lines, sent)

    def _begin(self, name: str, is_over: bool, lines: list[str], sent: dict[str, str]) -> None:
        """Begin to send a message to all URLs that want it.

        Args:
            name: of the event.
            is_over: whether it is over.
            lines: one for each condition.
            sent: what is recorded afterwards.
        """
        event, n = EVENTS[name], len(lines)
        words = event.over if is_over else event.begins
        urls = [i for i, url in enumerate(self._settings.notify_urls, 1) if name in url.events]
        if not urls and event.over and not is_over:
            return
        if n > LINES:
            lines[LINES:] = [f"- and {n - LINES:,} more"]
        is_of_all = self._account == DEFAULT or event.command in OF_ALL_ACCOUNTS
        where = "" if is_of_all else f" --account {self._account}"
        lines += ["", f"More: `{event.command}{where}`"]
        if self._public_url:
            lines.append(f"{self._public_url}/?account={self._account}")
        title = f"runqueue ({self._account}): {words}{f' ({n:,} of them)' if n > 1 else ''}"
        kind: Kind = "success" if is_over else event.kind
        message = Message(name, title, "\n".join(lines), kind, [*sent])
        # When a batch's end is over, nothing is left to say.
        task = asyncio.create_task(self._tell(message, urls if words else [], sent))
        self._sending[task] = message.keys
        task.add_done_callback(self._sending.pop)

    async def _tell(self, message: Message, urls: Sequence[int], sent: dict[str, str]) -> None:
        """Send a message to URLs, and record it once each has it or is given up."""
        are_sent = await asyncio.gather(*(self._deliver(one, message) for one in urls))
        # What happens once is done with its message, unless no URL took that.
        if not EVENTS[message.event].over and (any(are_sent) or not urls):
            sent = dict.fromkeys(sent, "")
        self._unrecorded |= sent
        with suppress(RedisError, RunQueueError, OSError):  # the next round records it
            await self._exchange()

    async def _deliver(self, number: int, message: Message) -> bool:
        try:
            why = await asyncio.wait_for(self.deliver(number, message), SEND_SECONDS)
        except TimeoutError:
            why = f"no answer within {SEND_SECONDS:g} s"
        result = "failed" if why else "sent"
        self._counter.labels(self._account, message.event, number, result).inc()
        if why:
            about = {"account": self._account, "notify_url": number, "about": message.event}
            log.warning("notification_failed", why=why, **about)
        return not why

    async def _exchange(self) -> list[Any]:
        """Record what was sent, and read what there is to send."""
        sent = dict(self._unrecorded)
        times = [int(seconds * 1e6) for seconds in (LEASE_SECONDS, LATE_SECONDS, RECENT_SECONDS)]
        arguments = [self._role, self._process, *times, *flat(sent.items())]
        call = ScriptCall(load("notices"), self._account, arguments, list)
        reply = await self._send(call)
        for key in sent:
            self._unrecorded.pop(key, None)
        return [int(reply[0]), *reply[1:]]

    async def _look(self, conditions: Sequence[Any]) -> dict[str, Condition]:
        """Return what goes on.

        Args:
            conditions: as `notices.lua` replies.
        """
        seen = {}
        for field, since, jobs, bad in rows(conditions, 0, 4):
            key, n, failed = field.decode(), int(jobs), int(bad)
            event, _, subject = key.partition(":")
            own = self._settings
            is_few = n < own.notify_failure_jobs or failed < n * own.notify_failure_share
            if event == "failures" and is_few:
                continue
            words = {
                "unconfirmed": f"{n:,} jobs",
                "needs_person": f"job {subject} waits for a person",
                "failures": f"group {subject}: {failed} of the last {n} jobs failed or are dead",
                "no_worker": f"no worker process serves account {self._account}: start one",
            }
            seen[key] = Condition(words.get(event, f"batch {subject}"), int(since))
        if self._role == "worker":
            await self._add_batches(seen)
            await self._add_budgets(seen)
            stats = await self._send(job_calls.stats(self._account))
            kinds = {"account_paused", "account_held"}
            if holds := [one.words for one in stats.waits_for if one.kind in kinds]:
                words_of_all = self._redact.text("; ".join(holds))[:LONGEST]
                seen["account_held:"] = Condition(words_of_all, 0)
        return seen

    async def _add_batches(self, seen: dict[str, Condition]) -> None:
        """Say of the first batches what became of them."""
        for key in [key for key in seen if not EVENTS[key.partition(":")[0]].over][:LINES]:
            with suppress(*UNREADABLE, RunQueueError):
                batch = await self._send(job_calls.get_batch(self._account, key.partition(":")[2]))
                counts = [f"{n:,} {state.value}" for state, n in batch.states.items()]
                name = f" ({batch.name[:LONGEST]})" if batch.name else ""
                words = f"{seen[key].words}{name}: {', '.join([batch.status.value, *counts])}"
                seen[key] = seen[key]._replace(words=words)

    async def _add_budgets(self, seen: dict[str, Condition]) -> None:
        scopes = sorted(await self._send(budgets.budget_scopes(self._account)))
        for start in range(0, len(scopes), budgets.A_CALL):
            some = scopes[start : start + budgets.A_CALL]
            for use in await self._send(budgets.read_budgets(self._account, some)):
                name = use.target if use.target == use.scope else f"{use.target} of {use.scope}"
                words = f"{name}: {use.spent:,} spent of {use.budget.words()}"
                for event, share in (("budget_80", 0.8), ("budget_spent", 1)):
                    if use.spent_ratio >= share:
                        seen[f"{event}:{name}"] = Condition(words, 0)


def _utc(at_us: int) -> str:
    return utc(datetime.fromtimestamp(at_us / 1e6, UTC))
