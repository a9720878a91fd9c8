"""`runqueue batch`: the batches of an account: list, show, pause, resume, cancel, retry, watch."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from runqueue.cli.commands.cancel import canceled_words, print_canceled
from runqueue.cli.follow.batch_holds import batch_values, held_words
from runqueue.cli.follow.watch import FollowedJobs
from runqueue.cli.follow.watch import watch as watch_jobs
from runqueue.cli.shared.audit_log import record_change, record_jobs_change
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.cli.shared.formatting import counted, printable
from runqueue.cli.shared.job_selection import Reason
from runqueue.cli.shared.options import HomeAccount, OneObject, command_group
from runqueue.cli.shared.output import print_outcome, print_values
from runqueue.cli.shared.queues import Queue, Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, Limit, print_rows, print_unread, up_to
from runqueue.errors import InvalidBatch
from runqueue.records.batch import Batch, BatchStatus
from runqueue.records.job import JobState
from runqueue.records.waits import in_words

batch = command_group("Batches: jobs that were submitted together.")

CallbackUrl = Annotated[
    str,
    typer.Option(
        "--callback-url",
        metavar="URL",
        help="Send them, and all later ones of the batch, to this URL.",
    ),
]
Canceled = Annotated[bool, typer.Option("--canceled", help="Also its canceled jobs.")]
OneBatch = Annotated[str, typer.Argument(metavar="BATCH", help="The id of a batch.")]

#: Batches read in one call.
_PAGE = 100
_COLUMNS = ("batch", "status", "completed", "bad", "jobs", "created_at", "name")
#: The holds of a batch that is in progress.
_HELD = frozenset({"paused", "canary"})


@batch.command("list")
def list_batches(
    *, account: HomeAccount = None, limit: Limit = 50, url: Url = None, as_json: AsJson = False
) -> None:
    """Show the batches of an account, the newest first."""
    with opened(url) as queue:
        unread: list[str] = []
        found = _batches(queue, account or home_of(queue), min(_PAGE, limit), unread)
        rows = list(map(_row, up_to(limit, found)))
        if as_json:
            rows = [row["whole"] for row in rows]
        columns = (*_COLUMNS, "why") if any(row.get("why") for row in rows) else _COLUMNS
        print_rows(rows, columns, as_json=as_json)
        print_unread(unread)


def _batches(queue: Queue, account: str, limit: int, unread: list[str]) -> Iterator[Batch]:
    cursor = ""
    while True:
        page = queue.list_batches(account, cursor=cursor, limit=limit)
        unread += page.unread
        yield from page.batches
        if not (cursor := page.cursor):
            return


def _row(found: Batch) -> dict[str, Any]:
    counts = found.request_counts
    return {
        "whole": found.as_dict(),
        "batch": found.id,
        "status": found.held if found.held in _HELD else found.status,
        "completed": counts["completed"],
        "bad": counts["failed"] + counts["dead"],
        "jobs": found.total,
        "created_at": found.created_at.isoformat(),
        "name": found.name,
        "why": found.held_reason or in_words(found.own_waits) or None,
    }


@batch.command()
def show(one: OneBatch, *, url: Url = None, as_json: OneObject = False) -> None:
    """Show the state of a batch."""
    with opened(url) as queue:
        print_values(batch_values(queue.get_batch(one), as_json=as_json), as_json=as_json)


@batch.command()
def pause(one: OneBatch, *, url: Url = None, as_json: OneObject = False) -> None:
    """Submit nothing more of a batch until it is resumed; runs under way go on."""
    with opened(url) as queue:
        found = queue.pause_batch(one)
        record_change(queue, "pause_batch", one, found.name, account=found.account)
        waiting = sum(found.states.get(s, 0) for s in (JobState.READY, JobState.SCHEDULED))
        _print(found, f"{found.held}; {counted(waiting, 'job')} held", as_json=as_json)


@batch.command()
def resume(one: OneBatch, *, url: Url = None, as_json: OneObject = False) -> None:
    """Resume a batch that was paused, was aborted by its rules, or waits for its canary.

    After an abort or a canary it continues without its rules.
    """
    with opened(url) as queue:
        found = queue.resume_batch(one)
        if found.status is BatchStatus.VALIDATING:
            raise ended(f"batch {one}: {held_words(found)}", Exit.INVALID)
        record_change(queue, "resume_batch", one, found.name, account=found.account)
        held = f"; held for its {found.held}" if found.held else ""
        _print(found, f"{found.status}{held}", as_json=as_json)


@batch.command()
def cancel(one: OneBatch, *, url: Url = None, as_json: OneObject = False) -> None:
    """Cancel every job of a batch; runs that have begun are canceled at Skyvern."""
    with opened(url) as queue:
        done = queue.cancel_batch(one)
        record_jobs_change(queue, "cancel_batch", [one], canceled_words(done))
        print_canceled(done, {"batch": one, "cancel_requested": True}, as_json=as_json)


@batch.command("retry-failed")
def retry_failed(
    one: OneBatch,
    *,
    reason: Reason = None,
    canceled: Canceled = False,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Submit the dead and failed jobs of a batch again."""
    with opened(url) as queue:
        done = queue.retry_failed(one, reason=reason, canceled=canceled)
        found = queue.get_batch(one)
        came_to = f"{counted(done.jobs, 'job')} ready again{done.words}"
        if done.jobs:
            record_change(queue, "retry_failed", one, came_to, account=found.account)
        more = {"retried": done.jobs, "retried_states": done.as_dict()["states"]}
        print_outcome(came_to, {**found.as_dict(), **more}, as_json=as_json)
        if as_json:
            return
        if left := done.canceled_left:
            words = "is left as it is; --canceled includes it"
            if left > 1:
                words = "are left as they are; --canceled includes them"
            print_err(f"runqueue: {counted(left, 'canceled job')} {words}")
        if done.jobs and found.held in {"aborted", "paused"}:
            print_err(f"The batch is {found.held}: `runqueue batch resume {one}` lets them go.")


