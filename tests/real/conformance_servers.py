"""The two servers of the conformance test: a real Skyvern, and the simulator beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.simulators import SimulatorProcess


@dataclass(frozen=True)
class Server:
    """One API under comparison.

    Args:
        name: `real` or `simulated`.
        base_url: where it answers.
        api_key: a key that it accepts.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)


@contextmanager
def simulated(*options: str) -> Iterator[Server]:
    """`python -m simulator` in a process of its own, for as long as the context lasts."""
    simulator = SimulatorProcess.start(*options)
    try:
        yield Server("simulated", simulator.url, "simulator-key")
    finally:
        simulator.stop()
