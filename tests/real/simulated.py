"""The simulator in the place of a real server, for the same tests."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

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


@contextmanager
def simulated_target(*options: str) -> Iterator[Target]:
    """Have a simulator.

    Args:
        options: of its command line.
    """
    command = [sys.executable, "-m", "simulator", "--port", "0", *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        base_url = child.stdout.readline().split()[-1]
        child.stdout.close()
        target = SimulatedTarget(base_url, _KEY, "simulated", None, has_browser=True)
        try:
            yield target
        finally:
            target.close()
    finally:
        child.terminate()
        child.wait(40)
