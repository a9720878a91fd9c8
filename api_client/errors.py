"""What can go wrong between us and Skyvern, distinguished by what it means for a run.

SkyvernError
├── ApiError                        an answer came, and it says no (or cannot be read)
│   ├── BadRequestError             400
│   ├── ForbiddenError              403: a wrong key, too (Skyvern never answers 401)
│   ├── NotFoundError               404
│   ├── ConflictError               409
│   ├── UnprocessableEntityError    422
│   ├── RateLimitError              429, with `retry_after`
│   └── ServerError                 5xx, with `retry_after`
├── NotSentError                    no byte of the request left this machine: safe to send again
│   └── LocalLimitError             our own limiter would have had it wait for too long
├── AnswerLostError                 the request may have been carried out: its answer did not come
│   └── BodyTooLargeError           the answer came, and was larger than the limit
├── NotSupported                    this server has no such call; the run has nothing to do with it
└── WaitTimeoutError                the run is not over yet (also a TimeoutError)

Messages carry the method, the path and the server's own words, cut to a bounded length. They never
carry headers, a query string or a request body, so that no key reaches a log.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from api_client.types import RunResponse


class SkyvernError(Exception):
    """The base of every error this package raises for a call that was tried.

    Attributes:
        run_may_exist: after `run_task` or `run_workflow`: a run may exist, so search for it
            before you submit again. After any other call it says nothing.
    """

    run_may_exist = False


class ApiError(SkyvernError):
    """Skyvern answered, and the answer is not the one the call promises.

    Attributes:
        status_code: the HTTP status; 2xx when the body could not be read as what the call returns.
        body: the answer's JSON, or its text if it is none. It may echo what was sent: do not log
            it.
        headers: the answer's headers, names in lower case.
        request_id: the server's name for this request, where it sent one.
        retry_after: seconds, 0 to 3,600, after a 429 or a 5xx that says when to come back; else
            None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or f"status {status_code}")
        self.status_code = status_code
        self.body = body
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.request_id: str | None = self.headers.get("x-request-id")
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel to another process, as a task queue sends it."""
        make = partial(type(self), status_code=self.status_code, body=self.body)
        return make, self.args, self.__dict__


class BadRequestError(ApiError):
    """400: the request cannot be carried out as it is."""


class ForbiddenError(ApiError):
    """403: the key is wrong, or may not do this."""


class NotFoundError(ApiError):
    """404: what the request names does not exist, or the base URL is wrong."""


class ConflictError(ApiError):
    """409: the state of what the request names forbids it."""


class UnprocessableEntityError(ApiError):
    """422: a field of the request is wrong; the message names it."""


#: Statuses that say "too many requests": nothing was done, and calls come slower from then on. What
#: treats them so: `answers/` (class of a submission, a read, a cancel; error of a typed call),
#: `retrying.py`, the worker's `stages/submit.py` (the pace) and the doctor. All of them read this.
#: Webhook receivers and gateways answer others: `worker/delivery/relay.py`, `runqueue/remote/`.
RATE_LIMITED: Final = frozenset({429})


class RateLimitError(ApiError):
    """Of `RATE_LIMITED`: nothing was done; try again later, and slower."""


class ServerError(ApiError):
    """5xx: after a submission a run may exist all the same.

    Attributes:
        came_to_nothing: the server says that no run was made.
    """

    came_to_nothing = False


class NotSentError(SkyvernError):
    """The server has seen nothing of the request: the call may be made again."""


class LocalLimitError(NotSentError):
    """The client's own limiter let the call not through in time; nothing was sent."""


class AnswerLostError(SkyvernError):
    """The request went out, wholly or in part, and no whole answer came back.

    After a run submission this means that a run may exist.
    """

    run_may_exist = True


class BodyTooLargeError(AnswerLostError):
    """The answer's body is larger than the transport's limit and was not read to its end.

    Attributes:
        status_code: the answer's; None = it is not known.
        beginning: the first bytes of the body, a few thousand at most.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, beginning: bytes = b""
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.beginning = beginning


class NotSupported(SkyvernError):  # noqa: N818 - it describes the server, not a failure
    """The server has no such endpoint; where that is certain, it is not called again for an hour.

    Attributes:
        is_certain: the server itself said so, not a page of some proxy.
    """

    def __init__(self, message: str, *, is_certain: bool = True) -> None:
        super().__init__(message)
        self.is_certain = is_certain


class WaitTimeoutError(SkyvernError, TimeoutError):
    """The time given to `wait_for_run` is over, and the run is not.

    Attributes:
        run: the run as it was last read; None if it was not found so far.
    """

    def __init__(self, message: str, run: "RunResponse | None" = None) -> None:
        super().__init__(message)
        self.run = run
