"""Work for check processes that goes wrong in every way; a check process imports it by its name."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator

from gateway.checks.messages import Findings


class Odd:
    """The check of a body that does what its first part says."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.kept: list[bytes] = []

    def feed(self, part: bytes) -> Iterator[None]:
        if part == b"hoard":
            for _ in range(1024):
                self.kept.append(b"x" * 1_000_000)
                yield None
        if part == b"spin":
            while True:
                yield None
        if part == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        if part.startswith(b"crash "):
            os.kill(os.getpid(), int(part.split()[1]))
        if part == b"search" and not sys.flags.safe_path:
            raise ImportError("it looks for modules where it works")
        if part == b"fail":
            raise KeyError("sesame")
        if part == b"warn":
            warnings.warn("old:\nuse the new one", stacklevel=1)

    def end(self) -> Iterator[None]:
        yield None