@batch.command("retry-callbacks")
def retry_callbacks(
    one: OneBatch, *, to: CallbackUrl = "", url: Url = None, as_json: OneObject = False
) -> None:
    """Send the callbacks of a batch again that were abandoned."""
    with opened(url) as queue:
        try:
            done = queue.retry_callbacks(one, to or None)
        except InvalidBatch as error:
            words = error.errors[0].message
            raise typer.BadParameter(words, param_hint="--callback-url") from None
        found = queue.get_batch(one)
        came_to = f"{counted(done, 'callback')} due again" if done else "none was abandoned"
        if done:
            record_change(queue, "retry_callbacks", one, came_to, account=found.account)
        print_outcome(came_to, {**found.as_dict(), "retried": done}, as_json=as_json)


@batch.command()
def watch(one: OneBatch, *, url: Url = None, as_json: OneObject = False) -> None:
    """Follow a batch until it is over: jobs done, by state, their rate, and the time left.

    Ctrl-C stops watching; the batch continues.
    """
    with opened(url) as queue:
        followed = FollowedJobs(queue, [one])
        watch_jobs(queue, followed)
        found = followed.batches[one]
        _print(found, _ending(found), as_json=as_json)
        is_all = found.states.get(JobState.COMPLETED, 0) == found.total
    raise typer.Exit(Exit.OK if is_all else Exit.NOT_ALL_COMPLETED)


def _ending(found: Batch) -> str:
    counts = ", ".join(
        f"{n:,} {name}" for name, n in found.request_counts.items() if n and name != "total"
    )
    why = f" ({printable(found.held_reason)})" if found.held_reason else ""
    return f"{found.status}{why}: {counts or 'no job'} of {counted(found.total, 'job')}"


def _print(found: Batch, words: str, *, as_json: bool) -> None:
    print_outcome(f"batch {found.id}: {words}", found.as_dict(), as_json=as_json)
