"""What a process and all that it started take: memory, CPU time, open files (Linux)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process, and those that it started, and those that these started."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def memory_mb(pid: int) -> float:
    """The memory of a process and all that it started; what they share counts once."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and all that it started and that live."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def open_files(pid: int) -> list[str]:
    """The files that a process and all that it started have open."""
    found = []
    for one in tree(pid):
        with suppress(OSError):
            for file in Path(f"/proc/{one}/fd").iterdir():
                with suppress(OSError):
                    found.append(str(file.readlink()))
    return found


@dataclass
class Peak:
    """The most memory that was seen."""

    mb: float = 0.0


@asynccontextmanager
async def peak_of(pid: int, every: float = 0.01) -> AsyncIterator[Peak]:
    """Watch the memory of a process and all that it started, once every so many seconds."""
    peak = Peak()

    def watch() -> None:
        peak.mb = max(peak.mb, memory_mb(pid))

    async def watching() -> None:
        while True:
            await asyncio.to_thread(watch)
            await asyncio.sleep(every)

    task = asyncio.create_task(watching())
    try:
        yield peak
    finally:
        task.cancel()
        await asyncio.wait([task])
