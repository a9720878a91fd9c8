"""The ticker: what a wake-up or the tick's slot makes a process do."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from api_client.elapsed import elapsed_us
from lab.waiting import until
from runqueue import RunQueue, TaskRunRequest
from runqueue.records.claim_items import Taken
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall
from runqueue.store.sending import run
from worker import ticker as module
from worker.runtime import Runtime
from worker.ticker import TickerThread

KEYS = Keys("default")
LEASE_US = 15_000_000


class Process:
    """A process as its ticker sees it, and the messages that the ticker sends."""

    def __init__(self, client: redis.Redis, url: str, name: str) -> None:
        self.name = name
        self.client = client
        self.wakes: list[tuple[str, str]] = []
        self.messages: list[tuple[str, str, int]] = []
        self.begun: list[tuple[str, str, int]] = []
        self.broker: Exception | None = None
        self.consumer = SimpleNamespace(takes_more=False)
        self.stopping = threading.Event()
        fake = SimpleNamespace(
            url=url,
            accounts={
                "default": SimpleNamespace(
                    lease=SimpleNamespace(name=name), consumers={"submit": self.consumer}
                )
            },
            stopping=self.stopping,
            wake=lambda account, stage: self.wakes.append((account, stage)),
            begin=lambda stage, account, tick_us: self.begun.append((stage, account, tick_us)),
        )
        run(client, worker_calls.heartbeat("default", name, LEASE_US, -1, elapsed_us(), first=True))
        self.ticker = TickerThread("default", cast(Runtime, fake), self._send)

    def _send(self, stage: str, account: str, tick_us: int) -> None:
        if self.broker is not None:
            raise self.broker
        self.messages.append((stage, account, tick_us))

    def begin_consumer(self, stage: str = "submit") -> None:
        """Enter an active consumer."""
        call: ScriptCall[Taken[Any]] = (
            worker_calls.claim("default", self.name, "c0", 0, 0)
            if stage == "submit"
            else worker_calls.poll_claim("default", self.name, 0, 0, LEASE_US)
        )
        assert run(self.client, call).answer == "ok"

    def stages(self) -> list[str]:
        """The stages of the messages sent."""
        return [stage for stage, _, _ in self.messages]

    def wait_for_the_slot(self) -> None:
        """Only wake-ups count from now on."""
        self.ticker._next_tick = time.monotonic() + 60


Make = Callable[[str], Process]


@pytest.fixture
def process(client: redis.Redis, redis_url: str) -> Iterator[Make]:
    made: list[Process] = []

    def make(name: str) -> Process:
        made.append(Process(client, redis_url, name))
        return made[-1]

    yield make
    for one in made:
        one.stopping.set()
        if one.ticker._thread.is_alive():
            one.ticker.join(5)
        one.ticker._redis.close()


def enqueue(queue: RunQueue, n: int = 1) -> None:
    queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}] * n)


def test_a_wake_up_brings_one_message_with_the_servers_time(queue: RunQueue, process: Make) -> None:
    one = process("p1")
    one.wait_for_the_slot()
    enqueue(queue, 500)

    one.ticker.once()

    ((stage, account, tick_us),) = one.messages
    assert (stage, account) == ("submit", "default")
    seconds, rest = cast(Any, one.client.time())
    assert 0 <= seconds * 1_000_000 + rest - tick_us < 5_000_000


@pytest.mark.parametrize("takes_more", [True, False], ids=["free capacity", "full"])
def test_a_wake_up_wakes_the_own_consumer_and_needs_a_script_only_if_that_is_full(
    queue: RunQueue, process: Make, client: redis.Redis, takes_more: bool
) -> None:
    one = process("p1")
    one.wait_for_the_slot()
    one.begin_consumer()
    one.consumer.takes_more = takes_more
    enqueue(queue)
    client.config_resetstat()

    one.ticker.once()

    assert (one.wakes, one.messages) == ([("default", "submit")], [])
    assert ("cmdstat_fcall" in client.info("commandstats")) is not takes_more


def test_a_wake_up_is_passed_on_to_the_process_that_has_the_consumer(
    queue: RunQueue, process: Make, client: redis.Redis
) -> None:
    one, other = process("p1"), process("p2")
    for each in (one, other):
        each.wait_for_the_slot()
    other.begin_consumer()
    enqueue(queue)

    one.ticker.once()
    assert (one.wakes, one.messages) == ([], [])
    assert client.llen(KEYS.wake("p2")) == 1
    other.ticker.once()

    assert (other.wakes, other.messages) == ([("default", "submit")], [])
    assert client.llen(KEYS.wake("p2")) == 0


def test_the_tick_sends_what_is_due_and_only_one_process_has_the_slot(
    queue: RunQueue, process: Make, client: redis.Redis
) -> None:
    one, other = process("p1"), process("p2")
    enqueue(queue, 150)
    client.delete(KEYS.wake())
    client.zadd(f"{KEYS.prefix}poll", {"job": 1})
    client.zadd(f"{KEYS.prefix}cancels", {"job": 1})

    one.ticker.once()
    other.ticker.once()

    assert sorted(one.stages()) == ["cancel", "poll", "submit", "submit", "sweep"]
    assert other.messages == []


def test_between_two_ticks_the_process_only_waits(process: Make) -> None:
    one = process("p1")
    one.ticker.once()
    first = len(one.messages)
    begun = time.monotonic()

    one.ticker.once()

    # It waited for a wake-up until its next tick was due, and then took the slot again.
    assert 0.2 < time.monotonic() - begun < 5
    assert len(one.messages) == first


def test_trouble_with_redis_does_not_end_the_thread(
    process: Make,
    client: redis.Redis,
    queue: RunQueue,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[Any],
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    client.set(KEYS.wake(), "not a list")
    one = process("p1")
    one.ticker.start()
    until(lambda: len(logged) >= 2)
    assert {event["event"] for event in logged} == {"tick_failed"}
    client.delete(KEYS.wake())

    enqueue(queue)

    until(lambda: "submit" in one.stages())
    one.stopping.set()
    one.ticker.join(5)
    assert not one.ticker._thread.is_alive()


def test_what_the_broker_does_not_take_is_begun_in_this_process(
    process: Make, queue: RunQueue, logged: list[Any]
) -> None:
    one = process("p1")
    one.broker = OSError("command not allowed when used memory > 'maxmemory'")
    queue.enqueue(TaskRunRequest(prompt="x"))
    one.ticker.start()
    until(lambda: ("submit", "default") in [begun[:2] for begun in one.begun])
    assert "message_refused" in [event["event"] for event in logged]

    one.broker = None

    until(lambda: "submit" in one.stages())
