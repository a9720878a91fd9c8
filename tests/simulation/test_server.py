"""The real Valkey below the simulated Redis."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from simulation.server import ValkeyInstance


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
