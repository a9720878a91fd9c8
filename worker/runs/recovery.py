"""Recovering claims that Redis may have lost: the runs since then are listed and adopted.

Another Redis server answers, which may be from before the last claims
(`lua/lib/account/server.lua`). What shows a marker of ours is recorded as that attempt's: in the
list, in its request, or, of a workflow's run, in its tags, which cost a call each. A run
that shows none and has no owner may be anybody's: a person's, or of a claim that was lost. So jobs
that wait, and whose requests it may come of, become unconfirmed and are looked for as after any
lost answer; the account goes on. So do those whose runs may be listed late, if a process died: one
that lives says what it lost itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from api_client import ListedRun
from runqueue import JobState, ids
from runqueue.records.claim_items import RunAccepted, Taken, Unconfirmed
from runqueue.store import job_calls, worker_calls
from worker.process.account import AccountRuntime
from worker.runs.comparison import WORKFLOW_RUN, ShownRun
from worker.runs.listed_runs import Listing, Runs
from worker.runs.matcher import WITHOUT_URL, markers_of, own_markers
from worker.runs.maybe_claimed import REQUESTS, TooManyError, maybe_claimed, most_lost, unlisted
from worker.runs.read_run import answers_reads

#: Seconds after a change of server was noticed in which submissions from before may yet become
#: runs (14 s of a lease to begin one, and 60 s for its answer); and between two tries to recover.
GRACE, EVERY = 75.0, 15.0
#: Seconds by which something in the list must be newer than the change, to show that the list is;
#: and seconds after the change for which that is waited for, while runs go on that may end.
NEWER, NOTHING_NEWER = 2.0, 240.0
#: Runs read at once.
AT_ONCE = 4
#: Seconds between two tries at most, once a person was called.
LONGEST = 600.0
#: Seconds: a server that lags by more has lost more than claims. People submit again what it does
#: not know, after the recovery, and a run without a marker cannot be given to such a job.
LONG_LOSS = 600.0

#: Records runs that were found; returns a code for each (`mark_running.lua`).
Record = Callable[[Sequence[RunAccepted]], Awaitable[Sequence[int]]]


class Recovery:
    """Finds the runs of claims that Redis may have lost, and lets the account go on.

    Args:
        account: what the process holds for the account.
        runs: reads the server's lists and requests.
        record: records runs that were found.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        account: AccountRuntime,
        runs: Runs,
        record: Record,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._runs = runs
        self._record = record
        self._clock = clock
        self._due_at = 0.0
        self._loss, self._wait = (0, 0), EVERY

    def is_due(self) -> bool:
        """Say whether it is time for the next attempt."""
        return self._clock() >= self._due_at

    async def attempt(self, loss: Taken[Unconfirmed], start: float) -> None:
        """Adopt the runs of lost claims, and end the recovery once none can be missing.

        Args:
            loss: since when runs are to be listed, and when the change was noticed.
            start: the monotonic clock when that was read, or a little earlier (seconds).
        """
        if self._loss != (loss.recover_from_us, loss.recover_since_us):
            self._loss, self._wait = (loss.recover_from_us, loss.recover_since_us), EVERY
        waited = (loss.now_us - loss.recover_since_us) / 1e6
        left = max(0.0, GRACE - waited)
        self._due_at = self._clock() + min(left or EVERY, EVERY)
        if not self._account.may_list():
            await self._give_up(loss, "the server has no list of runs")
            return
        since = start - (loss.now_us - loss.recover_from_us) / 1e6
        date = None if loss.recover_date_us is None else loss.recover_date_us / 1e6
        listing = await self._runs.recent(since, date)
        if date is not None and listing.made and listing.is_dated:
            since = min(since, listing.moment(date))
        shown, are_read = await self._shown(listing, since)
        queue = self._account.worker_settings.queue_name
        marked = [run for run in shown if own_markers(run, queue)]
        no_marker = [run for run in shown if not _names_any(run)]
        for run in marked:
            await self._adopt(run)
        if left:
            return
        is_behind = listing.changed < start - waited + NEWER
        tagged, no_marker, have_tags = await self._adopt_tagged(no_marker)
        # What cannot be read for long holds no account: few runs are named by their tags alone.
        are_read = are_read and (have_tags or waited >= NOTHING_NEWER)
        found = len(marked) + tagged
        why = _what_is_missing(listing, are_read=are_read)
        if not why and is_behind and waited < NOTHING_NEWER and await self._may_change():
            why = "nothing newer than the change is listed"
        if why:
            await self._stuck(loss, why)
            return
        is_long = start - waited - since > LONG_LOSS
        if not await self._have_looked_for(loss, no_marker, is_long=is_long, has_found=found > 0):
            return
        times = loss.recover_from_us, loss.recover_since_us
        if await self._account.run(worker_calls.recovered, *times):
            self._account.log.warning("lost_claims_recovered", runs=found)

    async def _give_up(self, loss: Taken[Unconfirmed], why: str) -> None:
        """Call a person; further attempts, which may still succeed, are made ever more rarely."""
        await self._stuck(loss, why, person=True)
        self._due_at = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST)

    async def _stuck(self, loss: Taken[Unconfirmed], why: str, *, person: bool = False) -> None:
        times = loss.recover_from_us, loss.recover_since_us
        await self._account.run(worker_calls.recovery_stuck, *times, why, person=person)
        self._account.log.warning("lost_claims_not_recovered", why=why)

    async def _shown(self, listing: Listing, since: float) -> tuple[list[ShownRun], bool]:
        """Return the runs without an owner that may be ours, and whether they were read.

        Where runs of a type show their markers in their titles, one without is not ours. One that
        alone cannot be read, while the server answers other reads, may be anybody's for ever.
        """
        owners = await self._runs.owners(listing.made)
        titled = {run.run_type for run in listing.made if ids.markers_in(run.title or "")}
        free = [
            run
            for run in listing.made
            if not owners[run.run_id]
            and listing.is_after(run, since)
            and not (
                self._account.worker_settings.correlation
                and run.run_type in titled
                and not ids.markers_in(run.title or "")
            )
        ]
        shown = await self._read(free)
        unread = [run.listed for run in shown if run.request is None and not _names_any(run)]
        if not unread:
            return shown, True
        if not await answers_reads(self._account, unread[0].run_id):
            return shown, False
        read = {run.listed.run_id: run for run in await self._read(unread)}
        return [read.get(run.listed.run_id, run) for run in shown], True

    async def _read(self, runs: Sequence[ListedRun]) -> list[ShownRun]:
        """Read runs, few at a time: the search for unconfirmed jobs reads meanwhile."""
        shown: list[ShownRun] = []
        for first in range(0, len(runs), AT_ONCE):
            shown += await self._runs.shown(runs[first : first + AT_ONCE], with_workflows=True)
        return shown

    async def _adopt(self, run: ShownRun) -> None:
        await self._record_as(run, own_markers(run, self._account.worker_settings.queue_name))

    async def _adopt_tagged(self, runs: Sequence[ShownRun]) -> tuple[int, list[ShownRun], bool]:
        """Adopt the workflow runs whose tags name attempts of ours.

        Args:
            runs: those that show no other marker.

        Returns:
            How many these are; the runs whose tags name no attempt, of whatever queue; and whether
            all tags could be read.
        """
        tagged, left, are_read = 0, list[ShownRun](), True
        for first in range(0, len(runs), AT_ONCE):
            part = runs[first : first + AT_ONCE]
            for run, tags in zip(part, await asyncio.gather(*map(self._tags, part)), strict=True):
                are_read = are_read and tags is not None
                value = (tags or {}).get(ids.TAG_KEY, "")
                if marker := ids.own_tag(value, self._account.worker_settings.queue_name):
                    tagged += 1
                    await self._record_as(run, {marker})
                elif not ids.is_tag_value(value):
                    left.append(run)
        return tagged, left, are_read

    async def _record_as(self, run: ShownRun, markers: set[tuple[str, int]]) -> None:
        listed = run.listed
        for job_id, attempt in markers:
            await self._record([RunAccepted(job_id, attempt, listed.run_id, listed.status, 0)])

    async def _tags(self, run: ShownRun) -> Mapping[str, str] | None:
        """Read the tags of a run; of others than workflows' there are none."""
        if self._account.wants_tags and run.listed.run_type == WORKFLOW_RUN:
            return await self._runs.tags(run.listed)
        return {}

    async def _have_looked_for(
        self,
        loss: Taken[Unconfirmed],
        no_marker: Sequence[ShownRun],
        *,
        is_long: bool,
        has_found: bool,
    ) -> bool:
        """Have all jobs looked for that may have runs; say whether that is done.

        Args:
            loss: what is being recovered.
            no_marker: runs without a marker and an owner.
            is_long: more may be lost than claims.
            has_found: runs of ours were found that this Redis did not know.
        """
        count, account = len(no_marker), self._account
        marks = account.worker_settings.correlation
        if count and is_long and (has_found or loss.lost_claims or not marks):
            why = f"{count} runs without a marker may be of jobs that Redis lost"
            await self._give_up(loss, why)
            return False
        most = await most_lost(account, count, loss.lost_claims)
        try:
            await self._search(loss, await maybe_claimed(account, no_marker, most) if count else [])
        except TooManyError:
            why = f"too many jobs may own the {count} runs without a marker"
            await self._give_up(loss, why)
            return False
        waited = (loss.now_us - loss.recover_since_us) / 1e6
        if not loss.has_deaths or waited > GRACE + WITHOUT_URL:
            return True
        try:
            await self._search(loss, await unlisted(account, most), known=True)
        except TooManyError:  # it ends by itself, once their runs are listed
            await self._stuck(loss, "too many jobs may have runs that are not listed yet")
            return False
        return True

    async def _may_change(self) -> bool:
        """Say whether runs go on, whose ends the list will show."""
        stats = await self._account.run(job_calls.stats)
        return stats.states[JobState.RUNNING] > 0

    async def _search(
        self, loss: Taken[Unconfirmed], found: Sequence[str], *, known: bool = False
    ) -> None:
        times = loss.recover_from_us, loss.recover_since_us
        marked = self._account.worker_settings.correlation
        for first in range(0, len(found), REQUESTS):
            part = found[first : first + REQUESTS]
            codes = await self._account.run(
                worker_calls.mark_maybe_claimed, part, *times, marked=marked, known=known
            )
            if any(codes):
                self._account.log.warning("jobs_may_have_runs", jobs=len(codes) - codes.count(0))


def _what_is_missing(listing: Listing, *, are_read: bool) -> str:
    """Return why it is not known which runs there are; '' = it is."""
    if not listing.is_complete:
        return "the list of runs could not be read back to that time"
    if not listing.is_dated:
        return "the list of runs came without the server's time"
    if not listing.is_fresh:
        return "the list of runs came from a cache on the way"
    return "" if are_read else "the runs without a marker could not be read"


def _names_any(run: ShownRun) -> bool:
    """Say whether a run shows a marker, of whatever queue."""
    return bool(markers_of(run.request or {}) or ids.markers_in(run.listed.title or ""))
