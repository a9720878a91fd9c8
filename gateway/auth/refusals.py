"""Refused calls (401, 403): logged and counted. Each gateway process counts for itself."""

from collections import defaultdict
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.bursts import Burst
from gateway.metrics import Metrics, Refusal
from runqueue.store.audit import log_entry

#: Characters of a path that are logged.
_PATH: Final = 200


class Refusals:
    """The layer around the application that sees what is refused.

    Args:
        app: the application.
        metrics: counts refusals, too.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        #: By why, and who is known to have been refused.
        self._bursts: defaultdict[tuple[Refusal, str], Burst] = defaultdict(Burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and check how it is answered."""

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in {401, 403}:
                self._refused(Request(scope), message["status"])
            await send(message)

        await self._app(scope, receive, watch)

    def _refused(self, request: Request, status: int) -> None:
        why = _why(status, failed_token(request) if status == 401 else "")
        self._metrics.refused(why)
        who = str(getattr(request.state, "bearer", ""))
        more = self._bursts[why, who].count()
        if more is not None:
            log_entry(
                "refused",
                who=who,
                address=request.client.host if request.client else "",
                why=why.value,
                status=status,
                method=request.method,
                path=_path(request),
                more=more,
            )


def _why(status: int, token: str) -> Refusal:
    if status == 403:
        return Refusal.NOT_ALLOWED
    return Refusal.WRONG if token else Refusal.UNNAMED


def failed_token(request: Request) -> str:
    """Return the token that a refused request came with; '' = none."""
    if entered := getattr(request.state, "failed_token", ""):
        return str(entered)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _path(request: Request) -> str:
    """Return the path; of the API its route's, without the ids in it."""
    return str(getattr(request.scope.get("route"), "path", request.url.path[:_PATH]))
