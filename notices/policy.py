"""What is told: which conditions begin, last and end, and the messages that say so.

A condition is told once when it begins, hourly while it lasts, and once when it is over; what
happens once is told once. Each URL has its own account of that, so none waits for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from runqueue.ids import DEFAULT
from runqueue.records.waits import utc

#: Seconds after which what lasts is told again, and after which what could not be told is not
#: tried any more.
REPEAT_SECONDS, GIVE_UP_SECONDS = 3600, 86_400
#: Conditions of one account that are told apart; lines of one message, and characters of a line.
MOST, LINES, LONGEST = 1_000, 20, 300

Kind = Literal["info", "success", "warning", "failure"]


class Event(NamedTuple):
    """How an event is told.

    Args:
        words: what happened.
        over: what is said once it is over; '' = it happens once, and is never over.
        command: shows more.
        kind: how bad it is.
        settle: seconds that it has to last before it is told, and to be gone before it is over.
    """

    words: str
    over: str
    command: str
    kind: Kind = "warning"
    settle: float = 0


EVENTS: Final[Mapping[str, Event]] = {
    "account_held": Event(
        "the account is held", "the account is free again", "runqueue stats", "failure", 30
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
        "many jobs of a group fail",
        "jobs of a group end well again",
        "runqueue jobs list --state failed",
        "warning",
        60,
    ),
    "no_worker": Event(
        "no worker serves the account", "a worker serves it again", "runqueue doctor", "failure", 60
    ),
}


#: Commands that show every account.
OF_ALL_ACCOUNTS = ("runqueue stats", "runqueue doctor")


class Key(NamedTuple):
    """What is told: an event, and of what; '' = of the account."""

    event: str
    subject: str = ""

    @property
    def field(self) -> str:
        """Its field of `notices`."""
        return f"{self.event}:{self.subject}"


@dataclass(slots=True)
class Notice:
    """What was told of one condition.

    Args:
        since_us: when it began.
        over_us: when it was over; 0 = it lasts.
        sent: when it was last told, by the number of the URL; told to be over = not in there.
        known: its value in `notices`; '' = it is not there.
    """

    since_us: int
    over_us: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    known: str = ""

    @property
    def stored(self) -> str:
        """Its value in `notices`, without what was sent."""
        return f"{self.since_us} {self.over_us}"


class Seen(NamedTuple):
    """A condition as it is now: in words, and since when if that is known."""

    words: str
    since_us: int = 0


class Message(NamedTuple):
    """One message to one URL.

    Args:
        receiver: the URL's number, from 1.
        event: what it is about.
        is_over: whether it says that this is over.
        keys: all that it tells of.
        title, body, kind: as Apprise takes them.
    """

    receiver: int
    event: str
    is_over: bool
    keys: tuple[Key, ...]
    title: str
    body: str
    kind: Kind

    def changes(self, now_us: int) -> dict[str, str]:
        """Return what is to be recorded of it once it is sent."""
        at = "" if self.is_over else str(now_us)
        return {sent_field(self.receiver, key): at for key in self.keys}


def sent_field(receiver: int, key: Key) -> str:
    """Return the field of `notices` that says when a URL was told."""
    return f"sent:{receiver}:{key.field}"


def read_notices(fields: Mapping[str, str]) -> dict[Key, Notice]:
    """Read what was told, as the hash `notices` has it."""
    found: dict[Key, Notice] = {}
    for name, value in fields.items():
        event, _, subject = name.partition(":")
        if event in EVENTS:
            since, over = map(int, value.split())
            found[Key(event, subject)] = Notice(since, over, known=value)
    for name, value in fields.items():
        if name.startswith("sent:"):
            _, receiver, event, subject = name.split(":", 3)
            # One that was over while it was being sent is not known any more.
            notice = found.setdefault(Key(event, subject), Notice(int(value)))
            notice.sent[int(receiver)] = int(value)
    return found


class Plan(NamedTuple):
    """What a round does: what it records first, the batches of which all is told, and messages."""

    fields: dict[str, str]
    batches: list[tuple[str, str]]
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides what is told of an account.

    Args:
        account: which.
        events: those that this process watches.
        receivers: the events of each URL, in their order.
        public_url: the gateway's; None = not known.
    """

    account: str
    events: frozenset[str]
    receivers: Sequence[frozenset[str]]
    public_url: str | None = None

    def plan(self, now_us: int, notices: dict[Key, Notice], seen: Mapping[Key, Seen]) -> Plan:
        """Compare what goes on with what was told.

        Args:
            now_us: the queue's clock.
            notices: what was told; kept up to date.
            seen: all that goes on, but for batches, of which some are seen at a time.
        """
        fields: dict[str, str] = {}
        batches: list[tuple[str, str]] = []
        untold: Counter[str] = Counter()
        for key, one in seen.items():
            if not self._wanted(key):
                batches += self._done(key)
            elif key not in notices and len(notices) < MOST:
                notices[key] = Notice(one.since_us or now_us)
            elif key not in notices:
                untold[key.event] += 1
        for key, notice in list(notices.items()):
            if key.event in self.events:
                self._settle(now_us, key, notice, seen)
                if self._is_finished(now_us, key, notice):
                    del notices[key]
                    batches += self._done(key)
                    told = {sent_field(n, key): "" for n in notice.sent}
                    fields |= {key.field: "", **told}
                elif notice.stored != notice.known:
                    fields[key.field] = notice.stored
        messages = self._messages(now_us, notices, seen, untold)
        return Plan(fields, batches, list(messages))

    def _wanted(self, key: Key) -> list[int]:
        """Return the numbers of the URLs that are told of it."""
        return [n for n, events in enumerate(self.receivers, 1) if key.event in events]

    @staticmethod
    def _done(key: Key) -> list[tuple[str, str]]:
        what = key.event.removeprefix("batch_")
        return [(key.subject, what)] if what != key.event else []

    def _settle(self, now_us: int, key: Key, notice: Notice, seen: Mapping[Key, Seen]) -> None:
        """Note that a condition is over, or back before that was told."""
        if key in seen:
            notice.over_us = 0
        elif EVENTS[key.event].over and not notice.over_us:
            notice.over_us = now_us

    def _is_finished(self, now_us: int, key: Key, notice: Notice) -> bool:
        """Say whether nothing of it is left to tell."""
        wanted = self._wanted(key)
        told = [n for n in wanted if n in notice.sent]
        if not EVENTS[key.event].over:
            is_old = now_us - notice.since_us > GIVE_UP_SECONDS * 1e6
            return len(told) == len(wanted) or is_old
        is_old = now_us - notice.over_us > GIVE_UP_SECONDS * 1e6
        return bool(notice.over_us) and (not told or is_old)

    def _messages(
        self,
        now_us: int,
        notices: Mapping[Key, Notice],
        seen: Mapping[Key, Seen],
        untold: Mapping[str, int],
    ) -> Iterator[Message]:
        for receiver, events in enumerate(self.receivers, 1):
            for name in EVENTS:
                if name not in events & self.events:
                    continue
                of_event = {key: one for key, one in notices.items() if key.event == name}
                begun = [
                    key
                    for key, one in of_event.items()
                    if key in seen
                    and self._is_due(now_us, name, one, receiver)
                    and not self._is_worse(key, events, seen)
                ]
                settled = now_us - EVENTS[name].settle * 1e6
                over = [
                    key
                    for key, one in of_event.items()
                    if receiver in one.sent and 0 < one.over_us <= settled
                ]
                more = untold.get(name, 0)
                if begun:
                    lines = [_line(key, seen[key].words, notices[key], now_us) for key in begun]
                    yield self._message(receiver, name, begun, lines, more)
                if over:
                    lines = [_line(key, _label(key), notices[key], now_us) for key in over]
                    yield self._message(receiver, name, over, lines, 0, is_over=True)

    @staticmethod
    def _is_worse(key: Key, events: frozenset[str], seen: Mapping[Key, Seen]) -> bool:
        """Say whether a URL hears of a budget at 80 % that it is spent."""
        worse = Key("budget_spent", key.subject)
        return key.event == "budget_80" and worse in seen and worse.event in events

    @staticmethod
    def _is_due(now_us: int, name: str, notice: Notice, receiver: int) -> bool:
        event, last = EVENTS[name], notice.sent.get(receiver)
        if last is None:
            return now_us - notice.since_us >= event.settle * 1e6
        return bool(event.over) and now_us - last >= REPEAT_SECONDS * 1e6

    def _message(
        self,
        receiver: int,
        name: str,
        keys: Sequence[Key],
        lines: list[str],
        more: int,
        *,
        is_over: bool = False,
    ) -> Message:
        event, n = EVENTS[name], len(keys) + more
        words = (event.over if is_over else event.words) + (f" ({n:,} of them)" if n > 1 else "")
        shown = lines[:LINES]
        if n > len(shown):
            shown.append(f"- and {n - len(shown):,} more")
        is_of_all = self.account == DEFAULT or event.command in OF_ALL_ACCOUNTS
        where = "" if is_of_all else f" --account {self.account}"
        shown += ["", f"More: `{event.command}{where}`"]
        if self.public_url:
            shown.append(f"{self.public_url}/?account={self.account}")
        title = f"runqueue ({self.account}): {words}"
        kind: Kind = "success" if is_over else event.kind
        return Message(receiver, name, is_over, tuple(keys), title, "\n".join(shown), kind)


def _label(key: Key) -> str:
    """Return what is over, where it may not be known in other words any more."""
    return key.subject.rpartition(" ")[2] or "account"


def _line(key: Key, words: str, notice: Notice, now_us: int) -> str:
    words = words[:LONGEST]
    if not EVENTS[key.event].over:
        return f"- {words} (at {_utc(notice.since_us)})"
    until = f" to {_utc(notice.over_us)}" if notice.over_us else ""
    return f"- {words} ({'from' if until else 'since'} {_utc(min(notice.since_us, now_us))}{until})"


def _utc(at_us: int) -> str:
    return utc(datetime.fromtimestamp(at_us / 1e6, UTC))
