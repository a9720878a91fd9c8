"""Compares what goes on in an account with what was sent, every 15 s, and sends the difference.

What lasts is sent when it begins, hourly, and when it is over; what happens to a batch or schedule,
once. A lease in Redis has one process do this at a time. What was sent is recorded afterwards: a
message comes again if its process is killed, or stands still for as long as the lease, before it
records it.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from config.redaction import Redactor
from config.settings import Account
from runqueue.errors import RunQueueError
from runqueue.records.waits import utc
from runqueue.request.time_range import from_microseconds
from runqueue.store import budgets, job_calls
from runqueue.store.replies import flat, rows
from runqueue.store.scripts import AsyncSend, ScriptCall, load
from webhooks.notices.sending import Kind, Message, UrlSender

log = structlog.get_logger()

#: Seconds between two rounds, and for which a process that died keeps the others from theirs.
EVERY, LEASE_SECONDS = 15.0, 45.0
#: Seconds that a condition has to last, or to be gone, before that is sent; before the first new
#: try of what no URL took, doubled up to the next; and between repeats.
SETTLE_SECONDS, AGAIN_SECONDS, REPEAT_SECONDS = 30.0, 60.0, 3600
#: Seconds after which a URL that gave no answer is given up, and that a stop waits for answers.
SEND_SECONDS, STOP_SECONDS = 60.0, 5.0
#: Seconds after which an unconfirmed job is late, and for which the end of a job is recent.
LATE_SECONDS, RECENT_SECONDS = 600, 3600
#: Lines of one message, and characters of a line.
LINES, LONGEST = 20, 300


class Event(NamedTuple):
    """What is said as it begins, and is over ('' = it happens once), and what shows more."""

    begins: str
    over: str
    command: str
    kind: Kind = "warning"


EVENTS: Final[Mapping[str, Event]] = {
    "account_held": Event("account held", "account free again", "stats", "failure"),
    "budget_80": Event("budget at 80 %", "budget below 80 % again", "budgets list --account {}"),
    "budget_spent": Event("budget spent", "budget is left", "budgets list --account {}", "failure"),
    "unconfirmed": Event("jobs unconfirmed", "jobs settled", "unconfirmed list --account {}"),
    "needs_person": Event("run needs a person", "run goes on", "jobs list --paused --account {}"),
    "batch_over": Event("batch over", "", "batch list --account {}", "info"),
    "batch_aborted": Event("batch aborted", "", "batch list --account {}", "failure"),
    "failures": Event("many jobs fail", "fewer jobs fail", "jobs list --state failed --account {}"),
    "no_worker": Event("no worker", "worker is back", "doctor", "failure"),
    "archive_waits": Event("archive is behind", "archive has caught up", "doctor", "failure"),
    "new_errors": Event("new errors", "new errors are rare", "errors --since 24h --account {}"),
    "schedule_missed": Event("firing missed", "", "schedules list --account {}"),
    "schedule_failed": Event("firing failed", "", "schedules list --account {}", "failure"),
    "schedule_paused": Event("schedule paused itself", "", "schedules list --account {}"),
}
NOTIFICATIONS: Final = Counter(
    "runqueue_notifications",
    "Notifications sent or failed, by event and the number of the URL.",
    ["account", "event", "notify_url", "result"],
    registry=None,
)
#: What goes on, by <event>:<subject>: in words, and since when; 0 = that is not known.
Conditions = dict[str, tuple[str, int]]


class Notifier:
    """Sends notifications of one account, in one process; lives on its event loop.

    Args:
        account: which.
        settings: the account's.
        public_url: the gateway's; None = not known.
        send: runs scripts.
    """

    def __init__(
        self, account: str, settings: Account, public_url: str | None, send: AsyncSend
    ) -> None:
        self._account, self._settings = account, settings
        self._public_url, self._send = public_url, send
        #: Sends to the URL of a number: '' = sent, else why not. The simulation has its own.
        self.deliver: Callable[[int, Message], Awaitable[str]] = UrlSender(settings.notify_urls)
        self._redact = Redactor([*settings.keys, *settings.signing_secrets])
        self._process = secrets.token_hex(8)
        #: Since when what goes on differs from what was sent.
        self._changed: dict[str, int] = {}
        #: What no URL has taken: when that was tried last, and for how many seconds it waits.
        self._tried: dict[str, tuple[int, float]] = {}
        #: When the last job of each group ended whose failures were sent, as far as that was seen.
        self._ended: dict[str, int] = {}
        #: What is being sent, and what of it Redis does not know yet.
        self._sending: dict[asyncio.Task[None], Sequence[str]] = {}
        self._unrecorded: dict[str, str] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if there is a URL; the metric shows each failure from the first on."""
        for number, url in enumerate(self._settings.notify_urls, 1):
            for event in url.events:
                NOTIFICATIONS.labels(self._account, event, number, "failed")
        if self._settings.notify_urls and self._loop is None:
            self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is being sent has some seconds to be recorded."""
        if self._loop is not None:
            self._loop.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=STOP_SECONDS)

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
            self._changed, self._tried, self._ended = {}, {}, {}
            return
        records = {
            field.decode(): (int(value.split()[0]), int(value.split()[1]))
            for field, value in rows(reply[0], 0, 2)
            if field != b"lease"
        }
        self._ended = {key: self._ended.get(key, now) for key in records}
        seen = await self._look(reply[1], now)
        differ = records.keys() ^ seen.keys()
        self._changed = {key: min(now, self._changed.get(key, now)) for key in differ}
        due: dict[tuple[str, bool], list[str]] = defaultdict(list)
        self._tried = {key: self._tried[key] for key in self._tried if key in {**seen, **records}}
        for key in {**seen, **records}:
            name = key.partition(":")[0]
            tried, pause = self._tried.get(key, (0, 0))
            if key not in differ:
                # As far ahead: the clock stepped back.
                is_due = abs(now - records[key][1]) >= REPEAT_SECONDS * 1e6
                is_due &= name != "budget_80" or key.replace("80", "spent", 1) not in seen
            else:
                is_due = now - self._changed[key] >= SETTLE_SECONDS * 1e6 or not EVENTS[name].over
            if is_due and key not in busy and abs(now - tried) >= pause * 1e6:
                due[name, key not in seen].append(key)
                self._tried[key] = now, min(2 * pause or AGAIN_SECONDS, REPEAT_SECONDS)
        for (name, is_over), keys in due.items():
            lines, sent = [], {}
            for key in keys:
                old, new = records.get(key), seen.get(key)
                since = min(now, old[0]) if old else (new and new[1]) or self._changed[key]
                words = new[0] if new else key.partition(":")[2] or f"account {self._account}"
                at = from_microseconds(self._changed[key] if is_over else since)
                lines.append(f"- {words} ({'to' if is_over else 'since'} {utc(at)})")
                sent[key] = "" if is_over else f"{since} {now}"
            self._begin(name, is_over, lines, sent)

    def _begin(self, name: str, is_over: bool, lines: list[str], sent: dict[str, str]) -> None:
        """Begin to send a message to all URLs that want it, and to record it."""
        event, n = EVENTS[name], len(lines)
        words = event.over if is_over else event.begins
        urls = [i for i, url in enumerate(self._settings.notify_urls, 1) if name in url.events]
        if not urls and event.over and not is_over:
            return
        if n > LINES:
            lines[LINES:] = [f"- and {n - LINES:,} more"]
        lines += ["", f"More: `runqueue {event.command.format(self._account)}`"]
        if self._public_url:
            lines.append(f"{self._public_url}/?account={self._account}")
        title = f"runqueue ({self._account}): {words}{f' ({n:,} of them)' if n > 1 else ''}"
        kind: Kind = "success" if is_over else event.kind
        message = Message(name, title, "\n".join(lines), kind, [*sent])
        task = asyncio.create_task(self._report(message, urls, sent))
        self._sending[task] = message.keys
        task.add_done_callback(self._sending.pop)

    async def _report(self, message: Message, urls: Sequence[int], sent: dict[str, str]) -> None:
        """Send a message to URLs, and record it once each has it or is given up, and one has it."""
        are_sent = await asyncio.gather(*(self._deliver(one, message) for one in urls))
        if urls and not any(are_sent):
            return
        for key, value in sent.items():
            self._tried.pop(key, None)
            self._unrecorded[key] = value if EVENTS[message.event].over else ""
        with suppress(RedisError, RunQueueError, OSError):  # the next round records it
            await self._exchange()

    async def _deliver(self, number: int, message: Message) -> bool:
        try:
            why = await asyncio.wait_for(self.deliver(number, message), SEND_SECONDS)
        except (TimeoutError, RuntimeError) as error:  # or no thread can be started
            why = f"no answer within {SEND_SECONDS:g} s ({type(error).__name__})"
        labels = self._account, message.event, number, "failed" if why else "sent"
        NOTIFICATIONS.labels(*labels).inc()
        if why:
            about = {"account": self._account, "notify_url": number, "about": message.event}
            log.warning("notification_failed", why=why, **about)
        return not why

    async def _exchange(self) -> list[Any]:
        """Record what was sent, and read what there is to send."""
        sent = dict(self._unrecorded)
        times = [int(seconds * 1e6) for seconds in (LEASE_SECONDS, LATE_SECONDS, RECENT_SECONDS)]
        arguments = [self._process, *times, *flat(sent.items())]
        reply = await self._send(ScriptCall(load("notices"), self._account, arguments, list))
        for key in sent:
            self._unrecorded.pop(key, None)
        return [int(reply[0]), *reply[1:]]

    async def _look(self, conditions: Sequence[Any], now: int) -> Conditions:
        # Of a busy account, the jobs that are read may be all of other groups.
        seen: Conditions = {
            key: (f"group {key.partition(':')[2]}: too few newer ends are known", 0)
            for key, at in self._ended.items()
            if key.startswith("failures:") and abs(now - at) < RECENT_SECONDS * 1e6
        }
        for field, at, jobs, bad in rows(conditions, 0, 4):
            key, since, n, failed = field.decode(), int(at), int(jobs), int(bad)
            event, _, subject = key.partition(":")
            if event == "failures":
                self._ended[key], since = since, 0
                if n < self._settings.notify_failure_jobs:
                    continue
                if failed < n * self._settings.notify_failure_share:
                    seen.pop(key, None)
                    continue
            words = {
                "unconfirmed": f"{n:,} jobs",
                "needs_person": f"job {subject} waits for a person",
                "failures": f"group {subject}: {failed} of the last {n} jobs failed or are dead",
            }
            batch = f"batch {subject}: {n:,} jobs ended, {failed:,} of them failed or are dead"
            if event.startswith("schedule_"):
                words[event] = self._redact.text(f"schedule {subject}")[:LONGEST]
            seen[key] = words.get(event, batch), since
        await self._look_at_budgets(seen)
        stats = await self._send(job_calls.stats(self._account))
        kinds = {"account_paused", "account_held"}
        if holds := [one.words for one in stats.waits_for if one.kind in kinds]:
            seen["account_held:"] = self._redact.text("; ".join(holds))[:LONGEST], 0
        if (archive := stats.archive) and archive.is_late:
            since = now - int(archive.oldest_seconds * 1e6)
            seen["archive_waits:"] = self._redact.text(archive.words())[:LONGEST], since
        for error, n in stats.archive.new_errors.items() if stats.archive else ():
            seen[f"new_errors:{error}"] = f"error {error}: {n:,} jobs in the last hour", 0
        if not stats.processes:
            seen["no_worker:"] = f"no worker process serves account {self._account}", 0
        return seen

    async def _look_at_budgets(self, seen: Conditions) -> None:
        scopes = await self._send(budgets.budget_scopes(self._account))
        for start in range(0, len(scopes), budgets.A_CALL):
            some = scopes[start : start + budgets.A_CALL]
            for use in await self._send(budgets.read_budgets(self._account, some)):
                name = use.target if use.target == use.scope else f"{use.target} of {use.scope}"
                words = f"{name}: {use.spent:,} spent of {use.budget.words()}"
                for event, share in (("budget_80", 0.8), ("budget_spent", 1)):
                    if use.spent_ratio >= share:
                        seen[f"{event}:{name}"] = words, 0
