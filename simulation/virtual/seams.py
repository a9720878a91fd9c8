"""Replaces the clocks, random sources and names of Python by those of the current process.

`install` runs before any module of the product is imported: some keep `time.monotonic` as a
default.
"""

import os
import random
import socket
import time
from random import Random
from typing import Any

from simulation.processes import CURRENT

#: The random source of code that runs in no process: imports, and the simulation itself.
_OUTSIDE = Random(0)
_PID = 4242


def _chance() -> Random:
    process = CURRENT.get(None)
    return _OUTSIDE if process is None else process.chance


def install() -> None:
    """Replace them, for the rest of this interpreter's life."""
    true_monotonic, true_time = time.monotonic, time.time

    def monotonic() -> float:
        process = CURRENT.get(None)
        return true_monotonic() if process is None else process.elapsed()

    def wall() -> float:
        process = CURRENT.get(None)
        return true_time() if process is None else process.wall()

    def urandom(size: int) -> bytes:
        return _chance().randbytes(size)

    true_host = socket.gethostname

    def host() -> str:
        process = CURRENT.get(None)
        return true_host() if process is None else process.host

    replaced: dict[Any, dict[str, Any]] = {
        time: {
            "monotonic": monotonic,
            "time": wall,
            "time_ns": lambda: int(wall() * 1e9),
            "clock_gettime": lambda _: monotonic(),
            "clock_gettime_ns": lambda _: int(monotonic() * 1e9),
        },
        random: {
            "random": lambda: _chance().random(),
            "uniform": lambda a, b: _chance().uniform(a, b),
            "sample": lambda population, k: _chance().sample(population, k),
            "choice": lambda population: _chance().choice(population),
            "_urandom": urandom,  # what `secrets` draws from
        },
        # The same for all, since clients of Redis watch it: hosts and chance tell names apart.
        os: {"urandom": urandom, "getpid": lambda: _PID},
        socket: {"gethostname": host},
    }
    for module, names in replaced.items():
        for name, replacement in names.items():
            setattr(module, name, replacement)
