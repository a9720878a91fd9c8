"""What every process tells of itself: its version, its memory, CPU and open files."""

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Info, ProcessCollector


def register_process(registry: CollectorRegistry, room: str) -> None:
    """Add the figures of this process to a registry.

    Args:
        registry: of one process.
        room: worker or gateway.
    """
    ProcessCollector(registry=registry)
    build = Info(
        "runqueue_build", "What runs: the room, its version and Python's.", registry=registry
    )
    build.info({"room": room, "version": product_version(), "python": platform.python_version()})


def product_version() -> str:
    """Return the installed version; 0 = the source tree, not installed."""
    try:
        return version("runqueue")
    except PackageNotFoundError:
        return "0"
