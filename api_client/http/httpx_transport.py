"""Any httpx transport as the httpx client that `httpx_adapter` takes.

A client of httpx's would keep cookies, look into redirects and log whole URLs. These do nothing but
pass a request on.
"""

from typing import Any

import httpx

from api_client.http.transport import DEFAULT_CONNECT_TIMEOUT

#: The limits of each operation; the total of a request goes before the last two.
_LIMITS = httpx.Timeout(
    connect=DEFAULT_CONNECT_TIMEOUT, pool=DEFAULT_CONNECT_TIMEOUT, read=None, write=None
)


class AsyncTransportClient(httpx.AsyncClient):
    """A client that is nothing but a transport, which stays its owner's to close."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__(transport=transport, timeout=_LIMITS, trust_env=False)
        self.headers.clear()
        self._passed = transport

    async def send(self, request: httpx.Request, **_options: Any) -> httpx.Response:
        """Pass the request on."""
        return await self._passed.handle_async_request(request)


class TransportClient(httpx.Client):
    """`AsyncTransportClient`, blocking."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        super().__init__(transport=transport, timeout=_LIMITS, trust_env=False)
        self.headers.clear()
        self._passed = transport

    def send(self, request: httpx.Request, **_options: Any) -> httpx.Response:
        """Pass the request on."""
        return self._passed.handle_request(request)
