"""The rate limit: how many jobs a bearer may submit a second to all gateway processes together.

Uploads of batches are not limited: there are few at a time, and no job of an upload runs before its
end.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.requests import Request

from gateway.refused import Refused
from gateway.tenants.scope import tenant_scope_of
from runqueue.ids import DEFAULT
from runqueue.problem_types import ProblemType
from runqueue.store.scripts import ScriptCall, load


class Allowance(NamedTuple):
    """What a bearer may submit.

    Args:
        may: whether the jobs in question may be submitted.
        left: how many more jobs may go now.
        seconds: until a whole second's jobs may.
    """

    may: bool
    left: int
    seconds: float


class JobRateLimiter:
    """Counts jobs, by the names of their bearers.

    Args:
        rate: jobs that one bearer may submit per second; 0 = any number.
        send: runs a script.
    """

    def __init__(
        self, rate: int, send: Callable[[ScriptCall[Allowance]], Awaitable[Allowance]]
    ) -> None:
        self._rate = rate
        self._send = send

    async def admit(self, request: Request, jobs: int) -> None:
        """Count the jobs of a request, whose bearer is known.

        Raises:
            Refused: the limit is exhausted.
        """
        if not self._rate:
            return
        found = await self._send(count_jobs(tenant_scope_of(request).name, self._rate, jobs))
        if not found.may:
            words = f"expected {self._rate} jobs a second at most; try again after Retry-After"
            headers = {"Retry-After": str(max(1, math.ceil(found.seconds)))}
            raise Refused(ProblemType.RATE_LIMITED, words, headers)


def count_jobs(bearer: str, rate: int, jobs: int) -> ScriptCall[Allowance]:
    """Count jobs, once however often the call is sent.

    A bearer's count is kept with the account `default`, whichever accounts the jobs have.
    """

    def parse(reply: list[Any]) -> Allowance:
        may, left, full_us = (int(part) for part in reply)
        return Allowance(bool(may), left, full_us / 1e6)

    return ScriptCall(load("count_submitted"), DEFAULT, [bearer, rate, jobs, uuid4().hex], parse)
