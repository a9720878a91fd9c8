"""What takes several calls, once for both queues: generators of calls, sent their replies.

`RunQueue` and `AsyncRunQueue` drive them (`drive`, `drive_async`).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, TypeVar

from runqueue.errors import BatchCanceled, BatchExpired, BatchNotFound, RunQueueError
from runqueue.records.batch import Batch, BatchRules, Retried
from runqueue.records.job import JobState
from runqueue.records.reasons import check_words, has_words
from runqueue.store import (
    budgets,
    delivery_calls,
    groups,
    job_calls,
    key_limits,
    operator_calls,
)
from runqueue.store.budgets import BudgetUse
from runqueue.store.groups import Group
from runqueue.store.key_limits import EndedHolder
from runqueue.store.scripts import ScriptCall

T = TypeVar("T")
Flow = Generator[ScriptCall[Any], Any, T]

#: Jobs checked in one script call of `retry_failed`, and then done again in one.
_PAGE = 200
#: Jobs of an upload that are removed in one script call once it is given up, and such calls: of a
#: longer one the next sweep removes the rest.
_REMOVED, _REMOVALS = 100, 100
#: Keys of which one call compares who has them with the jobs.
_HOLDERS = 100


def drive(flow: Flow[T], send: Callable[[ScriptCall[Any]], Any]) -> T:
    """Run a flow to its end; what a call raises is raised in the flow."""
    try:
        call = next(flow)
        while True:
            try:
                reply = send(call)
            except RunQueueError as error:
                call = flow.throw(error)
            else:
                call = flow.send(reply)
    except StopIteration as stop:
        done: T = stop.value
        return done


async def drive_async(flow: Flow[T], send: Callable[[ScriptCall[Any]], Awaitable[Any]]) -> T:
    """Run a flow to its end, from a coroutine; what a call raises is raised in the flow."""
    try:
        call = next(flow)
        while True:
            try:
                reply = await send(call)
            except RunQueueError as error:
                call = flow.throw(error)
            else:
                call = flow.send(reply)
    except StopIteration as stop:
        done: T = stop.value
        return done


def list_groups(account: str) -> Flow[list[Group]]:
    """Read the groups that have settings or ready jobs, by their names."""
    names = sorted((yield groups.group_names(account)))
    found: list[Group] = []
    for start in range(0, len(names), groups.A_CALL):
        found += yield groups.read_groups(account, names[start : start + groups.A_CALL])
    return found


def list_budgets(account: str) -> Flow[list[BudgetUse]]:
    """Read the budgets, by their scopes."""
    scopes = sorted((yield budgets.budget_scopes(account)))
    found: list[BudgetUse] = []
    for start in range(0, len(scopes), budgets.A_CALL):
        found += yield budgets.read_budgets(account, scopes[start : start + budgets.A_CALL])
    return found


def get_batch(account: str, batch: str) -> Flow[Batch]:
    """Read a batch that has to be on record."""
    found: Batch | None = yield job_calls.get_batch(account, batch)
    if found is None:
        raise BatchNotFound(batch)
    return found


def discard_batch(account: str, batch: str) -> Flow[None]:
    """Give an unfinished upload up and remove its jobs: nothing of it is seen, or counts.

    What cannot be removed now is left to the sweep, which reports what is damaged.
    """
    yield job_calls.discard_batch(account, batch)
    with suppress(RunQueueError):
        for _ in range(_REMOVALS):
            checked: int = yield job_calls.remove_given_up(account, batch, _REMOVED)
            if checked < _REMOVED:
                return


def _living(account: str, batch: str) -> Flow[Batch]:
    """Read a batch that may go on."""
    found = yield from get_batch(account, batch)
    if found.held == "canceled":
        raise BatchCanceled(batch)
    if found.held == "expired" and not found.sealed:
        raise BatchExpired(batch)
    return found


def pause_batch(account: str, batch: str) -> Flow[Batch]:
    """Hold a batch, and read its state then."""
    yield job_calls.hold_batch(account, batch, "pause")
    return (yield from _living(account, batch))


def resume_batch(account: str, batch: str) -> Flow[Batch]:
    """End what holds a batch now, and read its state then."""
    before = yield from _living(account, batch)
    if before.held is None:
        return before
    yield job_calls.hold_batch(account, batch, "resume", before.held)
    return (yield from get_batch(account, batch))


def retry_callbacks(account: str, batch: str, url: str | None = None) -> Flow[int]:
    """Have the callbacks of a batch sent again that were given up; returns how many."""
    rules = BatchRules(callback_url=url)
    done: int | None = yield delivery_calls.callback_again(account, batch, rules.callback_url or "")
    if done is None:
        raise BatchNotFound(batch)
    return done


def retry_failed(
    account: str,
    batch: str,
    report: Callable[[Retried], object] | None = None,
    *,
    reason: str | None = None,
    canceled: bool = False,
) -> Flow[Retried]:
    """Have what ended badly in a batch done again, page by page; returns which jobs.

    Args:
        account, batch: whose it is, and its id.
        report: called after each page with what is done again by then.
        reason, canceled: as `RunQueue.retry_failed` takes them, which has the errors, too.
    """
    check_words(reason)
    yield from _living(account, batch)
    start, seen, left = 0, 1, 0
    states = Counter[JobState]()
    while seen:
        seen, found = yield job_calls.ended_badly(account, batch, start, _PAGE)
        start += seen
        fitting = [job for job in found if has_words(job.reason, reason)]
        bad = [job for job in fitting if canceled or job.state is not JobState.CANCELED]
        left += len(fitting) - len(bad)
        if bad:
            codes: list[int] = yield operator_calls.replay(account, [job.seen for job in bad])
            states.update(job.state for job, code in zip(bad, codes, strict=True) if code == 1)
            if report is not None:
                report(Retried(dict(states)))
            if 2 in codes:
                raise BatchCanceled(batch)
    return Retried(dict(states), left)


def ended_holders(account: str, *, drop: bool) -> Flow[list[EndedHolder]]:
    """Find what has keys or budgets and has ended, and drop it if so."""
    cursor, ended = "", dict[EndedHolder, None]()
    while cursor != "0":
        cursor, names = yield key_limits.list_holders(account, cursor or "0")
        left = [(name, "0") for name in names]
        while left:
            checked = yield key_limits.check_holders(account, left[:_HOLDERS], drop=drop)
            again = [(name, at) for name, at, _ in checked if at != "0"]
            ended |= {EndedHolder(name, one): None for name, _, found in checked for one in found}
            left = again + left[len(checked) :]
    return [*ended]
