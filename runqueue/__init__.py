"""runqueue: hand run requests to a resilient queue in front of the Skyvern API.

from runqueue import RunQueue, TaskRunRequest

queue = RunQueue()
job = queue.enqueue(TaskRunRequest(prompt="…", url="https://…"), idempotency_key="order-17")
print(queue.wait(job.job_id).output)
"""

from runqueue.aio import AsyncRunQueue
from runqueue.errors import (
    BatchNotFound,
    EvictingRedis,
    FieldError,
    IdempotencyConflict,
    InvalidJob,
    JobNotFound,
    NewerSchema,
    QueueFull,
    QueueUnavailable,
    RunQueueError,
    UnknownAccount,
)
from runqueue.job import Batch, Enqueued, EnqueueStatus, Job, JobState
from runqueue.queue import RunQueue
from runqueue.requests import TaskRunRequest, WorkflowRunRequest
from runqueue.retry import Retry
from runqueue.spec import JobSpec, Priority, parse_line
from runqueue.stats import AccountStats

__all__ = [
    "AccountStats",
    "AsyncRunQueue",
    "Batch",
    "BatchNotFound",
    "EnqueueStatus",
    "Enqueued",
    "EvictingRedis",
    "FieldError",
    "IdempotencyConflict",
    "InvalidJob",
    "Job",
    "JobNotFound",
    "JobSpec",
    "JobState",
    "NewerSchema",
    "Priority",
    "QueueFull",
    "QueueUnavailable",
    "Retry",
    "RunQueue",
    "RunQueueError",
    "TaskRunRequest",
    "UnknownAccount",
    "WorkflowRunRequest",
    "parse_line",
]
