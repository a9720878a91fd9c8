"""A user's own httpx client, async or blocking, as what sends, with all that it was given.

The class of an exception proves nothing here: whatever the client is made of raises it (the
httpx-aiohttp package raises ConnectTimeout after the server has read the whole body). What proves
that nothing was sent is httpcore's "trace" extension: it reported a failure to connect, or to
get a tunnel from a proxy, that very failure is the one that came out, and it reported no sending
of the request itself. Anything else leaves the answer lost.

Each request says `connection: close`. On a connection that is kept, httpcore would take what a
server sent too much as the answer to the next request: a run for a submission that made none.
(A request that you send by the client yourself leaves its connection as it likes.) The connections
of `Skyvern` itself are kept, and looked into (`blocking.py`).

The adapter never closes the client. A transport of httpx's without a client gets one that does
nothing but pass a request on: httpx's own would keep cookies, look into redirects and log whole
URLs.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing
from typing import Any

import httpcore
import httpx
from multidict import CIMultiDict

from api_client.errors import AnswerLostError, NotSentError, SkyvernError
from api_client.http.body import Body, body
from api_client.http.error_text import cause, described, not_connected
from api_client.http.messages import HttpAnswer, Request
from api_client.http.transport import DEFAULT_CONNECT_TIMEOUT

#: Seconds for one operation of a socket that has no limit: no socket takes more than 24 days.
LONGEST = 1_000_000.0
#: Seconds. A limit of 0 or less is read as this.
LEAST = 0.001

#: The limits of each operation; the total of a request goes before the last two.
_LIMITS = httpx.Timeout(
    connect=DEFAULT_CONNECT_TIMEOUT, pool=DEFAULT_CONNECT_TIMEOUT, read=None, write=None
)

#: httpcore's names for a failure to connect, to the server or to a proxy in front of it. A tunnel's
#: and a SOCKS proxy's further steps have other names: those send bytes before the request's own.
_NOT_CONNECTED = frozenset(
    {
        "connection.connect_tcp.failed",
        "connection.connect_unix_socket.failed",
        "connection.start_tls.failed",
    }
)


class AsyncOwnClient:
    """Send requests by a user's own httpx client, each over a connection it has for itself.

    The client's headers, cookies, params, auth and hooks take part; of two headers or params with
    one name ours is sent. Redirects are given back, never followed.

    Args:
        client: stays the user's, who closes it.
        timeout: seconds a request may take in all, if it names no limit of its own; None = the
            client's own `timeout.read`, and without that no limit.
        max_body_bytes: the largest body to accept, counted after decompression.

    Raises (from `exchange`): `NotSentError` where httpcore's trace proves it, `AnswerLostError`,
    `BodyTooLargeError`; an error of ours that the client lets through, as it is.
    """

    def __init__(
        self, client: httpx.AsyncClient, timeout: float | None, max_body_bytes: int
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes

    async def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once and return its answer with the body read whole."""
        total = _total(self._client, request, self._timeout)
        trace = _Trace(request)
        own = _own_request(self._client, request, total, trace.on_event_async)
        limit = asyncio.timeout(total)
        try:
            async with limit:
                coming = await self._client.send(own, stream=True, follow_redirects=False)
                async with aclosing(coming):
                    content = _begun(request, coming, self._max_body_bytes)
                    if not coming.is_stream_consumed:
                        async for chunk in coming.aiter_raw():
                            content.add(chunk)
                    whole = content.whole()
        except SkyvernError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the client is made of raises
            shown = TimeoutError(_overdue(total)) if limit.expired() else exc
            raise trace.error(shown, exc) from cause(exc)
        return HttpAnswer(coming.status_code, coming.headers, whole)


