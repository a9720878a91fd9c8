"""Which proxy a request goes through: one that is named, or those of the environment.

Pure functions. An HTTP proxy is handed whole requests to `http` servers, and reads them. All else
goes through a tunnel (`connect.py`), of which a proxy reads nothing.
"""

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

#: Where nothing is to go through a proxy, whatever the environment says.
NONE = "none"
#: What a proxy's URL looks like.
EXPECTED = (
    "expected the URL of a proxy such as http://proxy.example.com:3128"
    " or socks5://proxy.example.com:1080"
)

_PORTS = {"http": 80, "https": 443}
#: The ports of proxies. By SOCKS we always leave names to the proxy, which some write `socks5h`.
_PROXY_PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """A proxy.

    Attributes:
        scheme: http or socks5.
        host, port: where it listens.
        user, password: what it asks for; None = nothing.
    """

    scheme: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def authorization(self) -> str | None:
        """The value of `Proxy-Authorization`; None = it needs none."""
        if self.user is None:
            return None
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy leads where; of no arguments: none.

    Attributes:
        http, https: for servers of either scheme.
        no_proxy: hosts that are spoken to directly, separated by commas: names, which stand for
            what ends in them as well, and addresses, each with a port or without; networks
            (`10.0.0.0/8`); `*` = all hosts.
    """

    http: ProxyServer | None = None
    https: ProxyServer | None = None
    no_proxy: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], named: str | None = None) -> Self:
        """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; lower case goes before upper.

        Args:
            environ: the variables.
            named: the URL of a proxy that takes their place (but for NO_PROXY), or `none`.

        Raises:
            ValueError: the URL of a proxy cannot be used; names the variable, never its value.
        """
        no_proxy = _variable(environ, "no_proxy")[1]
        if named is not None:
            server = None if named == NONE else parse_proxy(named)
            return cls(server, server, no_proxy)
        return cls(_server(environ, "http"), _server(environ, "https"), no_proxy)

    def find(self, url: str) -> ProxyServer | None:
        """Return the proxy that leads to a URL's server; None = none, or it is no URL."""
        try:
            parts = urlsplit(url)
            port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        except ValueError:
            return None
        server = self.https if parts.scheme == "https" else self.http
        host = (parts.hostname or "").rstrip(".")
        entries = filter(None, re.split(r"[\s,]+", self.no_proxy.lower()))
        return None if any(_is_named(entry, host, port) for entry in entries) else server

    def reader(self, url: str) -> ProxyServer | None:
        """Return the proxy that is handed whole requests to a URL's server; None = none is."""
        server = self.find(url) if url.lower().startswith("http:") else None
        return server if server is not None and server.scheme == "http" else None


def parse_proxy(url: str) -> ProxyServer:
    """Read a proxy's URL; without a scheme it is `http`, without a port its scheme's.

    Raises:
        ValueError: it cannot be used; says what is expected.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(EXPECTED) from None
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in _PROXY_PORTS or port == 0 or has_more or not is_sendable(host or ""):
        raise ValueError(EXPECTED)
    scheme = parts.scheme.removesuffix("h")
    user = None if parts.username is None else unquote(parts.username)
    password = None if user is None else unquote(parts.password or "")
    return ProxyServer(scheme, host or "", port or _PROXY_PORTS[scheme], user, password)


def is_sendable(host: str) -> bool:
    """Say whether a request or a look-up can name a host."""
    return bool(host) and host.isascii() and host.isprintable() and " " not in host


def _is_named(entry: str, host: str, port: int) -> bool:
    """Say whether an entry of NO_PROXY names a server."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:  # one of them is a name, or has a port
        name = entry.removesuffix(f":{port}").strip("*.[]")
        return entry == "*" or host == name or host.endswith(f".{name}")


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
