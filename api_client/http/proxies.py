"""Which proxy a request goes through: one that is named, or those of the environment.

Pure functions. A proxy is spoken to in plain HTTP. What goes to an `https` server goes through a
tunnel through the proxy (CONNECT, `tunnels.py`), so the proxy reads nothing of it; what
goes to an `http` server is handed to the proxy, which reads and passes on the whole request.
"""

import ipaddress
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

#: Where nothing is to go through a proxy, whatever the environment says.
NONE = "none"
#: What a proxy's URL looks like.
EXPECTED = "expected the URL of a proxy such as http://proxy.example.com:3128"

_PORTS = {"http": 80, "https": 443}
#: A host, and a port if it has one; IPv6 in brackets.
_HOST = re.compile(r"\[?([^\[\]]*?)\]?(?::(\d{1,5}))?")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """A proxy.

    Attributes:
        host, port: where it listens.
        authorization: the value of `Proxy-Authorization`; None = it needs none.
    """

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class NoProxy:
    """Hosts that are spoken to without a proxy.

    Args:
        text: separated by commas: names, which stand for what ends in them as well
            (`example.com`, `.example.com`), addresses, networks (`10.0.0.0/8`), each with a port
            or without; `*` = all hosts.
    """

    def __init__(self, text: str = "") -> None:
        entries = [part.lower() for part in re.split(r"[\s,]+", text) if part]
        self._is_all = "*" in entries
        self._networks: list[tuple[_Network, int | None]] = []
        self._names: list[tuple[str, int | None]] = []
        for entry in entries:
            host, port = _host_and_port(entry)
            network = _network(host)
            if network is not None:
                self._networks.append((network, port))
            elif name := host.removeprefix("*").strip("."):
                self._names.append((name, port))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoProxy) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._is_all)

    def _parts(self) -> tuple[object, ...]:
        return self._is_all, self._networks, self._names

    def names(self, host: str, port: int) -> bool:
        """Say whether a server is one of them."""
        if self._is_all:
            return True
        host = host.lower().rstrip(".")
        return any(own is None or own == port for own in self._ports_of(host))

    def _ports_of(self, host: str) -> Iterator[int | None]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            for name, port in self._names:
                if host == name or host.endswith(f".{name}"):
                    yield port
        else:
            for network, port in self._networks:
                if address in network:
                    yield port


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy leads where; of no arguments: none.

    Attributes:
        http, https: for servers of either scheme.
        no_proxy: hosts that are spoken to directly, as `NO_PROXY` names them.
    """

    http: ProxyServer | None = None
    https: ProxyServer | None = None
    no_proxy: NoProxy = field(default_factory=NoProxy)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], named: str | None = None) -> Self:
        """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; lower case goes before upper.

        Args:
            environ: the variables.
            named: the URL of a proxy that takes their place (but for NO_PROXY), or `none`.

        Raises:
            ValueError: the URL of a proxy cannot be used; names the variable, never its value.
        """
        no_proxy = NoProxy(_variable(environ, "no_proxy")[1])
        if named is not None:
            server = None if named == NONE else parse_proxy(named)
            return cls(server, server, no_proxy)
        return cls(_server(environ, "http"), _server(environ, "https"), no_proxy)

    def __bool__(self) -> bool:
        return self.http is not None or self.https is not None

    def find(self, scheme: str, host: str, port: int) -> ProxyServer | None:
        """Return the proxy that leads to a server; None = it is spoken to directly.

        Args:
            scheme: http or https.
            host, port: the server's; IPv6 without brackets.
        """
        server = self.https if scheme == "https" else self.http
        if server is None or self.no_proxy.names(host, port):
            return None
        return server

    def find_for(self, url: str) -> ProxyServer | None:
        """Return the proxy that leads to a URL's server, as `find` does; None if it is no URL."""
        try:
            parts = urlsplit(url)
            port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        except ValueError:
            return None
        return self.find(parts.scheme, parts.hostname or "", port)


def parse_proxy(url: str) -> ProxyServer:
    """Read a proxy's URL; without a scheme it is `http`, without a port 80.

    Raises:
        ValueError: it cannot be used; says what is expected.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(EXPECTED) from None
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme != "http" or not host or port == 0 or has_more or _is_unsendable(host):
        raise ValueError(EXPECTED)
    authorization = None
    if parts.username is not None:
        text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(text.encode()).decode()}"
    return ProxyServer(host, port or 80, authorization)


def _is_unsendable(host: str) -> bool:
    return not host.isascii() or not host.isprintable() or " " in host


def _server(environ: Mapping[str, str], scheme: str) -> ProxyServer | None:
    for kind in (scheme, "all"):
        name, url = _variable(environ, f"{kind}_proxy")
        if url:
            try:
                return parse_proxy(url)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return None


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    for one in (name, name.upper()):
        # To a CGI script that is a header `Proxy` of its caller (httpoxy).
        is_a_header = one == "HTTP_PROXY" and "REQUEST_METHOD" in environ
        if not is_a_header and (value := environ.get(one, "").strip()):
            return one, value
    return name, ""


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """Split what NO_PROXY names; of an IPv6 address without brackets all of it is the host."""
    if _network(entry) is not None:
        return entry, None
    found = _HOST.fullmatch(entry)
    if found is None:
        return entry, None
    return found[1], int(found[2]) if found[2] else None


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
