"""What was said already: what lasts is said again, in ever longer intervals."""

import time
from collections.abc import Callable, Hashable

#: Seconds after which what lasts is said again; then twice as long, and so on.
AGAIN = 60.0


class Saying:
    """Says what is seen again and again, but not each time.

    Args:
        say: prints the words.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._due: dict[Hashable, tuple[float, float]] = {}

    def tell(self, what: Hashable, words: str) -> None:
        """Say words, unless that was said lately.

        Args:
            what: what they are about; another thing is said at once.
            words: what is said.
        """
        now = time.monotonic()
        due, wait = self._due.get(what, (now, AGAIN))
        if now >= due:
            self._due[what] = now + wait, 2 * wait
            self._say(words)
