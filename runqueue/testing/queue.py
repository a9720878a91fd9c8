# Generated from async_queue.py by tools/generate.py: change that, and run `make generate`.
"""A queue with what tests need besides: to see what is enqueued, to work, to let time pass."""

from datetime import timedelta
from typing import Any, Unpack, cast

from runqueue.producer.queue import RunQueue
from runqueue.records.job import Job
from runqueue.store.codec import read_request
from runqueue.store.keys import Keys
from runqueue.testing.environment import Environment
from runqueue.testing.jobs import EnqueuedJob, JobCriteria, fits


class QueueForTests(RunQueue):
    """A real queue on the server of an environment.

    Args:
        environment: the environment, which has been entered.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment.url)
        self._environment = environment

    def enqueued(self, **criteria: Unpack[JobCriteria]) -> list[EnqueuedJob]:
        """Read jobs, also ended ones, the oldest first; those of one call are in no order."""
        jobs = {job.id: job for page in self.job_pages() for job in page.jobs}
        in_order = sorted(jobs.values(), key=lambda job: job.created_at)
        found = [self.with_request(job) for job in in_order]
        return [one for one in found if fits(one, **criteria)]

    def with_request(self, job: Job) -> EnqueuedJob:
        """Read a job's request."""
        stored = self._client.get(f"{Keys(job.account).prefix}body:{job.id}")
        return EnqueuedJob(job, read_request(cast(bytes, stored))[1] if stored else {})

    def assert_enqueued(self, **criteria: Unpack[JobCriteria]) -> EnqueuedJob:
        """Return the job that is meant, the newest of several.

        Raises:
            AssertionError: there is none; the message shows the jobs that there are.
        """
        found = self.enqueued(**criteria)
        if not found:
            others = "".join(f"\n  {one}" for one in self.enqueued())
            raise AssertionError(f"no job has {criteria}; enqueued are:{others or ' none'}")
        return found[-1]

    def drain(self, *, seconds: float = 10.0) -> None:
        """Work as a worker does until nothing is left to do; needs `runqueue-server`.

        The polls and searches of runs, and the pause after a 429, do not wait: the time is moved
        ahead to each, by 5 minutes at most in all. What is due after that, such as a delayed job,
        a retry or a failed delivery, stays for `advance`.

        Args:
            seconds: how long that may take.

        Raises:
            NotDrained: it takes longer; the message says what is left, and why.
            RuntimeError: `runqueue-server` is not installed here.
            Exception: what a stage of the worker, or an app that takes webhooks, raises.
        """
        self._environment.drain_in_thread(seconds)

    def advance(self, **span: float) -> None:
        """Move the time of this process' queues ahead of Python's clock.

        Args:
            span: days, hours, minutes, seconds, as `timedelta` has them.
        """
        self._environment.clock.advance(timedelta(**span).total_seconds())

    def mount(self, url: str, receiver: Any) -> None:
        """Have webhooks delivered whose URLs begin with a text; others are refused.

        Args:
            url: the text, such as https://crm.example.
            receiver: takes them: an ASGI app, an `httpx.Client` (such as Starlette's `TestClient`),
                or a URL that replaces the text.
        """
        self._environment.receivers[url] = receiver
