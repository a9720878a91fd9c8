"""One exchange with the server: a request, the redirects it is sent on by, the answer.

Transports of this package take and give `Request` and `HttpAnswer`; any other httpx transport is
spoken to as a user's own httpx client is, within the same limits.
"""

from contextlib import suppress
from time import monotonic
from typing import Protocol

import httpx

from api_client.errors import NotSentError
from api_client.http.blocking import BlockingTransport
from api_client.http.httpx_adapter import OwnAsyncClient, OwnClient
from api_client.http.httpx_transport import AsyncTransportClient, TransportClient
from api_client.http.messages import HttpAnswer, Request
from api_client.http.request_builder import hops
from api_client.http.transport import (
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT,
    AsyncTransport,
)


class AsyncSender(Protocol):
    """What sends a request and returns its answer, read whole."""

    async def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once; raises `NotSentError` or `AnswerLostError` when no answer comes."""


async def send(sender: AsyncSender, request: Request) -> HttpAnswer:
    """Send a request, follow redirects within the same server, and return the answer.

    Args:
        sender: see `async_sender`.
        request: with its time limit.

    Raises:
        NotSentError, AnswerLostError: no answer.
    """
    start = monotonic()
    answer = await sender.exchange(request)
    return await follow(sender, request, answer, start) if answer.is_redirect else answer


async def follow(
    sender: AsyncSender, request: Request, answer: HttpAnswer, start: float
) -> HttpAnswer:
    """Follow a redirect within the same server, and return the last answer.

    Where it leads nowhere that is the redirect: the server has read the request, so it was sent.

    Args:
        sender: see `async_sender`.
        request: the one that was redirected.
        answer: the redirect.
        start: when the request was made, monotonic seconds.

    Raises:
        AnswerLostError: no answer.
    """
    route = hops(request, answer, start)
    with suppress(StopIteration, NotSentError):
        onward = next(route)
        while True:
            answer = await sender.exchange(onward)
            onward = route.send(answer)
    return answer


def async_sender(transport: OwnAsyncClient | httpx.AsyncBaseTransport) -> AsyncSender:
    """Return a transport of any kind as what `send` takes."""
    if isinstance(transport, AsyncTransport | OwnAsyncClient):
        return transport
    client = AsyncTransportClient(transport)
    return OwnAsyncClient(client, DEFAULT_TIMEOUT, DEFAULT_MAX_BODY_BYTES)


class BlockingSender:
    """A transport of any kind that blocks, as what `follow` takes: it waits for nothing.

    Args:
        transport: what sends.
    """

    def __init__(self, transport: OwnClient | httpx.BaseTransport) -> None:
        self._transport = (
            transport
            if isinstance(transport, BlockingTransport | OwnClient)
            else OwnClient(TransportClient(transport), DEFAULT_TIMEOUT, DEFAULT_MAX_BODY_BYTES)
        )

    async def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once, and block meanwhile."""
        return self._transport.exchange(request)
