"""Which URLs a webhook may go to: the caller that submits a job must not reach our network.

Pure functions. Names are looked up elsewhere (`sender.py`); their addresses are checked here.
"""

import ipaddress
import re
from collections.abc import Iterator

import yarl

#: Characters that need no quoting: a URL is used byte by byte as given.
_QUOTED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

#: Addresses that no host of the public internet has (IANA's special-purpose registries). Python's
#: own list is not enough: it differs between patch releases.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by a provider's customers
            "127.0.0.0/8",
            "168.63.129.16/32",  # what Azure's own machines ask
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",  # for protocols; Oracle's own machines ask in it
            "192.0.2.0/24",  # documentation, as two more below
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "2001::/23",  # for protocols, but for Teredo
            "2001:db8::/32",  # documentation, as the next one
            "3fff::/20",
        ),
    )
)
#: The part of IPv6 for hosts anywhere; the rest has special purposes.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: IPv6 that contains IPv4: translated by a gateway (RFC 6052), and in the oldest form (RFC 4291).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
#: The upper halves of interface ids that contain IPv4 in any network (ISATAP, RFC 5214).
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TargetRefusedError(Exception):
    """A webhook may not go there; the message names only the host of the URL."""


class PrivateTargetError(TargetRefusedError):
    """A webhook may not go there, unless private addresses are allowed."""


def checked_url(url: str, *, allow_private: bool) -> yarl.URL:
    """Return a URL in the form that is requested.

    Args:
        url: a user's.
        allow_private: whether an address in it need not be public.

    Raises:
        TargetRefusedError: it is no http(s) URL, or names an address that is not allowed.
    """
    try:
        parsed = yarl.URL(url, encoded=_QUOTED.fullmatch(url) is not None)
        port = parsed.port
    except ValueError:
        raise TargetRefusedError("it is no URL") from None
    if parsed.scheme not in {"http", "https"}:
        raise TargetRefusedError("it is no http or https URL")
    if not parsed.raw_host or not port:
        raise TargetRefusedError("it is no URL")
    literal = literal_of(parsed.raw_host)
    if literal is not None and not allow_private and not is_public(literal):
        raise PrivateTargetError(f"{literal} is no public address")
    return parsed


def literal_of(host: str) -> _Address | None:
    """Return a URL's host as an address; None = it is a name.

    2130706433, 0x7f.1, 127.1 and 0177.0.0.1 all are 127.0.0.1 to some programs. Such addresses
    are refused; as in browsers, a host whose last part is a number is an address.

    Raises:
        TargetRefusedError: it is an address in another form than the usual one.
    """
    last = host.removesuffix(".").rpartition(".")[2].lower()
    if ":" not in host and not last.isdigit() and not re.fullmatch(r"0x[0-9a-f]*", last):
        return None
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        raise TargetRefusedError("its address is written in no usual form") from None
    if "%" in host:
        raise TargetRefusedError("its address names a network interface")
    return found


def is_public(address: _Address) -> bool:
    """Say whether an address, with those inside it, is of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if int(address) >> 32 & 0xFFFFFFFF in _ISATAP and not is_public(_last(address)):
            return False
        wrapped = list(_wrapped(address))
        if wrapped:
            return all(map(is_public, wrapped))
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def _wrapped(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses inside an IPv6 address, where packets to it may end up."""
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield _last(address)


def _last(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
