"""What of an exception may be reported: its class always, its words only if they quote nothing.

What a server sent may echo the request, with the key; h11, httpcore, httpx and aiohttp quote what
they could not read. So only what concerns the network is passed on, and only if everything that a
traceback would show with it does so as well.
"""

import asyncio
from typing import Final

import httpcore
import httpx

from api_client.http.messages import Request
from api_client.http.proxies import Proxies

#: Words of the operating system's, of TLS, or none.
_OF_THE_NETWORK: Final = (
    OSError,
    asyncio.CancelledError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpx.NetworkError,
    httpx.TimeoutException,
)


def described(name: str, exc: Exception) -> str:
    """Say what happened to a request.

    Args:
        name: the request's method and path.
        exc: what it failed with.
    """
    words = str(exc)[:300] if cause(exc) is not None else ""
    return f"{name}: {type(exc).__name__}{': ' if words else ''}{words}"


def not_connected(request: Request, exc: Exception, proxies: Proxies | None = None) -> str:
    """Say what kept a request from being sent, and which route it took.

    Args:
        request: the request.
        exc: what it failed with.
        proxies: of those that sent it; None = they are not ours to know.
    """
    words = described(request.name, exc)
    if cause(exc) is None:  # it concerns the request, not the network
        return words
    scheme, _, host = request.origin.partition("://")
    proxy = None if proxies is None else proxies.find(request.origin)
    route = "" if proxy is None else f" by the proxy {proxy}"
    return f"{words} ({scheme}://{host.rpartition('@')[2]}{route})"


def cause(exc: Exception) -> Exception | None:
    """Return what an error of ours may be raised from: the exception, or None."""
    shown: BaseException | None = exc
    while shown is not None:
        if not isinstance(shown, _OF_THE_NETWORK):
            return None
        hides = shown.__cause__ is not None or shown.__suppress_context__
        shown = shown.__cause__ if hides else shown.__context__
    return exc
