"""What `RunQueue` does with batches, groups, and lists of jobs (twin: `async_batches.py`)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import timedelta

from runqueue import ids
from runqueue.producer import flows, listing
from runqueue.producer.flows import Flow, drive
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


class Batching(ABC):
    """The part of `RunQueue` that is about batches and groups."""

    @abstractmethod
    def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""

    @abstractmethod
    def _know(self, accounts: set[str]) -> None: ...

    @abstractmethod
    def _owner(self, batch: str) -> str: ...

    def open_batch(
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
        """Open a batch and return its id; its jobs run once it is sealed.

        Args:
            name: shown to people.
            account: whose jobs it will hold.
            abort_at_failure_ratio, abort_after, canary, canary_ratio: when it is aborted by itself,
                and how many jobs go first to see; see `BatchRules`.
            expires_after: what has not been submitted by then is not submitted any more; seconds
                or a timedelta, from the sealing on.
            callback_url: is sent a webhook when the batch is over.
            callback_at: and when these shares of its jobs have ended (0.5 = half of them).

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidBatch: a rule is of another type, or out of its range.
        """
        rules = BatchRules(
            abort_at_failure_ratio,
            abort_after,
            canary,
            canary_ratio,
            in_seconds(expires_after),
            callback_url,
            in_shares(callback_at),
        )
        self._know({account})
        batch = ids.new_id(account)
        self.send(job_calls.open_batch(account, batch, name, rules))
        log_warnings(private_callback(rules.callback_url))
        return batch

    def seal_batch(self, batch: str, expected: int | None = None) -> int:
        """Accept a batch; returns the number of its jobs. Repeating it changes nothing.

        Args:
            batch: its id.
            expected: how many jobs were handed in to it. Until it is sealed, an upload of the same
                keys may take jobs of it over: then nothing is accepted. None = whatever it holds.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchExpired: its upload took too long; its jobs were not accepted.
            BatchMismatch: it holds another number of jobs than was expected, and stays as it is.
        """
        reply = self.send(job_calls.seal_batch(self._owner(batch), batch, expected))
        return job_calls.sealed(batch, reply, expected)

    def get_batch(self, batch: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        return self._drive(flows.get_batch(self._owner(batch), batch))

    def list_batches(
        self,
        account: str = "default",
        *,
        cursor: str = "",
        limit: int = 100,
        sound_only: bool = False,
    ) -> BatchPage:
        """Read a page of batches, the newest first.

        Args:
            account: whose.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.
            sound_only: leave out batches whose records are damaged, and name them (`unread`); else
                one fails the page.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a limit out of its range.
        """
        self._know({account})
        call = batch_calls.list_batches(account, cursor, limit, sound_only=sound_only)
        return self.send(call)

    def cancel_batch(self, batch: str) -> int:
        """Cancel every job of a batch, whatever its size, in one step; returns how many it has.

        A batch whose jobs have all ended stays what it is.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        return job_calls.sealed(batch, self.send(job_calls.cancel_batch(self._owner(batch), batch)))

    def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch, whatever its size, until it is resumed.

        Runs that are under way go on.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
        """
        return self._drive(flows.pause_batch(self._owner(batch), batch))

    def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused, aborted, has expired, or waits for its canary.

        A pause ends alone: a canary that has not been decided goes on. A batch that a rule holds
        goes on without its rules, one that has expired without an end of its time.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
        """
        return self._drive(flows.resume_batch(self._owner(batch), batch))

    def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were given up; returns how many.

        They go with the ids that they had, and say how the batch stands now.

        Args:
            batch: its id.
            url: the batch's `callback_url` from now on; None = the one that it has.

        Raises:
            BatchNotFound: no such batch is on record.
            InvalidBatch: the url is none; nothing was done.
        """
        done = self._drive(flows.retry_callbacks(self._owner(batch), batch, url))
        log_warnings(private_callback(url))
        return done

    def retry_failed(
        self, batch: str, *, reason: str | None = None, canceled: bool = False
    ) -> Retried:
        """Have the dead and failed jobs of a batch done again; returns how many of either.

        A batch that was over is `in_progress` again. One that was aborted, or has expired, stays
        held until it is resumed.

        Args:
            batch: its id.
            reason: only jobs whose reason contains this text, whatever its case.
            canceled: its canceled jobs, too.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
            InvalidRequest: an empty reason.
        """
        flow = flows.retry_failed(self._owner(batch), batch, reason=reason, canceled=canceled)
        return self._drive(flow)

    def iter_results(self, batch: str) -> Iterator[Job]:
        """Go through every job of a batch, results included, in constant memory.

        They come in the order of the upload, those that have not ended, too.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        account, start = self.get_batch(batch).account, 0
        while True:
            start, jobs = self._drive(flows.results(account, batch, start))
            yield from jobs
            if not start:
                return

    def list_jobs(
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

        Jobs of a batch come in the order of its upload; ended ones of a state the newest end first,
        dead ones apart, who come like those of the other states with an index (scheduled,
        unconfirmed, running) the first in time first. All others are looked for through all keys,
        in no order, and a job may come twice.

        The work of a call is bounded, so a page may be empty that is not the last.

        Args:
            state, group, batch: only such jobs.
            reason: only jobs whose reason contains this text, whatever its case.
            custom_id, namespace: only the job of this name.
            account: whose.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.
            sound_only: leave out jobs whose records are damaged, and name them (`unread`); else one
                fails the page.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a state, a reason, a name, a cursor or a limit that is none.
        """
        self._know({account})
        wanted = listing.wanted(state, group, batch, custom_id, namespace, reason=reason)
        flow = listing.list_jobs(account, wanted, cursor, limit, sound_only=sound_only)
        return self._drive(flow)

    def set_group(
        self,
        name: str,
        *,
        max_concurrent: int | Keep | None = KEEP,
        paused: bool | None = None,
        account: str = "default",
    ) -> Group:
        """Cap a group's share of the account, or pause it; holds from the next claim on.

        Args:
            name: the group.
            max_concurrent: how many of its jobs may have a slot at once; None = no cap of its own,
                KEEP = as it is.
            paused: whether nothing of it is submitted; None = as it is.
            account: whose group.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidGroup: the name or the cap is none.
        """
        call = groups.set_group(account, name, max_concurrent, paused)
        self._know({account})
        return self.send(call)

    def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        return self._drive(flows.list_groups(account))

    def _drive(self, flow: Flow[T]) -> T:
        return drive(flow, self.send)
