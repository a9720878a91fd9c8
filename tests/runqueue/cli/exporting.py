"""Results files, and what cuts the writing of them off."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.runqueue.cli.commanding import Desk, batch_of, lines


def rows_of(text: str | bytes) -> list[dict[str, Any]]:
    """Return lines of JSON, each of which has to be whole."""
    assert not text or text[-1:] in ("\n", b"\n")
    return [json.loads(row) for row in text.splitlines()]


def keys_of(path: Path) -> list[str]:
    """Return the custom_ids of a file's lines."""
    return [row["custom_id"] for row in rows_of(path.read_bytes())]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def over(desk: Desk, count: int) -> str:
    """Hand in a batch, every job of which completes."""
    batch = batch_of(desk, *lines(count))
    while jobs := desk.claim():
        desk.end(jobs)
    return batch


def command(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    """Give a command in a process of its own."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("RUNQUEUE_", "SKYVERN_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "runqueue.cli", *arguments],
        cwd=desk.folder,
        env={**clean, "RUNQUEUE_REDIS_URL": desk.url, **desk.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