class OwnClient:
    """`AsyncOwnClient`, blocking.

    It cannot be interrupted: each operation of a socket gets at most the time that is left when the
    head of the answer, or its body, begins to be read, and the time is checked between the chunks
    of the body. A server that stalls within its answer, or sends its head byte by byte, can outlast
    it.

    Args:
        client, timeout, max_body_bytes: as for `AsyncOwnClient`.
        keeps: whether connections may be used again: that no answer is taken for another's is the
            caller's to see to.
    """

    def __init__(
        self,
        client: httpx.Client,
        timeout: float | None,
        max_body_bytes: int,
        *,
        keeps: bool = False,
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes
        self._keeps = keeps

    def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once and return its answer with the body read whole."""
        total = _total(self._client, request, self._timeout)
        end = time.monotonic() + (math.inf if total is None else total)
        trace = _Trace(request, end)
        own = _own_request(self._client, request, total, trace.on_event, keeps=self._keeps)
        try:
            return self._send(request, own, end, total)
        except SkyvernError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the client is made of raises
            raise trace.error(exc, exc) from cause(exc)

    def _send(
        self, request: Request, own: httpx.Request, end: float, total: float | None
    ) -> HttpAnswer:
        coming = self._client.send(own, stream=True, follow_redirects=False)
        with closing(coming):
            content = _begun(request, coming, self._max_body_bytes)
            if not coming.is_stream_consumed:
                for chunk in coming.iter_raw():
                    content.add(chunk)
                    if time.monotonic() > end:
                        raise TimeoutError(_overdue(total))
            return HttpAnswer(coming.status_code, coming.headers, content.whole())


def _begun(request: Request, coming: httpx.Response, limit: int) -> Body:
    """Return the body of an answer: empty, or whole where a hook has read it."""
    if not coming.is_stream_consumed:
        return body(request, coming.status_code, coming.headers.get("content-encoding", ""), limit)
    content = body(request, coming.status_code, "", limit)  # httpx has decompressed it
    content.add(coming.content)
    return content


class _Trace:
    """What httpcore reported of one request, and what that proves.

    Args:
        request: the request.
        end: until when its operations may last, monotonic seconds.
    """

    def __init__(self, request: Request, end: float = math.inf) -> None:
        self._request = request
        self._end = end
        self._sending = self._asks_proxy = False
        self._not_connected: BaseException | None = None

    def on_event(self, event: str, info: dict[str, Any]) -> None:
        if (request := info.get("request")) is not None:
            self._asks_proxy = request.method == b"CONNECT"
            if self._end < math.inf:  # httpcore reads it when the operation begins
                left = max(self._end - time.monotonic(), LEAST)
                request.extensions.get("timeout", {}).update(read=left, write=left)
        if "send_" in event:
            self._sending = self._sending or not self._asks_proxy
        elif event in _NOT_CONNECTED:
            self._not_connected = info.get("exception")

    async def on_event_async(self, event: str, info: dict[str, Any]) -> None:
        self.on_event(event, info)

    def error(self, shown: Exception, raised: Exception) -> SkyvernError:
        """Return what the call failed with.

        Args:
            shown: what the error text names.
            raised: what came out of the client.
        """
        proven = not self._sending and (
            _is_due_to(raised, self._not_connected)
            or _is_from(raised, httpcore.PoolTimeout)
            or (self._asks_proxy and _is_from(raised, httpcore.ProxyError))
        )
        if proven:
            return NotSentError(not_connected(self._request, shown))
        return AnswerLostError(described(self._request.name, shown))


def _is_due_to(raised: BaseException | None, failure: BaseException | None) -> bool:
    """Say whether an exception is another one, or was raised from it.

    A client may have failed to connect, turned to another route of its own, and failed there.
    """
    while raised is not None and raised is not failure:
        raised = raised.__cause__
    return raised is not None


def _is_from(raised: BaseException | None, kind: type[Exception]) -> bool:
    """Say whether an exception is httpcore's: no free connection, or a proxy refuses a tunnel."""
    while raised is not None and not isinstance(raised, kind):
        raised = raised.__cause__
    return raised is not None


def _total(
    client: httpx.Client | httpx.AsyncClient, request: Request, timeout: float | None
) -> float | None:
    default = client.timeout.read if timeout is None else timeout
    total = default if request.timeout is None else request.timeout
    # What is left of a deadline may be 0 or less; to a socket that is no limit, or an error.
    return None if total is None else min(max(total, LEAST), LONGEST)


def _own_request(
    client: httpx.Client | httpx.AsyncClient,
    request: Request,
    total: float | None,
    trace: Callable[[str, dict[str, Any]], Awaitable[None] | None],
    *,
    keeps: bool = False,
) -> httpx.Request:
    """Make the request as the client would make it; raises `NotSentError` if it cannot."""
    if client.is_closed:
        raise NotSentError(f"{request.name}: the httpx client is closed")
    try:
        url = httpx.URL(request.url)
        headers = CIMultiDict(request.headers)
        headers["connection"] = "keep-alive" if keeps else "close"
        return client.build_request(
            request.method,
            url,
            headers=list(headers.items()),
            content=request.content,
            # httpx would replace the query of the URL by the client's params.
            params=url.params if client.params and url.query else None,
            # So that a failure to connect is known as one, whatever the limits.
            timeout=_limits(client.timeout, total, 2 if keeps else 1),
            extensions={"trace": trace},
        )
    except Exception as exc:  # noqa: BLE001 - likewise
        raise NotSentError(described(request.name, exc)) from cause(exc)


def _limits(own: httpx.Timeout, total: float | None, share: int) -> httpx.Timeout:
    """Return what each operation may take: the client's limits to connect, and the total.

    Connecting gets at most that share of the total.
    """
    if total is None:
        return own
    most = total / share
    least = [most if limit is None else min(limit, most) for limit in (own.connect, own.pool)]
    return httpx.Timeout(connect=least[0], pool=least[1], read=total, write=total)


def _overdue(total: float | None) -> str:
    return f"no whole answer within {total:g} s"


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
