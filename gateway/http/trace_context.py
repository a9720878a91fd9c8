"""The caller's trace: submitted jobs continue the `traceparent` of their request."""

from contextlib import nullcontext

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from runqueue.tracing import continuing
from webhooks import receiver_address


class CallersTrace:
    """Continues the trace that a request names; that of Skyvern's webhooks is ignored.

    No span of the request itself is reported: its path may hold a token.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        is_skyvern = scope["path"].startswith(receiver_address.PATH)
        given = None if is_skyvern else Headers(scope=scope).get("traceparent")
        with continuing(given) if given else nullcontext():
            await self._app(scope, receive, send)
