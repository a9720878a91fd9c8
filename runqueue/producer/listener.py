# Generated from async_listener.py by tools/generate.py: change that, and run `make generate`.
"""Redis' messages that jobs have ended: one listener a queue, however many wait.

Every script that ends jobs publishes their ids (`save` in lua/lib/account/changes.lua). A message
reaches only those that listen at that moment, and a lost connection is noticed late. So a message
is only a reason to check at once (`waiters.py`): everything is checked now and then as well, and
once more whenever the listener has subscribed (again).
"""

import math
import threading
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from runqueue.connection.client import sync_client
from runqueue.connection.urls import listening_urls
from runqueue.producer import waiters
from runqueue.producer.waiters import CHANNELS, Silence, States, WaitedJobs, Watchers


class EndListener(Watchers[threading.Event, threading.Thread]):
    """Notifies threads of the ends of jobs.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, threading.Event)

    def close(self) -> None:
        """Stop the listener; waiters go on without it."""
        listener = self._close()
        del listener

    def pause(
        self,
        watch: WaitedJobs[threading.Event],
        give_up: float,
        read: Callable[[list[str]], States],
    ) -> bool:
        """Wait until one of the jobs of `watch` has ended; False once the time is up.

        Args:
            watch: the waiter.
            give_up: when, on the monotonic clock, the time is up.
            read: reads the states of jobs.

        Raises:
            JobNotFound: one of them is not on record; or what a check raised.
        """
        self._begin(watch)
        try:
            while True:
                turn = self._turn(watch, give_up)
                if turn.done is not None:
                    return turn.done
                if turn.check:
                    self._check_now(turn.check, read)
                else:
                    _wait(watch.news, turn.seconds)
        finally:
            self._end(watch)

    def _check_now(self, job_ids: list[str], read: Callable[[list[str]], States]) -> None:
        try:
            states = read(job_ids)
        except Exception as error:  # noqa: BLE001 - raised to every waiter of these jobs
            self._failed(job_ids, error)
        except BaseException:  # broken off: the next leader checks
            self._put_back(job_ids)
            raise
        else:
            self._learn(job_ids, states)

    def _start(self) -> threading.Thread | None:
        listener = threading.Thread(target=self._listen, name="runqueue-ends", daemon=True)
        try:
            listener.start()
        except RuntimeError:  # as many threads as there can be, or the interpreter ends
            return None
        return listener

    def _listen(self) -> None:
        me = threading.current_thread()
        try:
            servers = cycle(listening_urls(self._url))
            while self._is_wanted(me):
                next_try = time.monotonic() + waiters.PAUSE
                try:
                    # Retried here, where it is known that messages sent meanwhile are missed.
                    with sync_client(next(servers), retries=0) as client:
                        self._hear(client, me)
                except (RedisError, OSError):
                    self._lost(me)
                    time.sleep(max(0.0, next_try - time.monotonic()))
        finally:
            self._ended(me)

    def _hear(self, client: redis.Redis, me: threading.Thread) -> None:
        silence = Silence()
        with cast(Any, client).pubsub() as pubsub:
            pubsub.psubscribe(CHANNELS)
            while self._is_wanted(me):
                message = pubsub.get_message(timeout=waiters.TICK)
                self._take(me, message)
                if silence.is_to_ping(heard=message is not None):
                    pubsub.ping("?")


def _wait(event: threading.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    limit = None if seconds == math.inf else seconds
    event.wait(limit)
