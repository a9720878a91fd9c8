"""The HTTP status and the text of errors on the page."""

from typing import Final

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from gateway.http.problems import STATUSES
from runqueue.errors import InvalidRequest, QueueUnavailable, RunQueueError, UnknownAccount

_STATUSES: Final[dict[type[Exception], int]] = {
    **STATUSES,
    UnknownAccount: 404,
    InvalidRequest: 422,
    # All other errors of the queue, and those of connections.
    RunQueueError: 503,
    RedisError: 503,
    OSError: 503,
}
TITLES: Final = {
    400: "This cannot be read",
    401: "Not from here",
    403: "You may not do that",
    404: "There is nothing here",
    409: "That is not possible any more",
    413: "That is too large",
    422: "Something is wrong with what was entered",
    429: "That is too much at once",
    500: "This should not have happened",
    503: "The queue cannot be reached",
}


def words_of(error: Exception) -> str:
    """Return the text of an error for viewers, without the address of Redis."""
    if isinstance(error, (QueueUnavailable, RedisError, OSError)):
        return "the queue cannot be reached"
    return str(error)


def status_of(error: Exception) -> int:
    """Return the status of an error's answer; 500 = unexpected."""
    if isinstance(error, HTTPException):
        return error.status_code
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
