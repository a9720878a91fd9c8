"""The simulator in the place of a real server, for the same tests."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from lab.simulators import SimulatorProcess
from tests.real.target import Target

#: The key that the simulator takes.
_KEY = "simulator-key"


class SimulatedTarget(Target):
    """A simulator; one that cannot be told of workflows knows whatever id is asked for."""

    def workflow(
        self, title: str, parameters: Sequence[Mapping[str, Any]] = (), blocks: Any = None
    ) -> str:
        """Make a workflow, as a server does."""
        try:
            return super().workflow(title, parameters, blocks)
        except (httpx.HTTPStatusError, KeyError):
            return f"wpid_{title.rpartition('-')[0].rpartition('-')[2]}"

    def forget(self, run_id: str) -> None:
        """Delete a run that is over."""
        httpx.delete(f"{self.base_url}/_runs/{run_id}").raise_for_status()


@contextmanager
def simulated_target(*options: str) -> Iterator[Target]:
    """Have a simulator.

    Args:
        options: of its command line.
    """
    simulator = SimulatorProcess.start(*options)
    try:
        target = SimulatedTarget(simulator.url, _KEY, "simulated", None, has_browser=True)
        try:
            yield target
        finally:
            target.close()
    finally:
        simulator.stop()
