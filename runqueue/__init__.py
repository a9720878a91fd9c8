"""runqueue: hand run requests to a resilient queue in front of the Skyvern API.

from runqueue import RunQueue, TaskRunRequest

queue = RunQueue()
job = queue.enqueue(TaskRunRequest(prompt="…", url="https://…"), idempotency_key="order-17")
print(job.wait().output)
"""

from runqueue.errors import (
    AmbiguousAccounts,
    ArchiveUnavailable,
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    EvictingRedis,
    FieldError,
    GatewayUnavailable,
    IdempotencyConflict,
    InvalidBatch,
    InvalidBudget,
    InvalidGroup,
    InvalidJob,
    InvalidKeyLimit,
    InvalidLimits,
    InvalidRequest,
    JobArchived,
    JobNotFound,
    MalformedURL,
    NoQueueHere,
    NotAllowed,
    OtherFormat,
    QueueFull,
    QueueUnavailable,
    QuotaReached,
    RunQueueError,
    ScheduleNotFound,
    UnknownAccount,
)
from runqueue.producer.async_handles import AwaitableJob
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.handles import QueuedJob
from runqueue.producer.listing import Filter
from runqueue.producer.queue import RunQueue
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch, BatchPage, BatchRules, BatchStatus, JobPage, Retried
from runqueue.records.job import Enqueued, EnqueueStatus, Job, JobState
from runqueue.request.job_options import EnqueueOptions
from runqueue.request.job_spec import JobSpec, Priority, parse_line
from runqueue.request.request_checks import RequestChecks
from runqueue.request.requests import (
    DownloadFilesRunRequest,
    LoginRunRequest,
    TaskRunRequest,
    WorkflowRunRequest,
)
from runqueue.request.retry_policy import Retry
from runqueue.store.budgets import Budget, BudgetUse
from runqueue.store.groups import KEEP, Group
from runqueue.store.key_limits import EndedHolder, KeyLimit, KeyUse

__all__ = [
    "KEEP",
    "AccountStats",
    "AmbiguousAccounts",
    "ArchiveUnavailable",
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
    "Budget",
    "BudgetUse",
    "DownloadFilesRunRequest",
    "EndedHolder",
    "EnqueueOptions",
    "EnqueueStatus",
    "Enqueued",
    "EvictingRedis",
    "FieldError",
    "Filter",
    "GatewayUnavailable",
    "Group",
    "IdempotencyConflict",
    "InvalidBatch",
    "InvalidBudget",
    "InvalidGroup",
    "InvalidJob",
    "InvalidKeyLimit",
    "InvalidLimits",
    "InvalidRequest",
    "Job",
    "JobArchived",
    "JobNotFound",
    "JobPage",
    "JobSpec",
    "JobState",
    "KeyLimit",
    "KeyUse",
    "LoginRunRequest",
    "MalformedURL",
    "NoQueueHere",
    "NotAllowed",
    "OtherFormat",
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
    "ScheduleNotFound",
    "TaskRunRequest",
    "UnknownAccount",
    "WorkflowRunRequest",
    "parse_line",
]
