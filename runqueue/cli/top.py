"""`runqueue top`: the queue's figures in the terminal, again and again."""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from runqueue.cli.exits import errors_told
from runqueue.cli.look import Look, look
from runqueue.cli.picture import picture
from runqueue.cli.queues import redis_is_needed
from runqueue.connect import find_url
from runqueue.errors import QueueUnavailable
from runqueue.queue import RunQueue
from runqueue.urls import shown_url

#: Seconds between the two looks of `--once`, which make its rates.
_ONCE_SECONDS = 1.0


def top(
    *,
    every: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print one picture, with the rates of a second.")
    ] = False,
) -> None:
    """Show the queue live: what holds it, its figures and rates, groups, batches, workers.

    Ctrl-C ends it. While Redis is away the last figures stay, and it is asked again. Where the
    output is no terminal, one picture is printed.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    redis_is_needed()
    with errors_told(), RunQueue() as queue:
        screen = _Screen(console, queue)
        screen.look()
        if once or not console.is_terminal:
            time.sleep(_ONCE_SECONDS)
            screen.look()
            console.print(screen.shown(whole=True), soft_wrap=True)
            return
        _follow(console, screen, every)


def _follow(console: Console, screen: "_Screen", every: float) -> None:
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen.shown(), refresh=True)
                time.sleep(every)
                screen.look_patiently()
    except KeyboardInterrupt:
        return  # how everybody ends it


class _Screen:
    """The last two looks, and what keeps us from another.

    Args:
        console: the terminal.
        queue: what is looked at.
    """

    def __init__(self, console: Console, queue: RunQueue) -> None:
        self._console = console
        self._queue = queue
        self._where = shown_url(find_url())
        self._before: Look | None = None
        self._now: Look | None = None
        self._trouble = ""

    def look(self) -> None:
        """Look again.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        seen = look(self._queue)
        self._before, self._now = self._now, seen
        self._trouble = ""

    def look_patiently(self) -> None:
        """Look again; while Redis is away the figures stay, and it is said for how long."""
        try:
            self.look()
        except QueueUnavailable as error:
            age = time.monotonic() - self._now.at if self._now else 0.0
            self._trouble = f"figures of {age:.0f} s ago: {error}"

    def shown(self, *, whole: bool = False) -> Text:
        """Return the picture for the terminal as it is now; the whole of it however long it is."""
        assert self._now is not None  # noqa: S101 - nothing is shown before the first look
        width, height = self._console.size
        return picture(
            self._before,
            self._now,
            where=self._where,
            trouble=self._trouble,
            width=width,
            height=None if whole else height,
        )
