"""Limits of time for many things at once, looked after by one timer.

A timer of its own costs a request a tenth of all its CPU (uvloop makes, starts and closes a handle
of libuv's for it), and nearly none ever goes off.
"""

import asyncio
import math
from types import TracebackType

#: Seconds. A loop's clock may say a moment less than the time that a timer was set to.
_EARLY = 0.01


class Deadlines:
    """Ends what takes too long in one event loop; looks at all of it once a second.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: set[Deadline] = set()
        self._is_looking = False

    def within(self, seconds: float) -> "Deadline":
        """Return a context that is ended by a TimeoutError when its time is up.

        Args:
            seconds: rounded up to the next whole second of the loop's clock.
        """
        now = self._loop.time()
        if not self._is_looking:
            self._look_after(now)
        return Deadline(self._open, math.ceil(now + seconds))

    def _look_after(self, now: float) -> None:
        self._is_looking = True
        self._loop.call_at(math.floor(now) + 1, self._look)

    def _look(self) -> None:
        now = self._loop.time() + _EARLY
        for deadline in [deadline for deadline in self._open if deadline.due <= now]:
            deadline.end()
        self._is_looking = False
        if self._open:
            self._look_after(now)


class Deadline:
    """The inside of a `with` in one task; `asyncio.timeout` but for the timer.

    Args:
        others: those that are looked at; it is one of them while it is entered.
        due: the time of the loop's clock at which it ends.
    """

    __slots__ = ("_cancels", "_is_over", "_open", "_task", "due")

    def __init__(self, others: "set[Deadline]", due: float) -> None:
        self._open = others
        self._is_over = False
        self.due = due

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline holds for a task")
        self._task = task
        self._cancels = task.cancelling()
        self._open.add(self)

    def end(self) -> None:
        """End what goes on inside."""
        self._is_over = True
        self._open.discard(self)
        self._task.cancel()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.discard(self)
        # If somebody else cancels the task as well, that is what it is told.
        others_do_not = self._is_over and self._task.uncancel() <= self._cancels
        if others_do_not and exc_type is asyncio.CancelledError:
            raise TimeoutError from exc_value
