"""Cookies without quotes: ours have none, and Python takes long for some that have."""

from starlette.types import ASGIApp, Receive, Scope, Send


class PlainCookies:
    """Takes the quotes out of cookies, which anybody may send.

    Python before 3.11.10 takes a third of a second for 8 KiB of some (CVE-2024-7592).

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = scope["headers"]
        for at, (name, value) in enumerate(headers):
            if name == b"cookie" and b'"' in value:
                headers[at] = name, value.replace(b'"', b"")
        await self._app(scope, receive, send)
