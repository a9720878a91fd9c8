"""A process that stands still at a moment of its choice, and is killed there."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


async def run_and_kill(module: str, arguments: Sequence[str], said: str) -> None:
    """Run a module as a process, and kill it by -9 once it has printed a line.

    Args:
        module, arguments: of its command.
        said: the line.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == f"{said}\n".encode()
    finally:
        process.kill()
        await process.wait()
