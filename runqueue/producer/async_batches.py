"""What `AsyncRunQueue` does with batches and groups; each method is told in `batches.py`."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from runqueue import ids
from runqueue.producer import flows, listing
from runqueue.producer.flows import Flow, drive_async
from runqueue.records.batch import (
    ABORT_AFTER,
    CANARY_RATIO,
    Batch,
    BatchPage,
    BatchRules,
    JobPage,
    Retried,
    in_seconds,
    in_shares,
)
from runqueue.records.job import Job, JobState
from runqueue.request.private_targets import log_warnings, private_callback
from runqueue.store import batch_calls, groups, job_calls
from runqueue.store.groups import KEEP, Group, Keep
from runqueue.store.scripts import ScriptCall, T


class AsyncBatching(ABC):
    """The part of `AsyncRunQueue` that is about batches and groups."""

    @abstractmethod
    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""

    @abstractmethod
    async def _know(self, accounts: set[str]) -> None: ...

    @abstractmethod
    async def _owner(self, batch: str) -> str: ...

    async def open_batch(
        self,
        name: str = "",
        *,
        account: str = "default",
        abort_at_failure_ratio: float | None = None,
        abort_after: int = ABORT_AFTER,
        canary: int | None = None,
        canary_ratio: float = CANARY_RATIO,
        expires_after: timedelta | float | None = None,
        callback_url: str | None = None,
        callback_at: Sequence[float] = (),
    ) -> str:
        """Open a batch and return its id."""
        rules = BatchRules(
            abort_at_failure_ratio,
            abort_after,
            canary,
            canary_ratio,
            in_seconds(expires_after),
            callback_url,
            in_shares(callback_at),
        )
        await self._know({account})
        batch = ids.new_id(account)
        await self.send(job_calls.open_batch(account, batch, name, rules))
        log_warnings(private_callback(rules.callback_url))
        return batch

    async def seal_batch(self, batch: str, expected: int | None = None) -> int:
        """Accept a batch, of so many jobs where that is said; returns the number of its jobs."""
        reply = await self.send(job_calls.seal_batch(await self._owner(batch), batch, expected))
        return job_calls.sealed(batch, reply, expected)

    async def get_batch(self, batch: str) -> Batch:
        """Read a batch."""
        return await self._drive(flows.get_batch(await self._owner(batch), batch))

    async def list_batches(
        self,
        account: str = "default",
        *,
        cursor: str = "",
        limit: int = 100,
        sound_only: bool = False,
    ) -> BatchPage:
        """Read a page of batches, the newest first.

        Args:
            sound_only: leave out batches whose records are damaged, and name them (`unread`); else
                one fails the page.
        """
        await self._know({account})
        call = batch_calls.list_batches(account, cursor, limit, sound_only=sound_only)
        return await self.send(call)

    async def cancel_batch(self, batch: str) -> int:
        """Cancel every job of a batch in one step; returns how many it has."""
        reply = await self.send(job_calls.cancel_batch(await self._owner(batch), batch))
        return job_calls.sealed(batch, reply)

    async def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch until it is resumed."""
        return await self._drive(flows.pause_batch(await self._owner(batch), batch))

    async def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused, aborted, has expired, or waits for its canary."""
        return await self._drive(flows.resume_batch(await self._owner(batch), batch))

    async def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were given up; returns how many."""
        done = await self._drive(flows.retry_callbacks(await self._owner(batch), batch, url))
        log_warnings(private_callback(url))
        return done

    async def retry_failed(
        self, batch: str, *, reason: str | None = None, canceled: bool = False
    ) -> Retried:
        """Have the dead and failed jobs of a batch done again; returns how many of either."""
        owner = await self._owner(batch)
        return await self._drive(flows.retry_failed(owner, batch, reason=reason, canceled=canceled))

    async def iter_results(self, batch: str) -> AsyncIterator[Job]:
        """Go through every job of a batch, results included, in constant memory."""
        found = await self.get_batch(batch)
        start = 0
        while True:
            start, jobs = await self._drive(flows.results(found.account, batch, start))
            for job in jobs:
                yield job
            if not start:
                return

    async def list_jobs(
        self,
        state: JobState | str | None = None,
        *,
        group: str | None = None,
        batch: str | None = None,
        reason: str | None = None,
        custom_id: str | None = None,
        namespace: str = "",
        account: str = "default",
        cursor: str = "",
        limit: int = 100,
        sound_only: bool = False,
    ) -> JobPage:
        """Read a page of jobs, without their results.

        Args:
            sound_only: leave out jobs whose records are damaged, and name them (`unread`); else one
                fails the page.
        """
        await self._know({account})
        wanted = listing.wanted(state, group, batch, custom_id, namespace, reason=reason)
        flow = listing.list_jobs(account, wanted, cursor, limit, sound_only=sound_only)
        return await self._drive(flow)

    async def set_group(
        self,
        name: str,
        *,
        max_concurrent: int | Keep | None = KEEP,
        paused: bool | None = None,
        account: str = "default",
    ) -> Group:
        """Cap a group's share of the account, or pause it; holds from the next claim on."""
        call = groups.set_group(account, name, max_concurrent, paused)
        await self._know({account})
        return await self.send(call)

    async def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most."""
        await self._know({account})
        return await self._drive(flows.list_groups(account))

    async def _drive(self, flow: Flow[T]) -> T:
        return await drive_async(flow, self.send)
