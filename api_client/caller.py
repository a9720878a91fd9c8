"""What both clients do around sending: budget, limits, the request, reading the answer."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api_client.answers.failures import read_answer
from api_client.call import Call
from api_client.errors import LocalLimitError, NotSupported, RateLimitError
from api_client.http.messages import HttpAnswer, Request, RequestFactory
from api_client.limiter import Limiter
from api_client.retrying import RetryBudget, RetryPolicy

T = TypeVar("T")

#: Seconds for which a missing endpoint is not called again: servers are upgraded meanwhile.
NOT_SUPPORTED_MEMORY = 3600.0

#: Seconds without a call after a 429 that does not say how long.
_RATE_LIMIT_HOLD = 1.0

_logger = logging.getLogger("api_client")


@dataclass(eq=False)
class Caller:
    """One account's calls, all but sending and waiting.

    Args:
        requests: makes the HTTP requests of one account.
        timeout: seconds an attempt may take; None = as the call itself says, or `default_timeout`.
        default_timeout: seconds.
        follow: follow redirects to the same server.
        limiter: waited for before each attempt.
        retry: how often and how patiently to try again.
        closed: whether the client was closed, so that no call begins any more.
    """

    requests: RequestFactory
    timeout: float | None
    default_timeout: float
    follow: bool
    limiter: Limiter | None
    retry: RetryPolicy
    closed: bool = False
    _missing: dict[str | None, float] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        """Where the account is, with a slash at the end."""
        return self.requests.base_url

    def budget(self, call: Call[Any]) -> RetryBudget:
        """Return the attempts and the time that a call has, from now on."""
        timeout = self.timeout
        if timeout is None:
            timeout = call.patience or self.default_timeout
        return RetryBudget(self.retry, call, timeout)

    def wait(self, call: Call[Any], budget: RetryBudget) -> float:
        """Return the seconds to wait before an attempt.

        Raises:
            RuntimeError: the client is closed.
            NotSupported: the server is known to have no such call.
            LocalLimitError: the limiter would have it wait for longer than there is time.
        """
        if self.closed:
            raise RuntimeError("the client is closed")
        if call.route and time.monotonic() < self._missing.get(call.route, 0.0):
            raise NotSupported(f"{call.method} /{call.path}: this server has no such call")
        if self.limiter is None:
            return 0.0
        left = budget.for_waiting()
        wait = self.limiter.reserve(call.kind, left)
        if wait is None:
            raise LocalLimitError(
                f"{call.method} /{call.path}: the limiter lets no call through in {left:.1f} s"
            )
        return wait

    def request(self, call: Call[Any], budget: RetryBudget) -> Request:
        """Make the request of one attempt."""
        return self.requests.make(
            call.method,
            call.path,
            call.content,
            query=call.query,
            headers=call.headers,
            timeout=budget.left(),
        )

    def read(self, call: Call[T], request: Request, answer: HttpAnswer) -> T:
        """Return the result of a call from its answer, and remember what it says of the server."""
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug("%s: %d, %d bytes", request.name, answer.status, len(answer.body))
        try:
            return read_answer(call, request, answer, self.requests.without_key)
        except NotSupported as error:
            if error.is_certain:
                self._missing[call.route] = time.monotonic() + NOT_SUPPORTED_MEMORY
            raise
        except RateLimitError as error:
            if self.limiter is not None:
                retry_after = error.retry_after
                self.limiter.hold(_RATE_LIMIT_HOLD if retry_after is None else retry_after)
            raise
