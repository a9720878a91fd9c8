"""Clocks of processes, set while they run."""

from dataclasses import dataclass
from pathlib import Path

#: Where libfaketime is looked for.
FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/faketime/libfaketime.so.1"),
    Path("/opt/homebrew/lib/faketime/libfaketime.1.dylib"),
)


class SkippedError(Exception):
    """An experiment cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock of one process, set while it runs.

    Args:
        file: what libfaketime reads the offset from.
    """

    file: Path

    def set(self, seconds: float) -> None:
        """Set the clock ahead (or back) of the true time, in seconds."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}\n")
        fresh.rename(self.file)

    def environment(self) -> dict[str, str]:
        """Return what makes a process read this clock.

        Raises:
            SkippedError: libfaketime is not installed.
        """
        library = next((path for path in FAKETIME if path.exists()), None)
        if library is None:
            raise SkippedError("libfaketime is not installed: apt-get install libfaketime")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }
