"""How many jobs a bearer may hand in a second, all gateway processes together, and saying so.

Answers say it as draft-ietf-httpapi-ratelimit-headers-11 has it, in `RateLimit-Policy` and
`RateLimit`; a unit of the policy `jobs` is a job. Uploads of batches are not limited: they are
few at a time, and none of one runs before its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.tenants.scope import Sight, sight_of
from runqueue.errors import RunQueueError
from runqueue.ids import DEFAULT
from runqueue.store.scripts import ScriptCall, load

#: Where jobs are handed in that are counted.
_PATHS: Final = frozenset({"/v1/jobs", "/v1/jobs:bulk"})
_POLICY, _LIMIT = "RateLimit-Policy", "RateLimit"
#: What the OpenAPI file says of the answers.
HEADERS: Final[dict[str, Any]] = {
    _POLICY: {
        "description": "Where there is a limit: jobs (`q`) in so many seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"jobs";q=100;w=1',
    },
    _LIMIT: {
        "description": "Where there is a limit: jobs that may go now (`r`), and seconds until all"
        " of them may again (`t`).",
        "schema": {"type": "string"},
        "example": '"jobs";r=93;t=1',
    },
}


class Allowance(NamedTuple):
    """What a bearer may hand in.

    Args:
        may: whether what was asked about goes.
        left: how many more jobs may go now.
        full_at: when all of a second's jobs may, on the monotonic clock.
    """

    may: bool
    left: int
    full_at: float

    @property
    def seconds(self) -> int:
        """Whole seconds until then."""
        return max(0, math.ceil(self.full_at - time.monotonic()))


class JobRateLimiter:
    """Counts jobs, by the names of their bearers.

    Args:
        rate: jobs that one bearer may hand in per second; 0 = any number.
        send: runs a script.
    """

    def __init__(
        self, rate: int, send: Callable[[ScriptCall[Allowance]], Awaitable[Allowance]]
    ) -> None:
        self.rate = rate
        self._send = send
        #: Those of whom nothing goes: what the queue said last.
        self._closed: dict[str, Allowance] = {}

    async def take(self, bearer: str, jobs: int) -> Allowance:
        """Count jobs, in one round trip, or none while it is known that no job may go.

        Args:
            bearer: whose.
            jobs: how many; 0 = only look.
        """
        if known := self.closed(bearer):
            return known
        found = await self._send(hand_in(bearer, self.rate, jobs))
        if found.left:
            self._closed.pop(bearer, None)
        else:
            # What others hand in meanwhile keeps it closed for longer, never shorter.
            self._closed[bearer] = found._replace(may=False)
        return found

    def closed(self, bearer: str) -> Allowance | None:
        """Return what is known of a bearer of whom no job may go now; None = one may."""
        known = self._closed.get(bearer)
        is_closed = known is not None and known.full_at - 1 + 1 / self.rate > time.monotonic()
        return known if is_closed else None

    def headers(self, found: Allowance | None, status: int) -> Mapping[str, str]:
        """Return what an answer says.

        Args:
            found: what is left; None = nobody knows.
            status: the answer's status.
        """
        told = {_POLICY: f'"jobs";q={self.rate};w=1'}
        if found is not None:
            seconds = found.seconds
            told[_LIMIT] = f'"jobs";r={found.left};t={seconds}'
            if status == 429 and not found.may:
                told["Retry-After"] = str(max(1, seconds))
        return told


def hand_in(bearer: str, rate: int, jobs: int) -> ScriptCall[Allowance]:
    """Count jobs, once however often the call is sent.

    A bearer's count stands beside the account `default`, whosever the jobs are.
    """

    def parse(reply: list[Any]) -> Allowance:
        may, left, full_us = (int(part) for part in reply)
        return Allowance(bool(may), left, time.monotonic() + full_us / 1e6)

    return ScriptCall(load("hand_in"), DEFAULT, [bearer, rate, jobs, uuid4().hex], parse)


async def admit(request: Request, limiter: JobRateLimiter, jobs: int = 0) -> None:
    """Count the jobs of a request.

    Args:
        request: whose bearer is known.
        limiter: what counts them.
        jobs: how many; 0 = they are not read yet. Who is known to have to wait need not send them.

    Raises:
        HTTPException: too many were handed in before.
    """
    if not limiter.rate:
        return
    bearer = sight_of(request).name
    found = await limiter.take(bearer, jobs) if jobs else limiter.closed(bearer)
    if found is None:
        return
    request.state.allowance = found
    if not found.may:
        words = f"expected {limiter.rate} jobs a second at most; try again after Retry-After"
        raise HTTPException(429, words)


class Telling:
    """Has every answer to who may hand in jobs say how many more.

    Args:
        app: what answers.
        limiter: what counts jobs.
    """

    def __init__(self, app: ASGIApp, limiter: JobRateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in _PATHS:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start" and "sight" in state:
                found = state.get("allowance") or await self._look(state["sight"], message)
                told = self._limiter.headers(found, message["status"])
                MutableHeaders(scope=message).update(told)
            await send(message)

        await self._app(scope, receive, telling)

    async def _look(self, sight: Sight, message: Message) -> Allowance | None:
        """Ask what is left, if the queue is there."""
        if message["status"] == 503:
            return None
        try:
            return await self._limiter.take(sight.name, 0)
        except RunQueueError:
            return None
