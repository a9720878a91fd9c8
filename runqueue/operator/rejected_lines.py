"""The operator's actions on lines that were refused: list, throw away, try again."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple, Self

from runqueue.producer.inbox import line_again
from runqueue.producer.queue import RunQueue
from runqueue.store.inbox_calls import InboxLook, inbox_again, inbox_look

#: Refused lines read, or moved, in one script call; each may hold a megabyte.
PAGE = 100


class RefusedLine(NamedTuple):
    """A line that was refused, as an account keeps it.

    Args:
        stored: the entry itself.
        record: it as an object; a foreign entry is shown as one of ours.
    """

    account: str
    stored: bytes
    record: dict[str, Any]

    @property
    def error(self) -> str:
        """What is wrong with it, in words."""
        faults = self.record.get("error")
        if not isinstance(faults, list):
            return "not an entry of runqueue's"
        shown = [fault for fault in faults if isinstance(fault, dict)]
        return "; ".join(f"{fault.get('field')}: {fault.get('message')}" for fault in shown)

    @property
    def at(self) -> datetime | None:
        """When it was refused; None where the entry does not say."""
        try:
            return datetime.fromisoformat(self.record["at"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def line(self) -> Any:
        """The line as text that can be printed, also where it was not UTF-8."""
        return _printable(self.record.get("line"))

    @property
    def custom_id(self) -> str | None:
        """What its producer called the job; None where the line does not say."""
        try:
            found = json.loads(self.record["line"])
        except (KeyError, TypeError, ValueError):
            return None
        name = found.get("custom_id") if isinstance(found, dict) else None
        return _printable(name) if isinstance(name, str) else None

    @classmethod
    def read(cls, account: str, stored: bytes) -> Self:
        """Return a refused line from its entry, as the account keeps it."""
        return cls(account, stored, _record(stored))


class RejectedLines:
    """The refused lines of a queue's accounts.

    Args:
        queue: the queue.
    """

    def __init__(self, queue: RunQueue) -> None:
        self.queue = queue

    def look(self, account: str) -> InboxLook:
        """Count an account's lines: those that wait, are taken, and were refused."""
        return self.queue.send(inbox_look(account, 0, 0))

    def find(self, account: str | None = None, reason: str | None = None) -> Iterator[RefusedLine]:
        """Yield refused lines, oldest first.

        Args:
            account: only this one's.
            reason: only those whose error contains this text.
        """
        for name in self.queue.accounts():
            if account in {None, name}:
                yield from self._of(name, reason)

    def _of(self, account: str, reason: str | None) -> Iterator[RefusedLine]:
        start = 0
        while page := self.queue.send(inbox_look(account, start, PAGE)).page:
            start += len(page)
            for stored in page:
                line = RefusedLine.read(account, stored)
                if reason is None or reason in line.error:
                    yield line

    def discard(self, lines: list[RefusedLine]) -> int:
        """Throw lines away; returns how many were still there."""
        return sum(
            self.queue.send(inbox_again(account, [(line.stored, b"") for line in some]))
            for account, some in _pages(lines)
        )

    def retry(self, lines: list[RefusedLine]) -> int:
        """Put lines back into the inbox; returns how many.

        Lines of Celery messages go to that of the account they name; a line of an inbox that names
        another account stays where it is.
        """
        known, moved = self.queue.accounts(), 0
        for account, some in _pages(lines):
            here: list[tuple[bytes, bytes]] = []
            for line in some:
                again = line_again(line.record, account)
                if again is None or again[0] not in known:
                    continue
                if again[0] == account:
                    here.append((line.stored, again[1]))
                else:
                    # First there, then off the list here: it has its key, and comes to one job.
                    self.queue.send(inbox_again(again[0], [(b"", again[1])]))
                    here.append((line.stored, b""))
            if here:
                moved += self.queue.send(inbox_again(account, here))
        return moved


def _record(stored: bytes) -> dict[str, Any]:
    try:
        # Halves of surrogate pairs encode bytes; orjson refuses them.
        record = json.loads(stored)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"line": stored.decode(errors="surrogateescape")}


def _printable(text: Any) -> Any:
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


def _pages(lines: list[RefusedLine]) -> Iterator[tuple[str, list[RefusedLine]]]:
    """Yield the lines by account, a page at a time."""
    by_account: dict[str, list[RefusedLine]] = {}
    for line in lines:
        by_account.setdefault(line.account, []).append(line)
    for account, own in by_account.items():
        for start in range(0, len(own), PAGE):
            yield account, own[start : start + PAGE]
