# Generated from async_exchange.py by tools/generate.py: change that, and run `make generate`.
"""One exchange with the server: a request, the redirects it is sent on by, the answer.

Senders of this package take and give `Request` and `HttpAnswer`; any httpx transport is spoken to
as a user's own httpx client is, within the same limits.
"""

from contextlib import suppress
from time import monotonic
from typing import Protocol

import httpx

from api_client.errors import NotSentError
from api_client.http.httpx_adapter import OwnClient, TransportClient
from api_client.http.messages import MAX_REDIRECTS, HttpAnswer, Request, next_hop
from api_client.http.transport import DEFAULT_MAX_BODY_BYTES, DEFAULT_TIMEOUT


class Sender(Protocol):
    """What sends a request and returns its answer, read whole."""

    def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once; raises `NotSentError` or `AnswerLostError` when no answer comes."""


def send(sender: Sender, request: Request, *, follow: bool = True) -> HttpAnswer:
    """Send a request, follow redirects within the same server, and return the last answer.

    Args:
        sender: see `sender_of`.
        request: with its time limit, which is that of all requests.
        follow: whether redirects are followed.

    Raises:
        NotSentError, AnswerLostError: no answer.
    """
    start = monotonic()
    answer = sender.exchange(request)
    if follow and answer.is_redirect:
        return follow_redirects(sender, request, answer, start)
    return answer


def follow_redirects(
    sender: Sender, request: Request, answer: HttpAnswer, start: float
) -> HttpAnswer:
    """Follow redirects within the same server, and return the last answer; raises as `send`.

    Where one leads nowhere it is the answer: the server has read the request, so it was sent.

    Args:
        sender, request: as of `send`.
        answer: the first redirect.
        start: when the request was sent, monotonic seconds.
    """
    onward = request
    with suppress(NotSentError):
        for _ in range(MAX_REDIRECTS):
            further = next_hop(request, onward, answer, start)
            if further is None:
                break
            onward = further
            answer = sender.exchange(onward)
    return answer


def sender_of(transport: Sender | httpx.BaseTransport) -> Sender:
    """Return a transport of any kind as what `send` takes."""
    if isinstance(transport, httpx.BaseTransport):
        client = TransportClient(transport)
        return OwnClient(client, DEFAULT_TIMEOUT, DEFAULT_MAX_BODY_BYTES)
    return transport
