"""URLs in settings: which can be used, and the default one of Celery's broker."""

from urllib.parse import urlsplit, urlunsplit

from runqueue.connection.urls import ServerKind, kind_of, several


def is_url(value: str, schemes: set[str], *, bare: bool = False) -> bool:
    """Say whether a URL can be used; a bare one has no user name, query or fragment."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in schemes or port == 0:
        return False
    if bare and (parts.query or parts.fragment or "@" in parts.netloc):
        return False
    return bool(parts.hostname) if bare else "://" in value


def is_redis(value: str) -> bool:
    """Say whether a URL can be the queue's: of one server, or of several."""
    try:
        if kind_of(value) is ServerKind.SERVER:
            return is_url(value, {"redis", "rediss", "unix"})
        several(value)
    except (ValueError, TypeError):
        return False
    return True


def next_database(redis_url: str) -> str:
    """Return the URL of the next database of a queue's server.

    Raises:
        ValueError: it has none; the message says what is expected.
    """
    if kind_of(redis_url) is not ServerKind.SERVER:
        raise ValueError(
            "expected the URL of a Redis of its own, as RUNQUEUE_REDIS_URL names a cluster or"
            " sentinels, which Celery's broker cannot be"
        )
    parts = urlsplit(redis_url)
    database = parts.path.strip("/") or "0"
    if not database.isdigit():
        raise ValueError("expected a value, as RUNQUEUE_REDIS_URL names no database")
    return urlunsplit(parts._replace(path=f"/{int(database) + 1}"))
