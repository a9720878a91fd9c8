"""The HTTP status and the text of errors on the page."""

from typing import Final

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from runqueue.errors import QueueUnavailable, RunQueueError, UnknownAccount
from runqueue.problem_types import type_of

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
    if isinstance(error, RunQueueError):
        return 404 if isinstance(error, UnknownAccount) else type_of(error).status
    return 503 if isinstance(error, RedisError | OSError) else 500
