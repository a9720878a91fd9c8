"""The caller's trace: submitted jobs continue the `traceparent` of their request."""

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
        given = "" if scope["type"] != "http" else _traceparent(scope)
        if not given or scope["path"].startswith(receiver_address.PATH):
            await self._app(scope, receive, send)
            return
        with continuing(given):
            await self._app(scope, receive, send)


def _traceparent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return str(value.decode("latin-1"))
    return ""
