"""What this process met of one account's damaged keys: logged, and reported to all readers."""

import asyncio
import time
from contextlib import suppress

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from runqueue.store.damage import (
    BELIEVED_SECONDS,
    REPORT_SECONDS,
    damage_of,
    is_of_one,
    report_key,
)

log = structlog.get_logger()


class Damage:
    """Takes note of errors that are the account's own; lives on the process's event loop.

    Args:
        account: the account.
        client: of the queue's Redis.
    """

    def __init__(self, account: str, client: redis.asyncio.Redis) -> None:
        self._account = account
        self._client = client
        self._seen = float("-inf")
        #: When damage of one record was reported last, and of the account.
        self._reported = {True: float("-inf"), False: float("-inf")}
        self._reports: set[asyncio.Task[None]] = set()

    @property
    def is_recent(self) -> bool:
        """Whether some was seen of late."""
        return time.monotonic() - self._seen < BELIEVED_SECONDS

    def note(self, script: str, error: Exception) -> None:
        """Take note of what a script raised; report it once in a while, if it is damage.

        Args:
            script: its name.
            error: what its call raised.
        """
        words = damage_of(error)
        if words is None:
            return
        self._seen = time.monotonic()
        of_one = is_of_one(words)
        if self._seen - self._reported[of_one] < REPORT_SECONDS:
            return
        self._reported[of_one] = self._seen
        words = f"{script}: {words}"
        event = "record_damaged" if of_one else "account_damaged"
        log.error(event, account=self._account, damage=words)
        report = asyncio.get_running_loop().create_task(self._report(words, of_one=of_one))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _report(self, words: str, *, of_one: bool) -> None:
        # Where Redis is away nobody reads it either; it is seen again.
        with suppress(RedisError, OSError):
            key = report_key(self._account, of_one=of_one)
            await self._client.set(key, words, ex=BELIEVED_SECONDS)
