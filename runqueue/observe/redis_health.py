"""What Redis reports of itself that concerns a queue: memory, policy, what is on disk, replicas."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class RedisHealth(NamedTuple):
    """One reading of `INFO`.

    Args:
        values: statistics, by what a metric calls them.
        policy: what Redis does when it is full.
        version, role: of the server.
    """

    values: dict[str, float]
    policy: str
    version: str
    role: str


def read_health(info: Mapping[str, Any]) -> RedisHealth:
    """Read the health of a server from its `INFO`, parsed.

    What an older or a managed server does not say is left out.
    """
    numbers = {metric: info.get(name) for metric, (name, _) in {**GAUGES, **COUNTS}.items()}
    states = {
        metric: float(info[name] == "ok") for metric, (name, _) in STATES.items() if name in info
    }
    return RedisHealth(
        {m: float(n) for m, n in numbers.items() if isinstance(n, int | float)} | states,
        str(info.get("maxmemory_policy", "unknown")),
        str(info.get("valkey_version") or info.get("redis_version", "unknown")),
        str(info.get("role", "unknown")),
    )


#: By the metric: the field of INFO, and what it is.
GAUGES = {
    "memory_used_bytes": ("used_memory", "Memory allocated."),
    "memory_resident_bytes": ("used_memory_rss", "Resident memory."),
    "memory_max_bytes": ("maxmemory", "`maxmemory`; 0 = none."),
    "aof_enabled": ("aof_enabled", "1 while there is an append-only file."),
    "loading": ("loading", "1 while data is read from disk."),
    "clients": ("connected_clients", "Connections."),
    "blocked_clients": ("blocked_clients", "Clients in a blocking call."),
    "replicas": ("connected_slaves", "Connected replicas."),
    "uptime_seconds": ("uptime_in_seconds", "Time since the start."),
}
#: Likewise; 1 = ok.
STATES = {
    "aof_last_write_ok": ("aof_last_write_status", "AOF's last write succeeded."),
    "aof_last_rewrite_ok": ("aof_last_bgrewrite_status", "AOF's last rewrite succeeded."),
    "rdb_last_save_ok": ("rdb_last_bgsave_status", "The last snapshot succeeded."),
}
#: Likewise, of what only rises until Redis is restarted.
COUNTS = {
    "evicted_keys": ("evicted_keys", "Keys evicted."),
    "commands": ("total_commands_processed", "Commands run."),
    "rejected_connections": ("rejected_connections", "Connections refused."),
    "cpu_user_seconds": ("used_cpu_user", "CPU in user mode."),
    "cpu_system_seconds": ("used_cpu_sys", "CPU in kernel mode."),
}
