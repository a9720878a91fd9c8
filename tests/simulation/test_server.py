"""The real Valkey below the simulated Redis."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from redis.exceptions import ResponseError

from simulation.history import EventHistory
from simulation.processes import SimulatedProcess
from simulation.server import SimulatedRedis, ValkeyInstance
from simulation.virtual.loop import VirtualLoop


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyInstance]:
    server = ValkeyInstance(tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_signal_during_a_command_ends_it_and_is_no_error_of_redis(valkey: ValkeyInstance) -> None:
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            valkey.command("DEBUG", "SLEEP", "1", then=("PING",))
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_after_an_error_the_next_command_gets_its_own_reply(valkey: ValkeyInstance) -> None:
    with pytest.raises(ResponseError):
        valkey.command("NO_SUCH_COMMAND", then=("PING",))

    assert valkey.command("ECHO", "one", then=("ECHO", "two")) == (b"one", b"two")


@pytest.mark.parametrize("dies", [True, False])
def test_a_step_of_the_clock_is_unwitnessed_if_who_saw_it_ends_before_its_next_report(
    tmp_path: Path, *, dies: bool
) -> None:
    loop = VirtualLoop()
    first, second = (SimulatedProcess(name, loop, Random(0)) for name in ("first", "second"))
    server = SimulatedRedis(ValkeyInstance(tmp_path), loop, Random(0), EventHistory(loop))
    server._note_report(first)
    loop.now = 42.0
    server.set_clock(10_000.0)
    loop.now = 60.0  # until then it took no writes
    first.is_dead = dies
    for process in (second,) if dies else (first, second):
        server._note_report(process)
    assert server.unwitnessed(42.0) == (10_000.0 if dies else 0.0)
    assert server.unwitnessed(70.0) == 0.0, "it began in the time after the step"
    loop.close()
