"""The rate limit: how many jobs a bearer may submit a second to all gateway processes together.

Answers carry it in `RateLimit-Policy` and `RateLimit`, as in
draft-ietf-httpapi-ratelimit-headers-11; a unit of the policy `jobs` is a job. Uploads of batches
are not limited: there are few at a time, and no job of an upload runs before its end.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.tenants.scope import TenantScope, tenant_scope_of
from runqueue.errors import RunQueueError
from runqueue.ids import DEFAULT
from runqueue.store.scripts import ScriptCall, load

#: Routes whose submitted jobs are counted.
_PATHS: Final = frozenset({"/v1/jobs", "/v1/jobs:bulk"})
_POLICY, _LIMIT = "RateLimit-Policy", "RateLimit"
#: The headers of the answers in the OpenAPI file.
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
    """What a bearer may submit.

    Args:
        may: whether the jobs in question may be submitted.
        left: how many more jobs may go now.
        full_at: when a whole second's jobs may, on the monotonic clock.
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
        rate: jobs that one bearer may submit per second; 0 = any number.
        send: runs a script.
    """

    def __init__(
        self, rate: int, send: Callable[[ScriptCall[Allowance]], Awaitable[Allowance]]
    ) -> None:
        self.rate = rate
        self._send = send
        #: The queue's last answer to bearers who may submit nothing now.
        self._closed: dict[str, Allowance] = {}

    async def take(self, bearer: str, jobs: int) -> Allowance:
        """Count jobs, in one round trip, or none while it is known that no job may go.

        Args:
            bearer: whose.
            jobs: how many; 0 = only read.
        """
        if known := self.closed(bearer):
            return known
        found = await self._send(count_jobs(bearer, self.rate, jobs))
        if found.left:
            self._closed.pop(bearer, None)
        else:
            # Jobs submitted by others meanwhile keep it closed for longer, never shorter.
            self._closed[bearer] = found._replace(may=False)
        return found

    def closed(self, bearer: str) -> Allowance | None:
        """Return the last allowance of a bearer who may submit no job now; None = he may."""
        known = self._closed.get(bearer)
        is_closed = known is not None and known.full_at - 1 + 1 / self.rate > time.monotonic()
        return known if is_closed else None

    def headers(self, found: Allowance | None, status: int) -> Mapping[str, str]:
        """Return the headers of an answer.

        Args:
            found: what is left; None = unknown.
            status: the answer's status.
        """
        headers = {_POLICY: f'"jobs";q={self.rate};w=1'}
        if found is not None:
            seconds = found.seconds
            headers[_LIMIT] = f'"jobs";r={found.left};t={seconds}'
            if status == 429 and not found.may:
                headers["Retry-After"] = str(max(1, seconds))
        return headers


def count_jobs(bearer: str, rate: int, jobs: int) -> ScriptCall[Allowance]:
    """Count jobs, once however often the call is sent.

    A bearer's count is kept with the account `default`, whichever accounts the jobs have.
    """

    def parse(reply: list[Any]) -> Allowance:
        may, left, full_us = (int(part) for part in reply)
        return Allowance(bool(may), left, time.monotonic() + full_us / 1e6)

    return ScriptCall(load("count_submitted"), DEFAULT, [bearer, rate, jobs, uuid4().hex], parse)


async def admit(request: Request, limiter: JobRateLimiter, jobs: int = 0) -> None:
    """Count the jobs of a request.

    Args:
        request: its bearer is known.
        limiter: counts them.
        jobs: how many; 0 = the body is not read yet: reject before if the limit is exhausted.

    Raises:
        HTTPException: the limit is exhausted.
    """
    if not limiter.rate:
        return
    bearer = tenant_scope_of(request).name
    found = await limiter.take(bearer, jobs) if jobs else limiter.closed(bearer)
    if found is None:
        return
    request.state.allowance = found
    if not found.may:
        words = f"expected {limiter.rate} jobs a second at most; try again after Retry-After"
        raise HTTPException(429, words)


class RateLimitHeaders:
    """Adds the rate limit headers to every answer to a bearer who may submit jobs.

    Args:
        app: the application.
        limiter: counts jobs.
    """

    def __init__(self, app: ASGIApp, limiter: JobRateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] != "POST" or scope["path"] not in _PATHS:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and "tenant_scope" in state:
                found = state.get("allowance") or await self._read(state["tenant_scope"], message)
                headers = self._limiter.headers(found, message["status"])
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, with_headers)

    async def _read(self, tenant_scope: TenantScope, message: Message) -> Allowance | None:
        """Read what is left, if the queue answers."""
        if message["status"] == 503:
            return None
        try:
            return await self._limiter.take(tenant_scope.name, 0)
        except RunQueueError:
            return None
