"""What keeps an account's jobs from being submitted, in words."""

import time
from collections.abc import Callable, Collection

from runqueue.cli.backends.direct import AnyQueue
from runqueue.cli.shared.formatting import printable
from runqueue.cli.shared.saying import Saying
from runqueue.records.account import AccountStats

#: Seconds between two polls of what may hold the submissions.
_EVERY = 5.0


def hold_words(stats: AccountStats) -> str:
    """Return what holds an account's submissions, until when, and what ends it."""
    reason = printable(stats.hold_reason or "")
    resume = "`runqueue resume`"
    if stats.account != "default":
        resume = f"`runqueue resume {stats.account}`"
    if stats.waits_for_a_person:
        until = f"until {resume}"
    else:
        until = f"for the next {stats.hold_seconds:.0f} s"
        if stats.may_be_resumed:
            until += f" ({resume} tries at once)"
    return f"account {stats.account}: nothing is submitted {until}: {reason}"


def _words(stats: AccountStats) -> list[tuple[str, str]]:
    """Return what keeps an account's jobs waiting: what makes it worth saying again, and words."""
    found = []
    if stats.damage:
        return [(stats.damage, f"account {stats.account} stands still: {printable(stats.damage)}")]
    if stats.hold_reason:
        found.append((stats.hold_reason, hold_words(stats)))
    if not stats.processes:
        found.append(("", f"no worker process serves account {stats.account}"))
    return found


class Holds:
    """Reports what keeps followed jobs waiting; what lasts is reported again.

    Args:
        queue: the queue.
        say: prints the words when something is seen for the first time, and if it lasts.
    """

    def __init__(self, queue: AnyQueue, say: Callable[[str], None]) -> None:
        self._queue = queue
        self._saying = Saying(say)
        self._next = time.monotonic() + _EVERY

    def look(self, accounts: Collection[str]) -> None:
        """Poll every few seconds; calls between cost nothing.

        Args:
            accounts: those whose jobs are waited for.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        for account, stats in self._queue.stats().items():
            for reason, words in _words(stats) if account in accounts else ():
                self._saying.tell((account, reason), words)
