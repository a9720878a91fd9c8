"""`runqueue top`: the queue's live statistics in the terminal."""

import time
from collections import deque
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from runqueue.cli.shared.output import open_console
from runqueue.cli.shared.queues import Queue, Url, opened
from runqueue.cli.top.render import picture
from runqueue.cli.top.snapshot import TopView, take_snapshot
from runqueue.connection.client import find_url
from runqueue.connection.urls import shown_url
from runqueue.errors import QueueUnavailable

#: Seconds over which rates are measured, and for `--once`. Runs end in bursts, with the polls.
RATES_SECONDS, ONCE_SECONDS = 10.0, 5.0


def top(
    *,
    every: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="Seconds between two polls.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print one snapshot, with the rates of five seconds.")
    ] = False,
    url: Url = None,
) -> None:
    """Show the queue live: holds, counts, rates, groups, batches and workers.

    Ctrl-C ends it. While the queue is away, the last snapshot stays and polling continues. If the
    output is no terminal, one snapshot is printed.
    """
    console = open_console()
    with opened(url) as queue:
        screen = Screen(queue, shown_url(url or find_url()))
        screen.poll()
        if once or not console.is_terminal:
            time.sleep(ONCE_SECONDS)
            screen.poll()
            console.print(screen.shown())
            return
        _follow(console, screen, every)


def _follow(console: Console, screen: "Screen", every: float) -> None:
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen.shown(), refresh=True)
                time.sleep(every)
                screen.poll_patiently()
    except KeyboardInterrupt:
        return  # the usual end


class Screen:
    """The snapshots of the last seconds, and the error of the last poll.

    Args:
        queue: what is polled.
        where: its Redis or gateway, without what is secret.
    """

    def __init__(self, queue: Queue, where: str) -> None:
        self._queue = queue
        self._where = where
        self._snapshots: deque[TopView] = deque()
        self._trouble = ""

    def poll(self) -> None:
        """Poll again.

        Raises:
            QueueUnavailable: the queue cannot be reached.
        """
        seen = take_snapshot(self._queue)
        self._snapshots.append(seen)
        while len(self._snapshots) > 2 and seen.at - self._snapshots[1].at >= RATES_SECONDS:
            self._snapshots.popleft()
        self._trouble = ""

    def poll_patiently(self) -> None:
        """Poll again; while the queue is away, keep the last snapshot and show its age."""
        try:
            self.poll()
        except QueueUnavailable as error:
            age = time.monotonic() - self._snapshots[-1].at if self._snapshots else 0.0
            self._trouble = f"figures of {age:.0f} s ago: {error}"

    def shown(self) -> RenderableType:
        """Return the display."""
        before = self._snapshots[0] if len(self._snapshots) > 1 else None
        return picture(before, self._snapshots[-1], where=self._where, trouble=self._trouble)
