"""What holds an account's submissions, in words."""

import time
from collections.abc import Collection

from runqueue.cli.shared.formatting import printable
from runqueue.cli.shared.queues import Queue
from runqueue.cli.shared.saying import Saying
from runqueue.records.account import AccountStats

#: Seconds between two polls of the holds.
_EVERY = 5.0


def hold_words(stats: AccountStats) -> str:
    """Return what holds an account's submissions, until when, what ends it, and what else does."""
    also = f"; also: {stats.also_waits_for}" if stats.also_waits_for else ""
    reason = printable(f"{stats.hold_reason or ''}{also}")
    resume = "`runqueue resume`"
    if stats.account != "default":
        resume = f"`runqueue resume {stats.account}`"
    if stats.hold_kind == "budget" and not stats.paused:
        return f"account {stats.account}: nothing is submitted: {reason}"
    if stats.waits_for_a_person:
        until = f"until {resume}"
    else:
        until = f"for the next {stats.hold_seconds:.0f} s"
        if stats.may_be_resumed:
            until += f" ({resume} tries at once)"
    return f"account {stats.account}: nothing is submitted {until}: {reason}"


def _words(stats: AccountStats) -> list[tuple[str, str]]:
    """Return what keeps an account's jobs waiting: the condition, as for `Saying`, and words."""
    found = []
    if stats.damage:
        return [(stats.damage, f"account {stats.account} is stopped: {printable(stats.damage)}")]
    if stats.hold_reason:
        found.append((stats.hold_reason, hold_words(stats)))
    elif not stats.processes:
        found.append(("", f"no worker process serves account {stats.account}"))
    return found


class Holds:
    """Reports what keeps followed jobs waiting; lasting holds are reported again.

    Args:
        queue: the queue.
        messages: prints them.
    """

    def __init__(self, queue: Queue, messages: Saying) -> None:
        self._queue = queue
        self._saying = messages
        self._next = time.monotonic() + _EVERY

    def poll(self, accounts: Collection[str]) -> None:
        """Poll every few seconds; calls in between do nothing.

        Args:
            accounts: the accounts of the followed jobs.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        for account, stats in self._queue.stats().items():
            for reason, words in _words(stats) if account in accounts else ():
                self._saying.print((account, reason), words)
