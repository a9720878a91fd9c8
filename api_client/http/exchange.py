"""One exchange with the server: a request, the redirects it is sent on by, the answer.

Transports of this package take and give `Request` and `HttpAnswer`; any other httpx transport is
spoken to as a user's own httpx client is, within the same limits.
"""

from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, TypeVar

import httpx

from api_client.errors import NotSentError
from api_client.http.blocking import BlockingTransport
from api_client.http.httpx_adapter import AsyncTransportClient, OwnClient, TransportClient
from api_client.http.messages import HttpAnswer, Request
from api_client.http.request_builder import hops
from api_client.http.transport import (
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT,
    AsyncTransport,
)

T = TypeVar("T")


class Sender(Protocol):
    """What sends a request and returns its answer, read whole."""

    async def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once; raises `NotSentError` or `AnswerLostError` when no answer comes."""


async def send(sender: Sender, request: Request) -> HttpAnswer:
    """Send a request, follow redirects within the same server, and return the answer.

    Args:
        sender: see `sender_of`.
        request: with its time limit.

    Raises:
        NotSentError, AnswerLostError: no answer.
    """
    start = monotonic()
    answer = await sender.exchange(request)
    return await follow(sender, request, answer, start) if answer.is_redirect else answer


async def follow(sender: Sender, request: Request, answer: HttpAnswer, start: float) -> HttpAnswer:
    """Follow a redirect within the same server, and return the last answer.

    Where it leads nowhere that is the redirect: the server has read the request, so it was sent.

    Args:
        sender: see `sender_of`.
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


def sender_of(transport: OwnClient | httpx.AsyncBaseTransport) -> Sender:
    """Return a transport of any kind as what `send` takes."""
    if isinstance(transport, AsyncTransport | OwnClient):
        return transport
    return OwnClient(AsyncTransportClient(transport), DEFAULT_TIMEOUT, DEFAULT_MAX_BODY_BYTES)


def blocking_sender_of(transport: OwnClient | httpx.BaseTransport) -> Sender:
    """Return a transport of any kind that blocks as what `follow` takes: it waits for nothing."""
    if isinstance(transport, BlockingTransport):
        return _Blocking(transport)
    if isinstance(transport, OwnClient):
        return transport
    return OwnClient(TransportClient(transport), DEFAULT_TIMEOUT, DEFAULT_MAX_BODY_BYTES)


class _Blocking:
    def __init__(self, transport: BlockingTransport) -> None:
        self._transport = transport

    async def exchange(self, request: Request) -> HttpAnswer:
        return self._transport.exchange(request)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, to its end.

    Raises:
        RuntimeError: it waits.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what a coroutine of T returns is a T
    coroutine.close()
    raise RuntimeError("a blocking call has to wait")
