"""What the doctor checks in Redis: version, role, persistence, policy, memory, clock, broker."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis

from config.settings import PRODUCER_QUEUE, STAGE_QUEUE
from runqueue.connection.client import sync_client
from runqueue.connection.cluster import servers_of
from runqueue.connection.urls import shown_url
from runqueue.store.scripts import FAMILY, library, names_of
from worker.doctor.findings import Finding, ok, warning, wrong

Info = Mapping[str, Any]

#: The oldest Redis that has all the commands of the scripts.
_LEAST_VERSION = (7, 0)
#: Shares of the memory from which on there is little room, and none to speak of.
_LITTLE_ROOM, _NO_ROOM = 0.75, 0.9
#: Bytes of a queued job with a body of 660 bytes (docs/operations.md).
_JOB_BYTES = 1_100
#: Seconds between two clocks that are worth a warning, and that are wrong.
_SKEW, _BIG_SKEW = 2.0, 60.0
#: Messages that a broker holds without a worker being late: a few a second, taken at once.
_MANY_MESSAGES = 100
_BINDINGS = "_kombu.binding."
#: What Celery's own remote control leaves in a broker.
_CELERYS = ("celeryev", "pidbox")


def reach(url: str) -> tuple[redis.Redis | None, Finding]:
    """Return a client of the queue's Redis, and whether it answers.

    Args:
        url: its URL; what may be secret of it is not shown.
    """
    client = sync_client(url)
    start = time.perf_counter()
    try:
        client.ping()
    except redis.exceptions.AuthenticationError:
        return None, wrong(
            "redis", f"{shown_url(url)} refuses the password", "correct RUNQUEUE_REDIS_URL"
        )
    except (redis.exceptions.RedisError, OSError) as error:
        do = "start it, or correct RUNQUEUE_REDIS_URL (`runqueue up` starts an embedded one)"
        return None, wrong("redis", f"{shown_url(url)}: {error}", do)
    took = (time.perf_counter() - start) * 1000
    return client, ok("redis", f"{shown_url(url)} answers in {took:.1f} ms")


def check_server(client: redis.Redis) -> Iterator[Finding]:
    """Yield what is to be said of the server itself, or of each primary of a cluster."""
    nodes = servers_of(client)
    if not nodes:
        yield from _check_one(client, role)
    for node, server in nodes.items():
        for found in _check_one(server, node_role):
            yield found._replace(check=f"{found.check} {node}")


def _check_one(client: redis.Redis, judge_role: Callable[[Info], Finding]) -> Iterator[Finding]:
    info = client.info()
    yield version(info)
    yield functions(client)
    yield judge_role(info)
    yield persistence(info)
    yield policy("eviction", info)
    yield memory(info)
    before = time.time()
    seconds, micros = client.time()
    yield clock(seconds + micros / 1e6, before, time.time())


def version(info: Info) -> Finding:
    """Judge the server's version; `info` here and below is what INFO says."""
    found = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {found}"
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < _LEAST_VERSION:
        return wrong("version", name, "upgrade to Redis 7.0 or later, or to Valkey")
    return ok("version", name)


def functions(client: redis.Redis) -> Finding:
    """Judge whether the server has this version's functions, and whose else it has."""
    try:
        found = client.function_list(f"{FAMILY}*")
    except redis.ResponseError as error:
        return wrong("functions", str(error), "use a server with functions, and a user who may")
    others = sorted({*names_of(found)} - {library().name})
    said = "this version's" if len(found) > len(others) else "none of this version yet"
    if others:
        do = "once no process of these versions runs: redis-cli function delete NAME"
        return warning("functions", f"{said}; those of others: {', '.join(others)}", do)
    return ok("functions", said)


def role(info: Info) -> Finding:
    """Judge whether this server takes writes, of all keys."""
    if str(info.get("redis_mode")) == "cluster" or info.get("cluster_enabled"):
        return wrong(
            "role",
            "a node of a Redis Cluster, which answers for a part of the keys only",
            "name the cluster: redis+cluster://host:port,host:port,… (docs/operations.md)",
        )
    return node_role(info)


def node_role(info: Info) -> Finding:
    """Judge whether this server, which may be a node of a cluster, takes writes."""
    if info.get("role") == "slave":
        return wrong("role", "a replica, which takes no writes", "name the primary's address")
    replicas = int(info.get("connected_slaves", 0))
    return ok("role", f"primary, {replicas} replica{'' if replicas == 1 else 's'}")


