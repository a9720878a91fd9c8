"""Reaching Redis: the URL, the clients, and what their errors mean here."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AskError,
    ConnectionError,  # noqa: A004 - redis-py's name
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's name
)
from redis.retry import Retry

from runqueue.connection import async_sentinel, async_switchover, sentinel, switchover
from runqueue.connection.cluster import AsyncClusterClient, ClusterClient, by_node
from runqueue.connection.redis_errors import Cause, cause_of, code_of
from runqueue.connection.urls import ServerAddress, ServerKind, kind_of, several
from runqueue.errors import (
    BatchExpired,
    BatchNotFound,
    EvictingRedis,
    FieldError,
    InvalidBudget,
    InvalidKeyLimit,
    MalformedURL,
    NoQueueHere,
    QueueFull,
    QueueUnavailable,
    QuotaReached,
    RunQueueError,
)

#: Where the embedded server's owner writes its URL, below the working directory.
URL_FILE = Path(".runqueue") / "url"

#: Seconds. Two tries to connect, or one to get an answer, stay under 5 s, the time a producer waits
#: at most: a connection that fails is tried again, an answer that does not come is not waited for
#: twice.
_CONNECT_TIMEOUT = 1.5
_ANSWER_TIMEOUT = 4.0
_RETRIES = 1
#: Connections of one client; a caller beyond that waits for one.
_CONNECTIONS = 50
_NODE_OF_A_CLUSTER = "a node of a Redis Cluster: expected redis+cluster://host:port,host:port,…"
#: Options of the connections to a cluster's nodes (runqueue/connection/cluster.py has the rest).
_NODE_OPTIONS = {"socket_timeout": _ANSWER_TIMEOUT, "socket_keepalive": True}


def find_url(url: str | None = None) -> str:
    """Return the queue's Redis URL: the one given, RUNQUEUE_REDIS_URL, or the embedded server's.

    Raises:
        NoQueueHere: nothing says where the queue is.
    """
    found = url or os.environ.get("RUNQUEUE_REDIS_URL")
    if found:
        return found
    try:
        return URL_FILE.read_text().strip()
    except OSError:
        raise NoQueueHere from None


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_TIMEOUT,
        "socket_timeout": _ANSWER_TIMEOUT,
        "health_check_interval": 30,
        "max_connections": _CONNECTIONS,
        "timeout": _ANSWER_TIMEOUT,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    return options


def sync_client(url: str, retries: int = _RETRIES) -> redis.Redis:
    """Return a client for producers: it gives up within 5 s."""
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.2), retries, (ConnectionError,))
    options = {"retry": retry, **_options(url)}
    pool: redis.ConnectionPool
    with _reading_a_url():
        if kind_of(url) is ServerKind.SERVER:
            pool = redis.BlockingConnectionPool.from_url(url, **options)
        elif (address := several(url)).kind is ServerKind.SENTINEL:
            pool = sentinel.pool(address, **options)
        else:
            return _sync_cluster(address, retries)
        pool.connection_class = switchover.leaving(pool.connection_class)
        # Connects to nothing, but reads every option.
        pool.connection_class(**pool.connection_kwargs)
    return redis.Redis.from_pool(pool)


def async_client(url: str, retries: int = _RETRIES) -> redis.asyncio.Redis:
    """Return a client for coroutines."""
    retry = AsyncRetry(
        ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries, (ConnectionError,)
    )
    options = {"retry": retry, **_options(url)}
    pool: redis.asyncio.ConnectionPool
    with _reading_a_url():
        if kind_of(url) is ServerKind.SERVER:
            pool = redis.asyncio.BlockingConnectionPool.from_url(url, **options)
        elif (address := several(url)).kind is ServerKind.SENTINEL:
            pool = async_sentinel.pool(address, **options)
        else:
            cluster = AsyncClusterClient(address, retries, **_NODE_OPTIONS)
            return cast(redis.asyncio.Redis, cluster)
        pool.connection_class = async_switchover.leaving(pool.connection_class)
        pool.connection_class(**pool.connection_kwargs)
    return redis.asyncio.Redis.from_pool(pool)


def _sync_cluster(address: ServerAddress, retries: int) -> redis.Redis:
    """Return a client of a cluster; what the queue uses of one is what it uses of a server."""
    # The client would leave out what it does not know, and connects later.
    known = {**address.options}
    known.pop("connection_class", redis.Connection)(**{**known, "host": "localhost"})
    return cast(redis.Redis, ClusterClient(address, retries, **_NODE_OPTIONS))


@contextmanager
def _reading_a_url() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError):  # TypeError: an option that the URL names a second time
        # Not shown: redis-py's message may quote a part of the password.
        raise MalformedURL from None


@contextmanager
def speaking_of(url: str) -> Iterator[None]:
    """Turn redis-py's errors into ours.

    Raises:
        QueueUnavailable: Redis cannot be reached, or takes no such call just now.
        QueueFull: Redis refused the write for lack of memory.
        QuotaReached: as much waits as may.
        InvalidKeyLimit, InvalidBudget: as many are set as may be.
        BatchNotFound: the batch is unknown, or was sealed.
        BatchExpired: its upload was not finished in time.
    """
    try:
        yield
    except OutOfMemoryError:
        raise QueueFull from None
    except (ConnectionError, TimeoutError, OSError) as error:
        raise QueueUnavailable(url, str(error) or "cannot be reached") from None
    except AskError:  # which a MovedError is, too
        raise QueueUnavailable(url, _NODE_OF_A_CLUSTER) from None
    except ResponseError as error:
        raise _refusal(error, url) from error
    except RedisError as error:
        raise QueueUnavailable(url, str(error)) from error


def _quota_reached(account: str, name: str, what: str, most: str) -> RunQueueError:
    return QuotaReached.of(account, None if name == "-" else name, what, int(most))


def _too_many(what: str, most: str) -> RunQueueError:
    fault = FieldError(what, f"expected {int(most):,} at most, and all are set: clear others")
    return (InvalidBudget if what == "budgets" else InvalidKeyLimit)([fault])


#: What the scripts refuse: their words are the arguments.
_REFUSALS: dict[str, Callable[..., RunQueueError]] = {
    "QUOTA": _quota_reached,
    "MANY": _too_many,
    "NOBATCH": BatchNotFound,
    "SEALED": BatchNotFound,
    "EXPIRED": BatchExpired,
}


def _refusal(error: ResponseError, url: str) -> RunQueueError:
    code, message = code_of(error), str(error)
    if code == "OOM":
        return QueueFull()
    if code in _REFUSALS:
        return _REFUSALS[code](*message.split()[1:])
    if cause_of(error) in {Cause.CALL, Cause.DATA}:
        return RunQueueError(f"Redis refused the command: {message}")
    # Whatever else it says: it takes no such call just now.
    return QueueUnavailable(url, message)


def check_policy(info: dict[str, Any]) -> None:
    """Refuse a Redis that drops keys when it is full; `info` is `INFO memory`, parsed.

    Raises:
        EvictingRedis: its maxmemory-policy, or that of a node, is not noeviction.
    """
    for reply in by_node(info).values():
        policy = str(reply.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            raise EvictingRedis(policy)
