"""Messages about lasting conditions, repeated in ever longer intervals."""

import time
from collections.abc import Callable, Hashable

#: Seconds until a message is repeated; doubled each time.
AGAIN = 60.0


class Saying:
    """Prints messages about lasting conditions, but not at every poll.

    Args:
        say: prints a message.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._due: dict[Hashable, tuple[float, float]] = {}

    def print(self, what: Hashable, words: str) -> None:
        """Print a message, unless one about the same condition was printed lately.

        Args:
            what: the condition; a new one is reported at once.
            words: the message.
        """
        now = time.monotonic()
        due, wait = self._due.get(what, (now, AGAIN))
        if now >= due:
            self._due[what] = now + wait, 2 * wait
            self._say(words)
