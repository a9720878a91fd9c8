"""Running the simulation in an interpreter of its own, whose clocks it replaces."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def simulate(*options: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Run `python -m simulation` with options."""
    return subprocess.run(
        [sys.executable, "-m", "simulation", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
