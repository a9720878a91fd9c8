"""The lease of this process in one account: its name, and until when it may send.

A claim names its process. The heartbeat renews the lease every 5 s; after 15 s without one another
worker's sweep (`expire_leases.lua`) takes its claims to unconfirmed. So the last act before sending
is to read the clock here: 14 s after the start of the last acknowledged heartbeat nothing is
sent, whatever Redis thinks.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable

import structlog

from api_client.elapsed import elapsed, elapsed_us
from runqueue.connection.redis_errors import damage_of
from runqueue.store import worker_calls
from runqueue.store.scripts import ScriptCall
from worker.process.read_health import ReadReport

log = structlog.get_logger()

LEASE_SECONDS = 15.0
BEAT_SECONDS = 5.0
#: Seconds after a failed heartbeat until the next: a Redis that has come back waits to hear us.
AGAIN_SECONDS = 0.5
#: Seconds after the start of an acknowledged heartbeat during which this process may send.
SEND_SECONDS = 14.0


def new_name() -> str:
    """Return a name no process ever had: host, process id, and chance."""
    host = socket.gethostname().split(".")[0][:16].lower()
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


class Lease:
    """Keeps the lease of one process in one account.

    Args:
        account: the account's name.
        send: how to run a script.
        announce: awaited before a name's first heartbeat: says what a Redis that knows nothing of
            us (the first one, or one that took over empty) has to know, such as the limits.
        clock: seconds, of a clock that nobody sets and that counts while the machine is suspended.
        reads: how this process's reads fare.
        date_us: what the server's own clock shows at least (microseconds); None = not known.
    """

    def __init__(
        self,
        account: str,
        send: Callable[[ScriptCall[int]], Awaitable[int]],
        announce: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = elapsed,
        *,
        reads: Callable[[], ReadReport] = ReadReport,
        date_us: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.name = new_name()
        #: The highest claim sequence this process saw: a Redis that lost writes shows a lower one.
        #: -1 = none was seen yet.
        self.sequence = -1
        self._account = account
        self._send = send
        self._announce = announce
        self._clock = clock
        self._reads = reads
        self._date_us = date_us
        self._good_until = 0.0
        self._first = True

    def may_send(self, name: str) -> bool:
        """Say whether a claim made under `name` may still be sent."""
        return name == self.name and self._clock() < self._good_until

    async def beat(self) -> None:
        """Renew the lease; a lost one is begun again under a new name.

        What was claimed under the old name and not sent yet is not sent any more (`may_send`).
        """
        if self._first:
            await self._announce()
        start = self._clock()
        known = self.sequence  # a claim of ours may be answered while the heartbeat is on its way
        lease_us = int(LEASE_SECONDS * 1_000_000)
        seen = await self._send(
            worker_calls.heartbeat(
                self._account,
                self.name,
                lease_us,
                known,
                elapsed_us(),
                first=self._first,
                reads=self._reads(),
                date_us=self._date_us(),
            )
        )
        if seen != -1:
            if 0 <= seen < known:
                log.error("redis_lost_claims", account=self._account, known=seen, of=known)
            self.sequence = max(self.sequence, seen)
            self._first = False
            self._good_until = start + SEND_SECONDS
            return
        lost, self.name, self._first = self.name, new_name(), True
        log.warning("lease_lost", account=self._account, process=lost, new_name=self.name)
        await self.beat()

    async def keep(self) -> None:
        """Beat until canceled; trouble with Redis only means that the lease may run out."""
        pause = BEAT_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = BEAT_SECONDS
            try:
                await self.beat()
            except Exception as error:  # the next beat tries again
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # it failed as it was canceled
                log.warning("heartbeat_failed", account=self._account, error=str(error))
                if damage_of(error) is None:
                    pause = AGAIN_SECONDS
