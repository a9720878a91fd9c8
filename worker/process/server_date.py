"""What Skyvern's own clock shows, as far as its answers say.

A run that was made after a claim has a later date than the server gave before it. That holds
whatever becomes of our clocks meanwhile: the queue's may be set, or stand still with its machine.
"""

from collections.abc import Callable

from api_client.elapsed import elapsed


class ServerDate:
    """Keeps the date of the newest answer.

    Args:
        clock: seconds, of a clock that nobody sets.
    """

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        self._ahead: float | None = None

    def note(self, date: float | None) -> None:
        """Take note of an answer's date, unix seconds; None = it had none."""
        if date is not None:
            self._ahead = date - self._clock()

    def now_us(self) -> int | None:
        """Return what the server's clock shows at least, microseconds; None = not known.

        It may show more: dates are in whole seconds, and a machine that stood still counts none.
        """
        return None if self._ahead is None else int((self._clock() + self._ahead) * 1e6)
