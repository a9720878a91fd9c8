"""URLs in settings: which can be used, and the default one of Celery's broker."""

import re
from urllib.parse import urlsplit, urlunsplit

#: URLs that name several servers; `runqueue/connection/urls.py` reads them.
_SEVERAL = re.compile(
    r"rediss?\+(?:cluster://(?:[^/?#]*@)?(?P<cluster>[^/?#@]+)(?:/0?)?"
    r"|sentinel://(?:[^/?#]*@)?(?P<sentinels>[^/?#@]+)/[A-Za-z0-9._-]+(?:/[0-9]{0,5})?)"
    r"(?:\?[^#]*)?"
)


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


def is_several(value: str) -> bool:
    """Say whether a URL names nodes of a cluster, or sentinels and their name of the primary."""
    found = _SEVERAL.fullmatch(value)
    if found is None:
        return False
    hosts = found["cluster"] or found["sentinels"]
    return all(is_url(f"redis://{host}", {"redis"}, bare=True) for host in hosts.split(","))


def next_database(redis_url: str) -> str:
    """Return the URL of the next database of a queue's server.

    Raises:
        ValueError: it has none; the message says what is expected.
    """
    if _SEVERAL.fullmatch(redis_url):
        raise ValueError(
            "expected the URL of a Redis of its own, as RUNQUEUE_REDIS_URL names a cluster or"
            " sentinels, which Celery's broker cannot be"
        )
    parts = urlsplit(redis_url)
    database = parts.path.strip("/") or "0"
    if not database.isdigit():
        raise ValueError("expected a value, as RUNQUEUE_REDIS_URL names no database")
    return urlunsplit(parts._replace(path=f"/{int(database) + 1}"))
