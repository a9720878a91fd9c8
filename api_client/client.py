"""The clients people make: one account, one connection pool for life, the calls under `.agent`."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import httpx

from api_client.agent import AgentClient
from api_client.arguments import check_seconds
from api_client.async_agent import AsyncAgentClient
from api_client.caller import Caller
from api_client.checks import (
    check_instance,
    check_limiter,
    check_senders,
    the_base_url,
    the_key,
    the_proxies,
)
from api_client.http.blocking import KeptConnections
from api_client.http.httpx_adapter import AsyncOwnClient, OwnClient
from api_client.http.messages import RequestFactory
from api_client.http.transport import DEFAULT_MAX_BODY_BYTES, DEFAULT_TIMEOUT, AsyncTransport
from api_client.limiter import Limiter
from api_client.retrying import RetryPolicy
from api_client.types import SkyvernEnvironment

HttpxClient = TypeVar("HttpxClient", httpx.Client, httpx.AsyncClient)
HttpxTransport = TypeVar("HttpxTransport", httpx.BaseTransport, httpx.AsyncBaseTransport)


class _Flavour(NamedTuple):
    """What the one client has where the other has another."""

    httpx_client: type[Any]
    httpx_transport: type[Any]
    adapter: Callable[..., Any]
    connections: Callable[..., Any]
    agent: Callable[..., Any]


class _Client(Generic[HttpxClient, HttpxTransport]):
    """What both clients are; `Skyvern` describes the arguments."""

    _flavour: ClassVar[_Flavour]

    def __init__(
        self,
        *,
        base_url: str | None = None,
        environment: SkyvernEnvironment | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        follow_redirects: bool | None = True,
        httpx_client: HttpxClient | None = None,
        limiter: Limiter | None = None,
        retry: RetryPolicy | None = None,
        transport: HttpxTransport | None = None,
        proxy: str | None = None,
    ) -> None:
        flavour = self._flavour
        check_instance("httpx_client", httpx_client, flavour.httpx_client)
        check_instance("transport", transport, flavour.httpx_transport)
        check_senders(httpx_client, transport, proxy)
        check_seconds("timeout", timeout)
        check_limiter(limiter)
        check_instance("retry", retry, RetryPolicy)
        own_timeout = None if httpx_client is None else httpx_client.timeout.read
        self._caller = Caller(
            RequestFactory(the_base_url(base_url, environment), the_key(api_key), headers),
            timeout=timeout,
            default_timeout=own_timeout or DEFAULT_TIMEOUT,
            follow=follow_redirects is not False,
            limiter=limiter,
            retry=retry or RetryPolicy(),
        )
        #: What this client closes.
        self._own: Any = None
        sends: Any = transport
        if httpx_client is not None:
            sends = flavour.adapter(httpx_client, timeout, DEFAULT_MAX_BODY_BYTES)
        elif transport is None:
            sends = self._own = flavour.connections(
                timeout=timeout or DEFAULT_TIMEOUT, proxies=the_proxies(proxy)
            )
        #: The calls.
        self.agent = flavour.agent(self._caller, sends)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._caller.base_url!r})"


class Skyvern(_Client[httpx.Client, httpx.BaseTransport]):
    """Skyvern's run API for one account; its calls block. Threads may share it.

    Use it as a context manager, or call `close()`; an `httpx_client` or `transport` that was passed
    in is left open: its owner closes it.

    Args:
        base_url: where Skyvern is; goes before `environment`.
        environment: one of the known base URLs. Where neither is given, SKYVERN_BASE_URL holds,
            and without it `SkyvernEnvironment.PRODUCTION`.
        api_key: the account's key, else SKYVERN_API_KEY. No repr, message or log shows it.
        headers: sent with every request.
        timeout: seconds one attempt of a call may take in all; infinity = no limit. None = 60, or
            the `httpx_client`'s own; more for the calls that deliver a webhook before they answer.
        follow_redirects: follow those to the same server; the key never goes to another.
        httpx_client: a client of your own that sends, at its own speed. What it raises counts as an
            answer lost, unless it is proven that nothing was sent.
        limiter: waited for before each attempt, such as a `RateLimiter`.
        retry: how often and how patiently to try again, where that is safe.
        transport: what sends instead of connections of this client's own.
        proxy: the URL of a proxy that leads to Skyvern, such as http://user:pass@proxy:3128, or
            `none`. Where it is not given, HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name it. Hosts that
            NO_PROXY names are spoken to directly.

    Raises:
        ValueError: a base URL, key, header, proxy or time that cannot be used.
        TypeError: an argument of another kind, or more than one of `httpx_client`, `transport` and
            `proxy`.
        RuntimeError: (from the calls) the client is closed.
    """

    agent: AgentClient
    _flavour = _Flavour(httpx.Client, httpx.BaseTransport, OwnClient, KeptConnections, AgentClient)

    def close(self) -> None:
        """End the client, and close the connections if they are its own."""
        self._caller.closed = True
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSkyvern(_Client[httpx.AsyncClient, httpx.AsyncBaseTransport]):
    """Skyvern's run API for one account; its calls are awaited, within one event loop.

    Use it as an async context manager, or call `aclose()`; an `httpx_client` or `transport` that
    was passed in is left open: its owner closes it.

    Arguments and errors are those of `Skyvern`; `httpx_client` is an `httpx.AsyncClient`, and
    without one an `AsyncTransport` sends.
    """

    agent: AsyncAgentClient
    _flavour = _Flavour(
        httpx.AsyncClient,
        httpx.AsyncBaseTransport,
        AsyncOwnClient,
        AsyncTransport,
        AsyncAgentClient,
    )

    async def aclose(self) -> None:
        """End the client, and close the connections if they are its own."""
        self._caller.closed = True
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
