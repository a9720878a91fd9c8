"""runqueue: hand run requests to a resilient queue in front of the Skyvern API.

from runqueue import RunQueue, TaskRunRequest

queue = RunQueue()
job = queue.enqueue(TaskRunRequest(prompt="…", url="https://…"), idempotency_key="order-17")
print(job.wait().output)
"""

from runqueue.aio import AsyncRunQueue
from runqueue.batches import Batch, BatchPage, BatchRules, BatchStatus, JobPage, Retried
from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    EvictingRedis,
    FieldError,
    IdempotencyConflict,
    InvalidBatch,
    InvalidGroup,
    InvalidJob,
    InvalidRequest,
    JobNotFound,
    NewerSchema,
    NotAllowed,
    QueueFull,
    QueueUnavailable,
    QuotaReached,
    RunQueueError,
    UnknownAccount,
)
from runqueue.groups import KEEP, Group
from runqueue.handles import AwaitableJob, QueuedJob
from runqueue.job import Enqueued, EnqueueStatus, Job, JobState
from runqueue.queue import RunQueue
from runqueue.request_checks import RequestChecks
from runqueue.requests import (
    DownloadFilesRunRequest,
    LoginRunRequest,
    TaskRunRequest,
    WorkflowRunRequest,
)
from runqueue.retry import Retry
from runqueue.spec import JobSpec, Priority, parse_line
from runqueue.stats import AccountStats

__all__ = [
    "KEEP",
    "AccountStats",
    "AsyncRunQueue",
    "AwaitableJob",
    "Batch",
    "BatchCanceled",
    "BatchExpired",
    "BatchMismatch",
    "BatchNotFound",
    "BatchPage",
    "BatchRules",
    "BatchStatus",
    "DownloadFilesRunRequest",
    "EnqueueStatus",
    "Enqueued",
    "EvictingRedis",
    "FieldError",
    "Group",
    "IdempotencyConflict",
    "InvalidBatch",
    "InvalidGroup",
    "InvalidJob",
    "InvalidRequest",
    "Job",
    "JobNotFound",
    "JobPage",
    "JobSpec",
    "JobState",
    "LoginRunRequest",
    "NewerSchema",
    "NotAllowed",
    "Priority",
    "QueueFull",
    "QueueUnavailable",
    "QueuedJob",
    "QuotaReached",
    "RequestChecks",
    "Retried",
    "Retry",
    "RunQueue",
    "RunQueueError",
    "TaskRunRequest",
    "UnknownAccount",
    "WorkflowRunRequest",
    "parse_line",
]
