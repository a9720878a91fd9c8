"""Prometheus' own tool, which has its own parser."""

import shutil
import subprocess
from collections.abc import Callable

import pytest

Promtool = Callable[..., str]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Run promtool and return what it says; it must be content."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus, or see prometheus.io")

    def ask(*arguments: object) -> str:
        done = subprocess.run(
            [found, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return ask
