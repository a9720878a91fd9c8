"""Reading which jobs have ended, in order, from any point of the last days on.

Every end is appended to its day's list (`ended:<day>`, kept for retention), and a list is cut at
its head only once the retention of its jobs is over. So a reader's position is a day and an index
for each account, and the ends that it has missed come after.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import redis.asyncio
import structlog

from runqueue.connection.redis_errors import damage_of
from runqueue.ids import is_name
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.retention import SURELY_RETAINED_SECONDS
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, load

log = structlog.get_logger()

#: Ends that are read at a time.
PAGE = 200
#: Days for which a list surely has all of its entries.
DAYS = SURELY_RETAINED_SECONDS // 86_400
_DAY_US = 86_400_000_000
_PLACE = re.compile(r"([a-z0-9_-]{1,32}):([0-9]{1,6}):([0-9]{1,12})")


class LogPosition(NamedTuple):
    """Where to read one account's ends next."""

    day: int
    at: int


class NoCursor(ValueError):  # noqa: N818 - what it says is in its name
    """A text is not a cursor."""


@dataclass(slots=True)
class Cursor:
    """The position of a reader.

    Args:
        positions: by account.
    """

    positions: dict[str, LogPosition] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Read a cursor as `str` writes it.

        Raises:
            NoCursor: it is not a cursor.
        """
        positions: dict[str, LogPosition] = {}
        for part in text.split(",") if text else ():
            found = _PLACE.fullmatch(part)
            if not found or not is_name(found[1]):
                raise NoCursor(text)
            positions[found[1]] = LogPosition(int(found[2]), int(found[3]))
        return cls(positions)

    def __str__(self) -> str:
        parts = sorted(self.positions.items())
        return ",".join(f"{name}:{position.day}:{position.at}" for name, position in parts)


class EndLogReader:
    """Reads the ends of jobs for one listener.

    Args:
        queue: the queue, as the listener sees it.
        client: of its Redis.
        account: the one account to read; None: every one that the queue has.
        cursor: where to begin; None: with the next job that ends.
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
        """Find where to begin: jobs that end from now on will be read."""
        await self._find_places()
        self._at_end = False

    async def read(self) -> list[tuple[str, str]]:
        """Return the next ends as (job id, account), and move on; empty: none so far."""
        found: list[tuple[str, str]] = []
        for account in await self._find_places():
            with _skipping_damage(account):
                found += [(job_id, account) for job_id in await self._read(account)]
        return found

    async def _find_places(self) -> list[str]:
        """Return the accounts to read; others that a cursor may name are ignored."""
        known = [self._account] if self._account else await self._queue.accounts()
        for account in known:
            if account not in self.cursor.positions:
                with _skipping_damage(account):
                    day = await self._today(account)
                    self.cursor.positions[account] = LogPosition(
                        day, await self._length(account, day)
                    )
        return [account for account in known if account in self.cursor.positions]

    async def _length(self, account: str, day: int) -> int:
        """Return where to begin an account: at its end, or, if it is new, at its beginning."""
        if not self._at_end:
            return 0
        length: Any = self._client.llen(_list(account, day))
        return int(await length)

    async def _read(self, account: str) -> list[str]:
        """Read a page of an account."""
        # First the day: later entries are in the list of this day, or of a later one.
        today = await self._today(account)
        day, index = self.cursor.positions[account]
        if day < today - DAYS:
            day, index = today - DAYS, 0
        while True:
            entries = await self._entries(account, day, index)
            if entries or day >= today:
                break
            day, index = day + 1, 0
        self.cursor.positions[account] = LogPosition(day, index + len(entries))
        return [entry for entry in entries if " " not in entry]  # "orphan <run>" is no job

    async def _entries(self, account: str, day: int, index: int) -> list[str]:
        page = self._client.lrange(_list(account, day), index, index + PAGE - 1)
        return [raw.decode() for raw in await cast(Awaitable[list[bytes]], page)]

    async def _today(self, account: str) -> int:
        """Return the day by the queue's clock, which may differ from this host's."""
        now = ScriptCall(load("job_states"), account, [], lambda reply: int(reply[0]))
        return await self._queue.send(now) // _DAY_US


@contextmanager
def _skipping_damage(account: str) -> Iterator[None]:
    """Skip an account whose keys are damaged; the others are still read."""
    try:
        yield
    except Exception as error:
        if (damage := damage_of(error)) is None:
            raise
        log.warning("account_not_read", account=account, damage=damage)


def _list(account: str, day: int) -> str:
    return Keys(account).ended_on(day)
