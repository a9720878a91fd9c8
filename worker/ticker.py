"""The leaderless ticker: in every process one for each account, waiting for wake-ups in a thread.

Whichever process takes the tick's slot sends the Celery messages that are due; a wake-up after an
enqueue bypasses the slot. A message carries the account and the tick's server time, nothing else.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import redis
import structlog

from api_client.elapsed import elapsed_us
from runqueue.connection.client import sync_client
from runqueue.connection.redis_errors import damage_of
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from worker.runtime import AccountWorker, Runtime

log = structlog.get_logger()

#: Seconds between two ticks of an account, of all processes together.
TICK_SECONDS = 0.5
#: Seconds until the next tick where nothing is there that could come due.
IDLE_SECONDS = 1.0
#: Seconds between two tries while Redis is away; and at most, where keys are damaged.
PAUSE_SECONDS, LONGEST_PAUSE = 0.5, 10.0

#: Sends one message: stage (or `sweep`), account, the tick's server time.
Sender = Callable[[str, str, int], None]


class TickedProcess(Protocol):
    """What a ticker needs of its process; see `Runtime`."""

    @property
    def accounts(self) -> Mapping[str, AccountWorker]:
        """The accounts at work."""

    def wake(self, account: str, stage: str) -> None:
        """Tell a consumer that there may be work."""

    def begin(self, stage: str, account: str, tick_us: int) -> None:
        """Start a consumer or a sweep without a message."""


class Ticker:
    """Decides what a wake-up of one account, or the next tick, makes its process do.

    Args:
        account: the account's name.
        runtime: the process's event loop and consumers.
        send: sends a Celery message.
        client: the queue's Redis.
    """

    def __init__(
        self, account: str, runtime: TickedProcess, send: Sender, client: redis.Redis
    ) -> None:
        self._account = account
        self._runtime = runtime
        self._send = send
        self._keys = Keys(account)
        self._redis = client
        self._next_tick = 0.0
        self._pause = 0.0

    @property
    def keys(self) -> list[str]:
        """The lists of wake-ups to wait for: all processes', this one's, and that of webhooks."""
        own = self._keys.wake(self._process)
        return [self._keys.wake(), own, self._keys.wake("webhooks")]

    @property
    def wait(self) -> float:
        """Seconds to wait for a wake-up."""
        return max(0.05, self._next_tick - time.monotonic())

    @property
    def _process(self) -> str:
        return self._runtime.accounts[self._account].lease.name

    def act(self, woken: str | None, waited_for: Sequence[str]) -> None:
        """Act on a wake-up, and tick if it is time.

        Args:
            woken: the list that it was in; None = none came.
            waited_for: `keys`, as they were when the wait began.
        """
        everyone, own, _ = waited_for
        if woken == own:
            self._runtime.wake(self._account, "submit")
        elif woken == everyone:
            # A script would only find the own consumer, for a tenth of what a job alone costs.
            if self._runtime.accounts[self._account].consumers["submit"].takes_more:
                self._runtime.wake(self._account, "submit")
            else:
                self._tick(woken=True)
        elif woken is not None:
            # Without a message: the process that takes the wake-up sends the webhook.
            self._runtime.begin("webhooks", self._account, 0)
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_SECONDS
            if self._tick(woken=False) == "idle":
                self._next_tick += IDLE_SECONDS - TICK_SECONDS
        self._pause = 0.0

    def pause_after(self, error: Exception) -> float:
        """Report an error of a wait or an act; return the seconds until the next try."""
        log.warning("tick_failed", account=self._account, error=str(error))
        is_damage = damage_of(error) is not None
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if is_damage else 0.0
        self._pause = max(self._pause, PAUSE_SECONDS)
        return self._pause

    def _tick(self, *, woken: bool) -> str:
        call = worker_calls.tick(
            self._account, self._process, int(TICK_SECONDS * 1e6), elapsed_us(), woken=woken
        )
        tick = run(self._redis, call)
        if tick.answer == "wake":
            self._runtime.wake(self._account, "submit")
        for stage, count in tick.messages.items():
            for _ in range(count):
                self._begin(stage, tick.now_us)
        return tick.answer

    def _begin(self, stage: str, tick_us: int) -> None:
        """Send the message that starts a consumer; where the broker takes none, start it here.

        A full Redis takes no message, and runs have to be followed to their ends to free memory.
        """
        try:
            self._send(stage, self._account, tick_us)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            log.warning("message_refused", account=self._account, stage=stage, error=str(error))
            self._runtime.begin(stage, self._account, tick_us)


class TickerThread(Ticker):
    """A ticker that waits in a thread of its own, over a connection of its own.

    Args:
        account: the account's name.
        runtime: the process's event loop and consumers.
        send: sends a Celery message.
    """

    def __init__(self, account: str, runtime: Runtime, send: Sender) -> None:
        super().__init__(account, runtime, send, sync_client(runtime.url))
        #: The same over one connection, which no pool hands out and takes back for each wait; a
        #: cluster's client knows no such thing.
        self._waits: redis.Redis | None = None
        self._stopping = runtime.stopping
        self._thread = threading.Thread(target=self._run, name=f"tick-{account}", daemon=True)

    def start(self) -> None:
        """Begin waiting."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, which `runtime.stopping` brings."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.once()
            except Exception as error:  # noqa: BLE001 - Redis or the broker is away: try again
                self._stopping.wait(self.pause_after(error))
        if self._waits is not None:
            self._waits.close()
        self._redis.close()

    def once(self) -> None:
        """Wait for a wake-up or the next tick, and act on it."""
        if self._waits is None:
            is_one = isinstance(self._redis, redis.Redis)
            self._waits = cast(Any, self._redis).client() if is_one else self._redis
        keys = self.keys
        found = cast(Any, self._waits.blpop(keys, timeout=self.wait))
        self.act(None if found is None else found[0].decode(), keys)
