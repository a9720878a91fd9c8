"""The client people make: one account, one transport, the typed calls under `.agent`."""

from types import TracebackType
from typing import Self

import httpx

from api_client.agent import AsyncAgentClient
from api_client.raw import RawClient
from api_client.transport import DEFAULT_TIMEOUT, AiohttpTransport
from api_client.types import Environment


class AsyncSkyvern:
    """Skyvern's run API for one account.

    Use it as an async context manager, or call `aclose()`; a transport that was passed in is left
    open, for whoever made it.

    Args:
        api_key: the account's key. No repr, message or log shows it.
        base_url: where Skyvern is; goes before `environment`.
        environment: one of the known base URLs.
        timeout: seconds one attempt of a call may take.
        transport: what sends; None opens an `AiohttpTransport` of this client's own.

    Raises:
        ValueError: a base URL or a key that cannot be sent.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        environment: Environment = Environment.CLOUD,
        timeout: float = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._owns_transport = transport is None
        self._transport = transport or AiohttpTransport(timeout=timeout)
        #: The calls without retries and models, for those who make thousands.
        self.raw = RawClient(base_url or environment.value, api_key, self._transport)
        #: The typed calls.
        self.agent = AsyncAgentClient(self.raw, timeout=timeout)

    def __repr__(self) -> str:
        return f"AsyncSkyvern(base_url={self.raw.requests.base_url!r})"

    async def aclose(self) -> None:
        """Close the transport, if it is this client's own."""
        if self._owns_transport:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()
