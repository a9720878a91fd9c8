"""One exchange with the server: a request, the redirects it is sent on by, the answer.

Two functions, for what awaits and for what blocks; where to go next both are told by
`requests.hops`. Transports of this package take and give `Request` and `Answer`; any other httpx
transport is spoken to in httpx's types, and what it raises proves nothing.
"""

from time import monotonic
from typing import Protocol

import httpx

from api_client.errors import AnswerLostError, SkyvernError
from api_client.messages import Answer, Request
from api_client.requests import hops


class AsyncSender(Protocol):
    """What sends a request and returns its answer, read whole."""

    async def exchange(self, request: Request) -> Answer:
        """Send a request once; raises `NotSentError` or `AnswerLostError` when no answer comes."""


class Sender(Protocol):
    """`AsyncSender`, blocking."""

    def exchange(self, request: Request) -> Answer:
        """Send a request once."""


async def send(sender: AsyncSender, request: Request, *, follow: bool = True) -> Answer:
    """Send a request, follow redirects within the same server, and return the answer.

    Args:
        sender: see `async_sender`.
        request: with its time limit.
        follow: False returns a redirect as it is.

    Raises:
        NotSentError, AnswerLostError: no answer.
    """
    start = monotonic()
    answer = await sender.exchange(request)
    if not follow or not 300 <= answer.status < 400:
        return answer
    way = hops(request, answer, start)
    try:
        onward = next(way)
        while True:
            onward = way.send(await sender.exchange(onward))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what `hops` returns is an answer


def send_blocking(sender: Sender, request: Request, *, follow: bool = True) -> Answer:
    """Send a request, as `send` does, and block meanwhile."""
    start = monotonic()
    answer = sender.exchange(request)
    if not follow or not 300 <= answer.status < 400:
        return answer
    way = hops(request, answer, start)
    try:
        onward = next(way)
        while True:
            onward = way.send(sender.exchange(onward))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what `hops` returns is an answer


def async_sender(transport: "AsyncSender | httpx.AsyncBaseTransport") -> AsyncSender:
    """Return a transport of any kind as what `send` takes."""
    return transport if hasattr(transport, "exchange") else _AsyncHttpx(transport)


def sender(transport: "Sender | httpx.BaseTransport") -> Sender:
    """Return a transport of any kind as what `send_blocking` takes."""
    return transport if hasattr(transport, "exchange") else _Httpx(transport)


class _AsyncHttpx:
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def exchange(self, request: Request) -> Answer:
        try:
            response = await self._transport.handle_async_request(to_httpx(request))
            return Answer(response.status_code, response.headers, await response.aread())
        except SkyvernError:
            raise
        except Exception as exc:
            raise _lost(request, exc) from exc


class _Httpx:
    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def exchange(self, request: Request) -> Answer:
        try:
            response = self._transport.handle_request(to_httpx(request))
            return Answer(response.status_code, response.headers, response.read())
        except SkyvernError:
            raise
        except Exception as exc:
            raise _lost(request, exc) from exc


def to_httpx(request: Request) -> httpx.Request:
    """Return a request in httpx's types; its time limit is the `read` one of the extensions."""
    timeout = {} if request.timeout is None else {"timeout": {"read": request.timeout}}
    return httpx.Request(
        request.method,
        request.url,
        headers=list(request.headers.items()),
        stream=httpx.ByteStream(request.content),
        extensions=timeout,
    )


def _lost(request: Request, exc: Exception) -> AnswerLostError:
    # Its words are not ours to judge: they may quote a header.
    return AnswerLostError(f"{request.name}: {type(exc).__name__}")
