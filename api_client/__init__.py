"""Skyvern over HTTP: typed, careful about what may be sent twice. Knows nothing of jobs or queues.

`Skyvern` and `AsyncSkyvern` are for people: typed calls, models, errors, limits, retries where they
are safe. `RawClient` is for a queue: bytes in, a classified outcome out, nothing retried and
nothing raised.
"""

from api_client.agent import AgentClient
from api_client.answers.listings import BulkCancellation, ListClass, ListedRun, RunPage
from api_client.answers.outcomes import (
    CancelClass,
    Cancellation,
    ReadClass,
    RunReading,
    Submission,
    SubmissionClass,
)
from api_client.arguments import OMIT, RequestOptions
from api_client.async_agent import AsyncAgentClient
from api_client.call import CallKind
from api_client.client import AsyncSkyvern, Skyvern
from api_client.errors import (
    AnswerLostError,
    ApiError,
    BadRequestError,
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    LocalLimitError,
    NotFoundError,
    NotSentError,
    NotSupported,
    RateLimitError,
    ServerError,
    SkyvernError,
    UnprocessableEntityError,
    WaitTimeoutError,
)
from api_client.http.transport import AsyncTransport
from api_client.limiter import Limiter, RateLimiter
from api_client.raw import RawClient, RunKind
from api_client.retrying import RetryPolicy
from api_client.types import (
    Artifact,
    BrowserSessionResponse,
    BulkCancelRunsResponse,
    CredentialType,
    FileInfo,
    ProxyLocation,
    RunEngine,
    RunListItem,
    RunResponse,
    RunStatus,
    RunTagsResponse,
    RunWebhookReplayResponse,
    SkyvernEnvironment,
    TagResponse,
    TaskRunResponse,
    WorkflowRunResponse,
    WorkflowRunTimeline,
)
from api_client.verify_webhook import verify_webhook

__all__ = [
    "OMIT",
    "AgentClient",
    "AnswerLostError",
    "ApiError",
    "Artifact",
    "AsyncAgentClient",
    "AsyncSkyvern",
    "AsyncTransport",
    "BadRequestError",
    "BodyTooLargeError",
    "BrowserSessionResponse",
    "BulkCancelRunsResponse",
    "BulkCancellation",
    "CallKind",
    "CancelClass",
    "Cancellation",
    "ConflictError",
    "CredentialType",
    "FileInfo",
    "ForbiddenError",
    "Limiter",
    "ListClass",
    "ListedRun",
    "LocalLimitError",
    "NotFoundError",
    "NotSentError",
    "NotSupported",
    "ProxyLocation",
    "RateLimitError",
    "RateLimiter",
    "RawClient",
    "ReadClass",
    "RequestOptions",
    "RetryPolicy",
    "RunEngine",
    "RunKind",
    "RunListItem",
    "RunPage",
    "RunReading",
    "RunResponse",
    "RunStatus",
    "RunTagsResponse",
    "RunWebhookReplayResponse",
    "ServerError",
    "Skyvern",
    "SkyvernEnvironment",
    "SkyvernError",
    "Submission",
    "SubmissionClass",
    "TagResponse",
    "TaskRunResponse",
    "UnprocessableEntityError",
    "WaitTimeoutError",
    "WorkflowRunResponse",
    "WorkflowRunTimeline",
    "verify_webhook",
]
