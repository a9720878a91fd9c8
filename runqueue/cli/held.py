"""What holds a batch, in words that say what ends it."""

from collections.abc import Callable, Iterable

from runqueue.batches import Batch
from runqueue.cli.words import printable

_WORDS = {
    "paused": "it is paused: `runqueue batch resume {}` goes on",
    "canary": "its first jobs go; the others wait for them, or for `runqueue batch resume {}`",
    "aborted": "its rules aborted it: {why}; `runqueue batch resume {}` goes on",
    "canceled": "it was canceled",
    "expired": "its time is up: what was not submitted by then is not",
}


class Held:
    """Says, once for each reason, what holds the batches that somebody waits for.

    Args:
        say: told the words when something is seen for the first time.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[tuple[str, str]] = set()

    def look(self, batches: Iterable[Batch]) -> None:
        """Look at batches that were just read."""
        for batch in batches:
            held = batch.held or ""
            if held and (batch.id, held) not in self._said:
                self._said.add((batch.id, held))
                words = _WORDS.get(held, held).format(
                    batch.id, why=printable(batch.held_reason or "")
                )
                self._say(f"batch {batch.id}: {words}")
