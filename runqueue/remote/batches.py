"""What `RemoteQueue` does with batches, groups, and lists of jobs; and replays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from runqueue import ids
from runqueue.errors import (
    BatchCanceled,
    BatchNotFound,
    InvalidBatch,
    InvalidGroup,
    JobNotFound,
    RunQueueError,
)
from runqueue.operator.selection import Settled
from runqueue.producer.chunks import Handed
from runqueue.records.batch import (
    NO_RULES,
    Batch,
    BatchPage,
    BatchRules,
    BatchStatus,
    JobPage,
    Retried,
)
from runqueue.records.job import Job, JobState
from runqueue.records.reasons import check_words
from runqueue.remote.connection import GatewayLink
from runqueue.remote.models import (
    read_batch,
    read_group,
    read_job,
    read_retried,
    read_warnings,
)
from runqueue.remote.results import result_rows
from runqueue.remote.upload import Uploaded, callback_header, upload
from runqueue.request.private_targets import log_warnings
from runqueue.store import groups
from runqueue.store.groups import KEEP, Group, Keep

#: Seconds for what goes through all of a batch.
_LONG = 300.0


class RemoteBatching:
    """The part of `RemoteQueue` that is about many jobs."""

    _link: GatewayLink

    def upload(
        self,
        lines: Iterable[Handed],
        *,
        name: str = "",
        account: str = "default",
        namespace: str = "",
        skip_invalid: bool = False,
        rules: BatchRules = NO_RULES,
    ) -> Uploaded:
        """Submit a batch of any length, in constant memory.

        None of it runs before all of it is there. An upload that breaks off is sent again if
        `lines` can be gone through again (a list, an object with `__iter__`; no generator). Where
        all was sent and only the answer was lost, it is sent again only if every line has a
        `custom_id`: lines without one would become second jobs.

        Args:
            lines: the jobs, as `enqueue_many` takes them; a file's lines may have their newlines.
            name: shown to people.
            account, namespace: of jobs that name none; a `JobSpec` names its account.
            skip_invalid: accept the good lines although others are bad.
            rules: what the batch does by itself when its jobs end badly.

        Raises:
            InvalidJob: lines are bad, named `line N: field`, or JSON cannot carry one, whatever
                `skip_invalid` says; nothing was accepted.
            InvalidBatch: the gateway does not know the rules.
            UnknownAccount: no worker ever served this account.
        """
        asked = {
            "name": name,
            "account": account,
            "namespace": namespace,
            "skip_invalid": "true" if skip_invalid else "",
        }
        return upload(self._link, lines, asked, rules)

    def get_batch(self, batch: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        answer = self._link.ask("GET", _path(batch), meant=_of(batch))
        return self._link.read(answer, read_batch)

    def list_batches(
        self,
        account: str = "default",
        *,
        status: BatchStatus | str | None = None,
        cursor: str = "",
        limit: int = 100,
    ) -> BatchPage:
        """Read a page of batches, the newest first.

        Args:
            account: whose.
            status: only such batches.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.
        """
        chosen = {"account": account, "status": status, "cursor": cursor or None, "limit": limit}
        answer = self._link.ask("GET", "/v1/batches", params=chosen)
        return self._link.read(
            answer,
            lambda page: BatchPage([read_batch(one) for one in page["batches"]], _cursor(page)),
        )

    def cancel_batch(self, batch: str) -> int:
        """Cancel every job of a batch, whatever its size; returns how many it has.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        answer = self._link.ask("POST", _path(batch, "cancel"), timeout=_LONG, meant=_of(batch))
        return self._link.read(answer, lambda values: int(values["jobs"]))

    def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch until it is resumed; runs under way go on.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
        """
        answer = self._link.ask("POST", _path(batch, "pause"), meant=_of(batch))
        return self._link.read(answer, read_batch)

    def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused or that its rules hold; as `RunQueue.resume_batch`.

        Asked once: a second time might end what came to hold it in between.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
        """
        answer = self._link.ask("POST", _path(batch, "resume"), may_repeat=False, meant=_of(batch))
        return self._link.read(answer, read_batch)

    def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were given up; as `RunQueue` has it.

        Asked once: a second time would not know how many there were.

        Raises:
            BatchNotFound: no such batch is on record.
            InvalidBatch: the url is none; nothing was done.
        """
        given = BatchRules(callback_url=url).callback_url
        answer = self._link.ask(
            "POST",
            _path(batch, "retry-callbacks"),
            headers=callback_header(given) if given else None,
            may_repeat=False,
            meant=_of(batch),
            refused=InvalidBatch,
        )
        log_warnings(self._link.read(answer, read_warnings))
        return self._link.read(answer, lambda values: int(values["callbacks"]))

    def retry_failed(
        self, batch: str, *, reason: str | None = None, canceled: bool = False
    ) -> Retried:
        """Have the dead and failed jobs of a batch done again; as `RunQueue.retry_failed`.

        Asked once: a second time would have those done again that failed in between.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            InvalidRequest: an empty reason.
        """
        check_words(reason)
        answer = self._link.ask(
            "POST",
            _path(batch, "retry-failed"),
            params={"reason": reason, "canceled": "true" if canceled else None},
            may_repeat=False,
            timeout=_LONG,
            meant=_of(batch),
        )
        return self._link.read(answer, read_retried)

    def iter_results(
        self, batch: str, *, errors: bool = False, after: str | None = None
    ) -> Iterator[Job]:
        """Go through the jobs of a batch that have ended, in the order of the upload.

        In constant memory; a connection that breaks is made again, and goes on where it was. The
        jobs hold what a line of a results file has, and no more: no times to run, no whole result.

        Args:
            batch: its id.
            errors: only those that failed, were canceled, are dead or unconfirmed.
            after: only those behind this job, which was among them.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        account = self.get_batch(batch).account
        for row in self.iter_rows(batch, errors=errors, after=after):
            try:
                job = read_job(row, account)
            except (ValueError, TypeError, KeyError, AttributeError):
                job = None
            if job is None:
                raise self._link.strange()
            yield job

    def iter_rows(
        self, batch: str, *, errors: bool = False, after: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Go through the lines of a results file; arguments and errors as for `iter_results`."""
        return result_rows(self._link, batch, errors=errors, after=after)

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
    ) -> JobPage:
        """Read a page of jobs, without their results; as `RunQueue.list_jobs`."""
        check_words(reason)
        params = {
            "state": state,
            "group": group,
            "batch": batch,
            "reason": reason,
            "custom_id": custom_id,
            "namespace": namespace or None,
            "account": account,
            "cursor": cursor or None,
            "limit": limit,
        }
        answer = self._link.ask("GET", "/v1/jobs", params=params)
        return self._link.read(
            answer, lambda page: JobPage([read_job(one) for one in page["jobs"]], _cursor(page))
        )

    def replay(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have dead, failed or canceled jobs done again; returns what came of each.

        One call each, and each asked once: an answer that is lost raises `QueueUnavailable`.
        """
        return {job_id: self._replay(job_id) for job_id in job_ids}

    def _replay(self, job_id: str) -> Settled:
        if not ids.is_id(job_id):
            return Settled.NO_SUCH_JOB
        refused = _NotReplayedError()
        try:
            self._link.ask(
                "POST",
                f"/v1/jobs/{job_id}/replay",
                may_repeat=False,
                meant={404: JobNotFound(job_id), 409: refused},
            )
        except JobNotFound:
            return Settled.NO_SUCH_JOB
        except _NotReplayedError:
            canceled = self._batch_is_canceled(job_id)
            return Settled.BATCH_CANCELED if canceled else Settled.NOT_ENDED_BADLY
        return Settled.DONE

    def _batch_is_canceled(self, job_id: str) -> bool:
        answer = self._link.ask("GET", f"/v1/jobs/{job_id}", params={"result": "false"})
        job = self._link.read(answer, read_job)
        return job.batch is not None and self.get_batch(job.batch).held == "canceled"

    def set_group(
        self,
        name: str,
        *,
        max_concurrent: int | Keep | None = KEEP,
        paused: bool | None = None,
        account: str = "default",
    ) -> Group:
        """Cap a group's share of the account, or pause it; as `RunQueue.set_group`.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidGroup: the name or the cap is none.
        """
        settings: dict[str, Any] = {}
        if max_concurrent is not KEEP:
            settings["max_concurrent"] = max_concurrent
        if paused is not None:
            settings["paused"] = paused
        # Refuses what is wrong; a name that is none could lead elsewhere in a path.
        groups.set_group(account, name, max_concurrent, paused)
        answer = self._link.ask(
            "PUT",
            f"/v1/groups/{name}",
            params={"account": account},
            content=orjson.dumps(settings),
            headers={"content-type": "application/json"},
            refused=InvalidGroup,
        )
        return self._link.read(answer, read_group)

    def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        answer = self._link.ask("GET", "/v1/groups", params={"account": account})
        return self._link.read(answer, lambda found: [read_group(one) for one in found["groups"]])


class _NotReplayedError(RunQueueError):
    """The job is in no state for a replay."""


def _path(batch: str, what: str = "") -> str:
    """Return where a batch is read, or something is done to it.

    Raises:
        BatchNotFound: it is no id.
    """
    if not ids.is_id(batch):
        raise BatchNotFound(batch)
    return f"/v1/batches/{batch}{'/' if what else ''}{what}"


def _of(batch: str) -> Mapping[int, RunQueueError]:
    return {404: BatchNotFound(batch), 409: BatchCanceled(batch)}


def _cursor(page: dict[str, Any]) -> str:
    return page["cursor"] or ""
