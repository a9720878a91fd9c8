"""The stand-in for Skyvern's API as a process, and its own record of what happened."""

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import orjson


@dataclass(slots=True)
class SimulatorProcess:
    """A simulator on a port of its own."""

    process: "subprocess.Popen[str]"
    url: str

    @classmethod
    def start(cls, *arguments: str, log: Path | None = None) -> Self:
        """Start one on a free port.

        Args:
            arguments: its options.
            log: where what it complains of goes; None = where our own does.
        """
        command = [sys.executable, "-m", "simulator", "--port", "0", *arguments]
        errors = log.open("ab") if log else None
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        if errors is not None:
            errors.close()
        assert process.stdout is not None
        with process.stdout as output:
            line = output.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start, see {log}")
        return cls(process, line.split()[-1])

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Set faults, after those that stand."""
        httpx.post(f"{self.url}/_faults", json=list(rules), timeout=30).raise_for_status()

    def no_faults(self) -> None:
        """Take every fault away."""
        httpx.delete(f"{self.url}/_faults", timeout=30).raise_for_status()

    def runs(self) -> list[dict[str, Any]]:
        """Return every run that was really created, oldest first."""
        lines = httpx.get(f"{self.url}/_ledger", timeout=60).content.splitlines()
        return [orjson.loads(line) for line in lines if line]

    def runs_per_job(self) -> Counter[str]:
        """Return how many runs were created for each job, by the markers in their titles."""
        return Counter(run["title"].rpartition("[rq:")[2].partition(".")[0] for run in self.runs())

    def summary(self) -> dict[str, Any]:
        """Return its record in figures."""
        figures: dict[str, Any] = httpx.get(f"{self.url}/_ledger/summary", timeout=60).json()
        return figures
