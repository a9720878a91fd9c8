"""The leaderless ticker: one thread an account in every process, waiting for wake-ups.

Whichever process takes the tick's slot sends the Celery messages that are due; a wake-up after an
enqueue bypasses the slot. A message carries the account and the tick's server time, nothing else.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import redis
import structlog

from runqueue.connection.client import sync_client
from runqueue.store import worker_calls
from runqueue.store.damage import damage_of
from runqueue.store.keys import Keys
from runqueue.store.scripts import run
from worker.process.elapsed import passed_us
from worker.runtime import Runtime

log = structlog.get_logger()

#: Seconds between two ticks of an account, of all processes together.
TICK_SECONDS = 0.5
#: Seconds between two tries while Redis is away; and at most, where keys are damaged.
PAUSE_SECONDS, LONGEST_PAUSE = 0.5, 10.0

#: Sends one message: kind, account, the tick's server time.
Sender = Callable[[str, str, int], None]


class Ticker:
    """Waits for wake-ups of one account and ticks; runs in its own thread.

    Args:
        account: the account's name.
        runtime: the process's event loop and consumers.
        send: sends a Celery message.
    """

    def __init__(self, account: str, runtime: Runtime, send: Sender) -> None:
        self._account = account
        self._runtime = runtime
        self._send = send
        self._keys = Keys(account)
        self._redis: redis.Redis = sync_client(runtime.url)
        self._next_tick = 0.0
        self._pause = 0.0
        self._thread = threading.Thread(target=self._run, name=f"tick-{account}", daemon=True)

    def start(self) -> None:
        """Begin waiting."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, which `runtime.stopping` brings."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._runtime.stopping.is_set():
            try:
                self.once()
                self._pause = 0.0
            except Exception as error:  # noqa: BLE001 - Redis or the broker is away: try again
                log.warning("tick_failed", account=self._account, error=str(error))
                is_damage = damage_of(error) is not None
                self._pause = min(2 * self._pause, LONGEST_PAUSE) if is_damage else 0.0
                self._pause = max(self._pause, PAUSE_SECONDS)
                self._runtime.note_error(self._account, "tick", error)
                self._runtime.stopping.wait(self._pause)
        self._redis.close()

    def once(self) -> None:
        """Wait for a wake-up or the next tick, and act on it."""
        process = self._runtime.accounts[self._account].lease.name
        own, webhooks = self._keys.wake(process), self._keys.wake("webhooks")
        wait = max(0.05, min(TICK_SECONDS, self._next_tick - time.monotonic()))
        found = cast(Any, self._redis.blpop([self._keys.wake(), own, webhooks], timeout=wait))
        if found is not None and found[0].decode() == own:
            self._runtime.wake(self._account, "submit")
        elif found is not None and found[0].decode() == webhooks:
            # Without a message: the process that takes the wake-up sends the webhook.
            self._runtime.begin("webhooks", self._account, 0)
        elif found is not None:
            self._tick(process, woken=True)
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_SECONDS
            self._tick(process, woken=False)

    def _tick(self, process: str, *, woken: bool) -> None:
        call = worker_calls.tick(
            self._account, process, int(TICK_SECONDS * 1e6), passed_us(), woken=woken
        )
        tick = run(self._redis, call)
        if tick.answer == "nudge":
            self._runtime.wake(self._account, "submit")
        for kind, count in tick.messages.items():
            for _ in range(count):
                self._begin(kind, tick.now_us)

    def _begin(self, kind: str, tick_us: int) -> None:
        """Send the message that starts a consumer; where the broker takes none, start it here.

        A full Redis takes no message, and runs have to be followed to their ends to free memory.
        """
        try:
            self._send(kind, self._account, tick_us)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            log.warning("message_refused", account=self._account, kind=kind, error=str(error))
            self._runtime.begin(kind, self._account, tick_us)
