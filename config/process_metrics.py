"""The metrics of every process: its version, memory, CPU, open files, and its loop's lag."""

import asyncio
import platform
import time
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Histogram, Info, ProcessCollector

#: Seconds between two measurements of the loop's lag.
LAG_EVERY = 1.0


def register_process(registry: CollectorRegistry, name: str) -> None:
    """Add the metrics of this process to a registry.

    Args:
        registry: of one process.
        name: of the component: worker or gateway.
    """
    ProcessCollector(registry=registry)
    build = Info("runqueue_build", "The version that runs.", registry=registry)
    python = platform.python_version()
    build.info({"component": name, "version": product_version(), "python": python})


def loop_lag(registry: CollectorRegistry) -> Histogram:
    """Return how late the event loop comes to a timer, as a metric of a registry."""
    return Histogram(
        "runqueue_loop_lag_seconds",
        "Lag of the event loop.",
        registry=registry,
        buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
    )


async def measure_lag(lag: Histogram) -> None:
    """Wait for a timer, and observe how late the loop came to it."""
    start = time.perf_counter()
    await asyncio.sleep(LAG_EVERY)
    lag.observe(max(0.0, time.perf_counter() - start - LAG_EVERY))


def product_version() -> str:
    """Return the installed version; 0 = the source tree, not installed."""
    try:
        return version("runqueue")
    except PackageNotFoundError:
        return "0"
