# From this file `make generate` writes queue.py.
"""A queue with what tests need besides: to see what is enqueued, to work, to let time pass."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any, Unpack, cast

from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import Job
from runqueue.store.codec import read_request
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, T
from runqueue.testing.environment import Environment
from runqueue.testing.jobs import EnqueuedJob, JobCriteria, fits


class AsyncQueueForTests(AsyncRunQueue):
    """A real queue on the server of an environment.

    Args:
        environment: the environment, which has been entered.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment.url)
        self._environment = environment
        if True:  # ASYNC
            self._closing: AsyncGenerator[None] | None = None

    if True:  # ASYNC

        async def send(self, call: ScriptCall[T]) -> T:
            """Run one script; the connections are closed at the end of the event loop."""
            if self._closing is None:
                self._closing = self._close_with_the_loop()
                await anext(self._closing)
            return await super().send(call)

        async def _close_with_the_loop(self) -> AsyncGenerator[None]:
            try:
                yield  # the loop ends its generators before itself
            finally:
                await self.close()

    async def enqueued(self, **criteria: Unpack[JobCriteria]) -> list[EnqueuedJob]:
        """Read jobs, also ended ones, the oldest first; those of one call are in no order."""
        jobs = {job.id: job async for page in self.job_pages() for job in page.jobs}
        in_order = sorted(jobs.values(), key=lambda job: job.created_at)
        found = [await self.with_request(job) for job in in_order]
        return [one for one in found if fits(one, **criteria)]

    async def with_request(self, job: Job) -> EnqueuedJob:
        """Read a job's request."""
        stored = await self._client.get(f"{Keys(job.account).prefix}body:{job.id}")
        return EnqueuedJob(job, read_request(cast(bytes, stored))[1] if stored else {})

    async def assert_enqueued(self, **criteria: Unpack[JobCriteria]) -> EnqueuedJob:
        """Return the job that is meant, the newest of several.

        Raises:
            AssertionError: there is none; the message shows the jobs that there are.
        """
        found = await self.enqueued(**criteria)
        if not found:
            others = "".join(f"\n  {one}" for one in await self.enqueued())
            raise AssertionError(f"no job has {criteria}; enqueued are:{others or ' none'}")
        return found[-1]

    async def drain(self, *, seconds: float = 10.0) -> None:
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
        if True:  # ASYNC
            await self._environment.drain(seconds)
        else:
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
