"""The calls about inboxes: taking lines, settling them, and what people do to refused ones."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from runqueue.records.claim_items import Taken
from runqueue.store.replies import flat, records, rows, taken
from runqueue.store.scripts import Argument, ScriptCall, load

#: The namespaces of keys of lines: that of an inbox, which is one account's, and that of Celery
#: messages, whose lines may be of any.
INBOX, CELERY = "inbox", "celery"
#: Refused lines that an account keeps; beyond that the oldest go.
KEPT = 10_000

#: Bytes of lines in one reply of `inbox_take`.
TAKE_BYTES = 4 * 1024 * 1024


class TakenLine(NamedTuple):
    """A line of the inbox, and the number it was taken under."""

    number: str
    line: bytes


class InboxLook(NamedTuple):
    """An account's inbox at a glance.

    Args:
        waiting: lines that no worker has taken yet.
        taken: lines that a worker makes jobs of just now.
        invalid: lines that were refused.
        page: some of these, as they are kept.
    """

    waiting: int
    taken: int
    invalid: int
    page: list[bytes]


def inbox_take(
    account: str, process: str, limit: int, tick_us: int, *, stay_idle: bool, lease_us: int
) -> ScriptCall[Taken[TakenLine]]:
    """Take lines of the inbox; see `inbox_take.lua`, and `delivery_calls.delivery_claim`."""

    def parse(reply: list[Any]) -> Taken[TakenLine]:
        return taken(reply, records(TakenLine, rows(reply, 4, 2)))

    arguments: list[Argument] = [process, limit, tick_us, int(stay_idle), lease_us, TAKE_BYTES]
    return ScriptCall(load("inbox_take"), account, arguments, parse)


def inbox_done(account: str, lines: Iterable[tuple[str, bytes]]) -> ScriptCall[int]:
    """Settle lines: (number, what is kept of a refused one); see `inbox_done.lua`."""
    return ScriptCall(load("inbox_done"), account, [KEPT, *flat(lines)], int)


def inbox_look(account: str, start: int, count: int) -> ScriptCall[InboxLook]:
    """Count the lines of an inbox, and read a page of the refused ones."""

    def parse(reply: list[Any]) -> InboxLook:
        return InboxLook(reply[0], reply[1], reply[2], reply[3:])

    return ScriptCall(load("inbox_look"), account, [start, count], parse)


def newest_refused(
    account: str, count: int, most_bytes: int
) -> ScriptCall[tuple[int, list[bytes]]]:
    """Count the lines that were refused, and read the newest of them.

    Args:
        account: whose.
        count: how many are read at most.
        most_bytes: no more are read once so many came together.

    Returns:
        How many there are, and the newest as they are kept, the newest first.
    """
    arguments: list[Argument] = [count, most_bytes]
    return ScriptCall(
        load("newest_refused"), account, arguments, lambda reply: (int(reply[0]), reply[1:])
    )


def inbox_again(account: str, lines: Iterable[tuple[bytes, bytes]]) -> ScriptCall[int]:
    """Take refused lines off the list: (as kept, the line to try again); `inbox_again.lua`."""
    return ScriptCall(load("inbox_again"), account, flat(lines), int)
