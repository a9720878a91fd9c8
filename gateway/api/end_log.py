"""Reading which jobs have ended, in order, from any point of the last week on.

Every end is appended to its day's list (`ended:<day>`, kept for retention), and a list is cut at
its head only once its jobs are a week old. So a place in a list is a place in time: where a reader
stands is the day and the index for each account, and what it has missed is what comes after.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import redis.asyncio
import structlog

from runqueue.ids import is_name
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store.damage import damage_behind
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, load

log = structlog.get_logger()

#: Ends that are read at a time.
PAGE = 200
#: Days that a list surely has all of its entries.
DAYS = 6
_DAY_US = 86_400_000_000
_PLACE = re.compile(r"([a-z0-9_-]{1,32}):([0-9]{1,6}):([0-9]{1,12})")


class LogPosition(NamedTuple):
    """Where one account's ends are read next."""

    day: int
    at: int


class NoCursor(ValueError):  # noqa: N818 - what it says is in its name
    """A text is no cursor."""


@dataclass(slots=True)
class Cursor:
    """Where a reader stands.

    Args:
        places: by account.
    """

    places: dict[str, LogPosition] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Read a cursor as `str` writes it.

        Raises:
            NoCursor: it is none.
        """
        places: dict[str, LogPosition] = {}
        for part in text.split(",") if text else ():
            found = _PLACE.fullmatch(part)
            if not found or not is_name(found[1]):
                raise NoCursor(text)
            places[found[1]] = LogPosition(int(found[2]), int(found[3]))
        return cls(places)

    def __str__(self) -> str:
        parts = sorted(self.places.items())
        return ",".join(f"{name}:{place.day}:{place.at}" for name, place in parts)


class Reader:
    """Reads the ends of jobs for one listener.

    Args:
        queue: the queue, as the listener sees it.
        client: of its Redis.
        account: the one account to read; None: every one that the queue has.
        cursor: where to begin; None: at what ends from now on.
    """

    def __init__(
        self,
        queue: AsyncRunQueue,
        client: redis.asyncio.Redis,
        account: str | None,
        cursor: Cursor | None,
    ) -> None:
        self._queue = queue
        self._client = client
        self._account = account
        self._at_end = cursor is None
        self.cursor = cursor or Cursor()

    async def start(self) -> None:
        """Find where to begin: what ends from here on will be read."""
        await self._find_places()
        self._at_end = False

    async def read(self) -> list[tuple[str, str]]:
        """Return what ended next, as (job id, account), and move on; empty: nothing so far."""
        found: list[tuple[str, str]] = []
        for account in await self._find_places():
            with _skipping_damage(account):
                found += [(job_id, account) for job_id in await self._read(account)]
        return found

    async def _find_places(self) -> list[str]:
        """Return the accounts to read: a cursor may name others, which are left alone."""
        known = [self._account] if self._account else await self._queue.accounts()
        for account in known:
            if account not in self.cursor.places:
                with _skipping_damage(account):
                    day = await self._today(account)
                    self.cursor.places[account] = LogPosition(day, await self._length(account, day))
        return [account for account in known if account in self.cursor.places]

    async def _length(self, account: str, day: int) -> int:
        """Return where an account is begun: at its end, or, if it is new, at its beginning."""
        if not self._at_end:
            return 0
        length: Any = self._client.llen(_list(account, day))
        return int(await length)

    async def _read(self, account: str) -> list[str]:
        """Read a page of an account."""
        # First the day: what is added later stands in the list of this day, or a later one.
        today = await self._today(account)
        day, index = self.cursor.places[account]
        if day < today - DAYS:
            day, index = today - DAYS, 0
        while True:
            entries = await self._entries(account, day, index)
            if entries or day >= today:
                break
            day, index = day + 1, 0
        self.cursor.places[account] = LogPosition(day, index + len(entries))
        return [entry for entry in entries if " " not in entry]  # "stray <run>" is no job

    async def _entries(self, account: str, day: int, index: int) -> list[str]:
        page = self._client.lrange(_list(account, day), index, index + PAGE - 1)
        return [raw.decode() for raw in await cast(Awaitable[list[bytes]], page)]

    async def _today(self, account: str) -> int:
        """Return the day by the queue's clock, which is not always that of its host."""
        now = ScriptCall(load("job_states"), account, [], lambda reply: int(reply[0]))
        return await self._queue.send(now) // _DAY_US


@contextmanager
def _skipping_damage(account: str) -> Iterator[None]:
    """Leave an account out whose keys are damaged: the others are read all the same."""
    try:
        yield
    except Exception as error:
        if (damage := damage_behind(error)) is None:
            raise
        log.warning("account_not_read", account=account, damage=damage)


def _list(account: str, day: int) -> str:
    return Keys(account).ended_on(day)
