"""What a process shows of itself while a benchmark runs: memory, and how late its event loop is."""

import os
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6


@dataclass(frozen=True, slots=True)
class Lag:
    """A worker's own histogram of its loop's lag: how many samples lie below each bound."""

    below: dict[float, float]

    def since(self, before: "Lag") -> "Lag":
        """Return what was measured since another reading."""
        return Lag({bound: n - before.below.get(bound, 0) for bound, n in self.below.items()})

    @property
    def samples(self) -> int:
        """How often it was measured."""
        return int(self.below.get(float("inf"), 0))

    def quantile_ms(self, share: float) -> float:
        """Return a quantile in milliseconds, as Prometheus reckons it from buckets."""
        goal, lower, under = share * self.samples, 0.0, 0.0
        for bound, n in sorted(self.below.items()):
            if n >= goal and n > under:
                upper = lower if bound == float("inf") else bound
                return 1000 * (lower + (upper - lower) * (goal - under) / (n - under))
            lower, under = bound, n
        return 0.0


def loop_lag(port: int) -> Lag:
    """Read a worker's histogram from its `/metrics`."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return Lag(
        {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "runqueue_loop_lag_seconds_bucket"
        }
    )