def persistence(info: Info) -> Finding:
    """Judge what a crash of the server's machine would lose."""
    if info.get("loading"):
        return warning("persistence", "the server is reading its data", "wait until it has")
    if not info.get("aof_enabled"):
        return warning(
            "persistence",
            "no append-only file: a crash loses all since the last snapshot, claims included",
            "set `appendonly yes` and `appendfsync everysec`",
        )
    failed = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        do = "look at the server's log and at the room on its disk"
        return wrong("persistence", f"the append-only file fails ({', '.join(failed)})", do)
    return ok("persistence", "append-only file")


def policy(check: str, info: Info) -> Finding:
    """Judge what the server does when its memory is full."""
    found = str(info.get("maxmemory_policy", "noeviction"))
    if found != "noeviction":
        return wrong(
            check,
            f"maxmemory-policy is {found}: a full server would drop jobs",
            "set `maxmemory-policy noeviction`",
        )
    return ok(check, "noeviction: a full server refuses new jobs, and loses none")


def memory(info: Info) -> Finding:
    """Judge how much room there is for more jobs."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    of_what = "maxmemory" if limit else "the machine's memory, for there is no maxmemory"
    limit = limit or int(info.get("total_system_memory", 0))
    if not limit:
        return ok("memory", f"{_megabytes(used)} used; the server does not tell its limit")
    room = max(0, limit - used) // _JOB_BYTES
    said = f"{_megabytes(used)} of {_megabytes(limit)} ({of_what}): room for {room:,} small jobs"
    if used >= _NO_ROOM * limit:
        return wrong("memory", said, "give the server more memory: it will refuse jobs")
    if used >= _LITTLE_ROOM * limit:
        return warning("memory", said, "give the server more memory soon")
    return ok("memory", said)


def _megabytes(size: int) -> str:
    return f"{size / 1_048_576:,.0f} MiB"


def clock(server: float, before: float, after: float) -> Finding:
    """Judge the clock by which jobs start and expire.

    Args:
        server: the server's time, unix seconds.
        before, after: this machine's, at the question and at the answer.
    """
    skew = max(before - server, server - after, 0.0)
    ahead = "ahead of" if server > after else "behind"
    if skew <= _SKEW:
        return ok("clock", f"Redis' clock is this machine's (within {after - before + skew:.2f} s)")
    said = f"Redis' clock is {skew:.1f} s {ahead} this machine's"
    do = (
        "have both set by NTP: Redis' clock decides when jobs with a run_at or a deadline are due,"
        " this machine's dates webhooks"
    )
    return (wrong if skew > _BIG_SKEW else warning)("clock", said, do)


def broker_client(url: str) -> redis.Redis:
    """Return a client of the broker, whose URL may be kombu's for a Unix socket."""
    parts = urlsplit(url)
    if parts.scheme != "redis+socket":
        return sync_client(url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/")
    return sync_client(f"unix://{parts.netloc}{parts.path}?db={database}")


def check_broker(client: redis.Redis, url: str) -> Iterator[Finding]:
    """Yield what is to be said of Celery's broker.

    Args:
        client: a client of it.
        url: its URL, for people.
    """
    try:
        own, producers = client.llen(STAGE_QUEUE), client.llen(PRODUCER_QUEUE)
        unacked = client.hlen("unacked")
        others = sorted(_other_queues(client))
        evicts = policy("broker", client.info("memory"))
    except (redis.exceptions.RedisError, OSError) as error:
        do = "start it, or correct RUNQUEUE_BROKER_URL"
        yield wrong("broker", f"{shown_url(url)}: {error}", do)
        return
    if evicts.level != "ok":
        yield evicts
    said = (
        f"{shown_url(url)}: {own:,} messages of workers and {producers:,} of producers wait,"
        f" {unacked:,} are worked on"
    )
    if own > _MANY_MESSAGES:
        yield warning("broker", said, "start workers: none of theirs waits where one lives")
    elif producers > _MANY_MESSAGES:
        do = "start workers, or more of them; put many lines into a message (docs/enqueue.md)"
        yield warning("broker", said, do)
    else:
        yield ok("broker", said)
    if others:
        yield warning(
            "broker",
            f"other queues are there, too: {', '.join(others)}",
            "give runqueue a database of its own (RUNQUEUE_BROKER_URL): a task that its workers do"
            " not know is lost",
        )


def _other_queues(client: redis.Redis) -> Iterator[str]:
    for key in client.scan_iter(f"{_BINDINGS}*", count=1000):
        name = key.decode(errors="replace").removeprefix(_BINDINGS)
        if name not in {PRODUCER_QUEUE, STAGE_QUEUE} and not any(own in name for own in _CELERYS):
            yield name
