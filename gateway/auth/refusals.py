"""Refused calls: logged, counted, and slowed down where tokens are guessed.

A right token never waits, whichever others failed. Each gateway process counts for itself.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.bursts import Burst
from gateway.http.problems import AWAY_SECONDS, problem
from gateway.metrics import Metrics, Refusal
from runqueue.problem_types import ProblemType
from runqueue.store.audit import log_entry

#: Seconds that a failed token waits for its answer, once there was a burst of them.
WAIT_SECONDS: Final = 1.0
#: Failed tokens that wait at a time; those beyond are answered 429, and their connections closed.
MOST_WAITING: Final = 64
#: Characters of a path that are logged.
_PATH: Final = 200

_TOO_MANY: Final = problem(
    ProblemType.TOO_MANY_WRONG_TOKENS,
    "too many wrong tokens were sent; try again after Retry-After",
    headers={"Connection": "close"},
    retry_after=AWAY_SECONDS,
)


class Refusals:
    """The layer around the application that sees what is refused (401, 403).

    Args:
        app: the application.
        metrics: counts refusals, too.
        closing: set when the process ends, and with it what waits.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, closing: asyncio.Event) -> None:
        self._app = app
        self._metrics = metrics
        self._closing = closing
        #: By why, and who is known to have been refused.
        self._bursts: defaultdict[tuple[Refusal, str], Burst] = defaultdict(Burst)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and check how it is answered."""
        is_replaced = False

        async def watch(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start" and message["status"] in {401, 403}:
                is_replaced = await self._refused(Request(scope), message["status"])
                if is_replaced:
                    await _TOO_MANY(scope, receive, send)
            if not is_replaced:
                await send(message)

        await self._app(scope, receive, watch)

    async def _refused(self, request: Request, status: int) -> bool:
        """Log and count a refusal; returns whether there are too many for a normal answer."""
        token = failed_token(request) if status == 401 else ""
        why = _why(status, token)
        self._metrics.refused(why)
        address = request.client.host if request.client else ""
        who = str(getattr(request.state, "bearer", ""))
        burst = self._bursts[why, who]
        more = burst.count()
        if more is not None:
            log_entry(
                "refused",
                who=who,
                address=address,
                why=why.value,
                status=status,
                method=request.method,
                path=_path(request),
                more=more,
            )
        return bool(token) and burst.is_over and not await self._wait()

    async def _wait(self) -> bool:
        """Have a failed token wait; returns False at the limit of those that wait."""
        if self._waiting >= MOST_WAITING:
            return False
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._closing.wait()
        finally:
            self._waiting -= 1
        return True


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
