"""What this process met of one account's damaged keys: logged, and reported to all who look."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from runqueue.damage import BELIEVED_SECONDS, REPORT_SECONDS, damage_of, report_key, told_by
from runqueue.scripts import Call

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
        self._met = self._reported = float("-inf")
        self._reports: set[asyncio.Task[None]] = set()

    @property
    def is_there(self) -> bool:
        """Whether some was met of late."""
        return time.monotonic() - self._met < BELIEVED_SECONDS

    def met(self, call: Call[Any], error: Exception) -> None:
        """Take note of what a script call raised; report it once in a while, if it is damage."""
        words = damage_of(error)
        if words is None:
            return
        self._met = time.monotonic()
        if self._met - self._reported < REPORT_SECONDS:
            return
        self._reported = self._met
        words = told_by(call, words)
        log.error("account_damaged", account=self._account, damage=words)
        report = asyncio.get_running_loop().create_task(self._report(words))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _report(self, words: str) -> None:
        # Where Redis is away nobody reads it either; it is met again.
        with suppress(RedisError, OSError):
            await self._client.set(report_key(self._account), words, ex=BELIEVED_SECONDS)
