"""Skyvern over HTTP: typed, careful about what may be sent twice. Knows nothing of jobs or queues.

`AsyncSkyvern` is for people: typed calls, models, errors, retries where they are safe. `RawClient`
is for a queue: bytes in, a classified outcome out, nothing retried and nothing raised.
"""

from api_client.agent import AsyncAgentClient
from api_client.client import AsyncSkyvern
from api_client.errors import (
    AnswerLostError,
    ApiError,
    BadRequestError,
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    ServerError,
    SkyvernError,
    UnprocessableEntityError,
)
from api_client.outcomes import (
    CancelClass,
    Cancellation,
    ReadClass,
    RunReading,
    Submission,
    SubmissionClass,
)
from api_client.raw import RawClient
from api_client.requests import OMIT, RequestOptions, RunKind
from api_client.transport import AiohttpTransport
from api_client.types import (
    Environment,
    ProxyLocation,
    RunEngine,
    RunResponse,
    RunStatus,
    TaskRunResponse,
    WorkflowRunResponse,
)

__all__ = [
    "OMIT",
    "AiohttpTransport",
    "AnswerLostError",
    "ApiError",
    "AsyncAgentClient",
    "AsyncSkyvern",
    "BadRequestError",
    "BodyTooLargeError",
    "CancelClass",
    "Cancellation",
    "ConflictError",
    "Environment",
    "ForbiddenError",
    "NotFoundError",
    "NotSentError",
    "ProxyLocation",
    "RateLimitError",
    "RawClient",
    "ReadClass",
    "RequestOptions",
    "RunEngine",
    "RunKind",
    "RunReading",
    "RunResponse",
    "RunStatus",
    "ServerError",
    "SkyvernError",
    "Submission",
    "SubmissionClass",
    "TaskRunResponse",
    "UnprocessableEntityError",
    "WorkflowRunResponse",
]
