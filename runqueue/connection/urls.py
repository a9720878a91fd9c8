"""What a queue's URL says: one server, the nodes of a Redis Cluster, or the sentinels of a primary.

    redis:// rediss:// unix://                                one server
    redis+cluster://[user:password@]host:port[,host:port…]    some nodes of a cluster
    redis+sentinel://[user:password@]host:port[,…]/name[/db]  sentinels, and what they call it

`rediss+…` is the same with TLS. What follows a `?` are redis-py's options.
"""

import re
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple, cast

from redis.connection import parse_url


class ServerKind(StrEnum):
    """What is behind a URL."""

    SERVER = ""
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


class ServerAddress(NamedTuple):
    """A URL that names several servers, read.

    Args:
        kind: what they are.
        hosts: host and port of each.
        options: redis-py's names for the rest: user, password, database, TLS, timeouts.
        service: what the sentinels call the primary.
    """

    kind: ServerKind
    hosts: list[tuple[str, int]]
    options: dict[str, Any]
    service: str = ""


_SEVERAL = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>cluster|sentinel)://(?P<user>[^/?#]*@)?(?P<hosts>[^/?#@]+)"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?"
)
_SERVICE = re.compile(r"/(?P<service>[A-Za-z0-9._-]+)(?P<database>/[0-9]{0,5})?")
_PORTS = {ServerKind.CLUSTER: 6379, ServerKind.SENTINEL: 26379}


def kind_of(url: str) -> ServerKind:
    """Say what is behind a URL, by its scheme."""
    scheme = url.partition("://")[0]
    return (
        ServerKind(scheme.partition("+")[2])
        if scheme.startswith(("redis+", "rediss+"))
        else ServerKind("")
    )


def several(url: str) -> ServerAddress:
    """Read a URL that names several servers.

    Raises:
        ValueError: it is none; what it holds is not shown.
    """
    found = _SEVERAL.fullmatch(url)
    if found is None:
        raise ValueError("expected host:port[,host:port…]")
    kind, path, service, database = ServerKind(found["kind"]), found["path"] or "", "", ""
    if kind is ServerKind.SENTINEL:
        named = _SERVICE.fullmatch(path)
        # A database alone: the name was left out.
        if named is None or (named["service"].isdigit() and not named["database"]):
            raise ValueError("expected /<name> or /<name>/<database> behind the sentinels")
        service, database = named["service"], named["database"] or ""
    elif path not in {"", "/", "/0"}:
        raise ValueError("a cluster has no databases")
    read = []
    for host in found["hosts"].split(","):
        start = f"{found['scheme']}://{found['user'] or ''}{host}"
        read.append(cast(Any, parse_url)(f"{start}{database}{found['query'] or ''}"))
    hosts = [(str(one.pop("host", "")), int(one.pop("port", _PORTS[kind]))) for one in read]
    if not all(host and 0 < port < 65_536 for host, port in hosts):
        raise ValueError("expected host:port[,host:port…]")
    return ServerAddress(kind, hosts, dict(read[0]), service)


def listening_urls(url: str) -> list[str]:
    """Return URLs of which each receives what is published.

    In a cluster every node receives what is published at any of them.
    """
    if kind_of(url) is not ServerKind.CLUSTER:
        return [url]
    found = _SEVERAL.fullmatch(url)
    if found is None:
        return [url]
    start, end = f"{found['scheme']}://{found['user'] or ''}", found["query"] or ""
    return [f"{start}{host}/0{end}" for host in found["hosts"].split(",")]


# Where a host is.


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


# URLs as they may be shown.

#: What may be secret in a URL: credentials, and what follows the path.
_SECRETS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)


def shown_url(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return _SECRETS.sub("", url)


# Endpoints: what may be shown of a URL whose path or query may be secret.

_ENDPOINT = re.compile(r"([A-Za-z]+)://([^/?#]+)")
_DEFAULT_PORT = re.compile(r"^(http://.*):80$|^(https://.*):443$")


def endpoint_of(url: str) -> str:
    """Return scheme, host and port of a URL, as `endpoints.lua` does; '' = it has none."""
    found = _ENDPOINT.match(url)
    if found is None:
        return ""
    made = f"{found[1]}://{found[2].rpartition('@')[2]}"
    # Lua knows bytes, of which it makes ASCII lower-case.
    lower = made.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")
    return _DEFAULT_PORT.sub(r"\1\2", lower)
