"""A user's own httpx client as a transport of ours, with its proxies, certificates and hooks.

The class of an exception proves nothing here: whatever the client is made of raises it (the
httpx-aiohttp package raises ConnectTimeout after the server has read the whole body). What proves
that nothing was sent is httpcore's "trace" extension: it told of a failure to connect, that very
failure is the one that came out, and no sending was told of. Anything else leaves the answer lost.

The adapters never close the client.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing
from typing import Any

import httpx

from api_client.blocking import WholeAnswer, describe
from api_client.errors import AnswerLostError, NotSentError, SkyvernError

#: httpcore's names for a failure to connect, to the server or to a proxy in front of it. A tunnel's
#: and a SOCKS proxy's further steps have other names: those send bytes before the request's own.
_NOT_CONNECTED = frozenset(
    {
        "connection.connect_tcp.failed",
        "connection.connect_unix_socket.failed",
        "connection.start_tls.failed",
    }
)


class OwnAsyncClient(httpx.AsyncBaseTransport):
    """Send requests by a user's own `httpx.AsyncClient`.

    The client's headers, cookies, params, auth and hooks take part; of two headers or params with
    one name ours is sent. Redirects are given back, never followed.

    Args:
        client: stays the user's, who closes it.
        timeout: seconds a request may take in all; a request's own `extensions["timeout"]["read"]`
            goes before it; None = the client's own `timeout.read`, and without that no limit.
        max_body_bytes: the largest body to accept, counted after decompression.

    Raises (from `handle_async_request`): `NotSentError` where httpcore's trace proves it,
    `AnswerLostError`, `BodyTooLargeError`; an error of ours that the client lets through, as it is.
    """

    def __init__(
        self, client: httpx.AsyncClient, timeout: float | None, max_body_bytes: int
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request once and return its answer with the body read whole."""
        body = await request.aread()
        total = _total(self._client, request, self._timeout)
        trace = _Trace(request)
        own = _own_request(self._client, request, body, total, trace.atell)
        limit = asyncio.timeout(total)
        try:
            async with limit:
                return await self._send(request, own)
        except SkyvernError:
            raise
        except Exception as exc:
            told = TimeoutError(_overdue(total)) if limit.expired() else exc
            raise trace.error(told, exc) from exc

    async def _send(self, request: httpx.Request, own: httpx.Request) -> httpx.Response:
        coming = await self._client.send(own, stream=True, follow_redirects=False)
        async with aclosing(coming):
            whole = WholeAnswer(request, coming, self._max_body_bytes)
            async for chunk in coming.aiter_bytes():
                whole.add(chunk)
        return whole.response()


class OwnClient(httpx.BaseTransport):
    """Send requests by a user's own `httpx.Client`.

    As `OwnAsyncClient`, but that a blocking client cannot be interrupted: each of its operations
    gets at most the total time, and the time is looked at between the chunks of the body. A server
    that sends the head of its answer byte by byte can outlast it (not so over a
    `BlockingTransport`).

    Args:
        client: stays the user's, who closes it.
        timeout: as in `OwnAsyncClient`.
        max_body_bytes: as in `OwnAsyncClient`.

    Raises (from `handle_request`): as `OwnAsyncClient`.
    """

    def __init__(self, client: httpx.Client, timeout: float | None, max_body_bytes: int) -> None:
        self._client = client
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request once and return its answer with the body read whole."""
        body = request.read()
        total = _total(self._client, request, self._timeout)
        trace = _Trace(request)
        own = _own_request(self._client, request, body, total, trace.tell)
        try:
            return self._send(request, own, total)
        except SkyvernError:
            raise
        except Exception as exc:
            raise trace.error(exc, exc) from exc

    def _send(
        self, request: httpx.Request, own: httpx.Request, total: float | None
    ) -> httpx.Response:
        end = time.monotonic() + (math.inf if total is None else total)
        coming = self._client.send(own, stream=True, follow_redirects=False)
        with closing(coming):
            whole = WholeAnswer(request, coming, self._max_body_bytes)
            for chunk in coming.iter_bytes():
                whole.add(chunk)
                if time.monotonic() > end:
                    raise TimeoutError(_overdue(total))
        return whole.response()


class _Trace:
    """What httpcore told of one request, and what that proves.

    Args:
        request: the request as our caller made it; a trace of its own is called as well.
    """

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._also: Callable[[str, dict[str, Any]], Any] | None = request.extensions.get("trace")
        self._sending = False
        self._not_connected: BaseException | None = None

    def tell(self, event: str, info: dict[str, Any]) -> None:
        self._note(event, info)
        if self._also is not None:
            self._also(event, info)

    async def atell(self, event: str, info: dict[str, Any]) -> None:
        self._note(event, info)
        if self._also is not None:
            await self._also(event, info)

    def _note(self, event: str, info: dict[str, Any]) -> None:
        if "send_" in event:
            self._sending = True
        elif event in _NOT_CONNECTED:
            self._not_connected = info.get("exception")

    def error(self, told: Exception, raised: Exception) -> SkyvernError:
        """Return what the call failed with.

        Args:
            told: what to tell the reader.
            raised: what came out of the client.
        """
        proven = not self._sending and _is_due_to(raised, self._not_connected)
        return (NotSentError if proven else AnswerLostError)(describe(self._request, told))


def _is_due_to(raised: BaseException | None, failure: BaseException | None) -> bool:
    """Say whether an exception is another one, or was raised from it.

    A client may have failed to connect, turned to some other way of its own, and failed there.
    """
    while raised is not None and raised is not failure:
        raised = raised.__cause__
    return raised is not None


def _total(
    client: httpx.Client | httpx.AsyncClient, request: httpx.Request, timeout: float | None
) -> float | None:
    asked = request.extensions.get("timeout") or {}
    default = client.timeout.read if timeout is None else timeout
    total: float | None = asked.get("read", default)
    # What is left of a deadline may be 0 or less; to a socket that is no limit, or an error.
    return None if total is None else max(total, 0.001)


def _own_request(
    client: httpx.Client | httpx.AsyncClient,
    request: httpx.Request,
    body: bytes,
    total: float | None,
    trace: Callable[[str, dict[str, Any]], Awaitable[None] | None],
) -> httpx.Request:
    """Make the request again as the client would make it; raises `NotSentError` if it cannot."""
    try:
        if client.is_closed:
            raise RuntimeError("the client is closed")  # noqa: TRY301 - as all it may raise itself
        headers = request.headers.copy()
        headers.pop("transfer-encoding", None)  # the body is whole
        return client.build_request(
            request.method,
            request.url,
            headers=headers,
            content=body,
            # httpx would replace the query of the URL by the client's params.
            params=request.url.params if client.params and request.url.query else None,
            timeout=_limits(client.timeout, total),
            extensions={k: v for k, v in request.extensions.items() if k != "timeout"}
            | {"trace": trace},
        )
    except Exception as exc:
        raise NotSentError(describe(request, exc)) from exc


def _limits(own: httpx.Timeout, total: float | None) -> httpx.Timeout:
    """Return what each operation may take: the client's limits to connect, and the total."""
    if total is None:
        return own
    least = [total if limit is None else min(limit, total) for limit in (own.connect, own.pool)]
    return httpx.Timeout(connect=least[0], pool=least[1], read=total, write=total)


def _overdue(total: float | None) -> str:
    return f"no whole answer within {total:g} s"
