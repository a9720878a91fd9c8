"""The slowest commands of a Redis, scripts by their names: what holds up everybody else."""

from dataclasses import dataclass

import redis

from runqueue.store.scripts import library

#: Microseconds from which a command counts as slow, and how many of them are remembered.
_FROM_US, _KEPT = 2_000, 10_000


@dataclass(frozen=True, slots=True)
class Slow:
    """A script (or command): how often it was slow, and the most milliseconds it took."""

    name: str
    times: int
    worst: float


def watch(server: "redis.Redis") -> None:
    """Have slow commands remembered from now on."""
    server.config_set("slowlog-log-slower-than", _FROM_US)
    server.config_set("slowlog-max-len", _KEPT)
    server.slowlog_reset()


def slowest(server: "redis.Redis", most: int = 5) -> list[Slow]:
    """Return what was slow since `watch`, the worst first."""
    found: dict[str, list[float]] = {}
    for entry in server.slowlog_get(_KEPT):
        words = entry["command"].split()
        name = words[0].decode().lower()
        if name == "fcall" and len(words) > 1:
            name = words[1].decode().removeprefix(f"{library().name}_")
        found.setdefault(name, []).append(entry["duration"] / 1000)
    rows = [Slow(name, len(took), max(took)) for name, took in found.items()]
    return sorted(rows, key=lambda row: -row.worst)[:most]


def as_text(rows: list[Slow]) -> str:
    """Return the rows as text for a table."""
    return "\n".join(f"{row.name}: {row.times}, worst {row.worst:.1f} ms" for row in rows) or "none"
