"""What becomes of a schedule's firings at a look: a pure function of what is on record and a time.

A firing that becomes due waits, or is missed or skipped for good. Of those that wait one at a time
is uploaded. A backfill always waits its turn; of what else overlaps the schedule's rule decides.
"""

from typing import Final, NamedTuple

from runqueue import ids
from runqueue.records.schedule import (
    CatchUp,
    Firing,
    FiringKind,
    FiringState,
    Overlap,
    Schedule,
    ScheduleSpec,
)
from runqueue.request.time_range import from_microseconds
from runqueue.schedules.firings import firings, following, jitter_us
from runqueue.schedules.template import NAMESPACE

#: Firings of a schedule that may wait.
MOST_WAITING: Final = 100
#: Times that one look decides; if there are more, the next look follows at once.
MOST_DECIDED: Final = 100
#: A firing that begins later than this is late: no worker was there.
LATE_US: Final = 60_000_000
_SOON_US, _DAY_US = 10_000_000, 86_400_000_000


class FiringPlan(NamedTuple):
    """What a look decides; times are microseconds since 1970.

    Args:
        mark_us: up to when firings are decided now; never before the mark that it was.
        paused: why the schedule makes no firings; '' = it does.
        changed: the firings that are new, or other than they were.
        cancel: ids of batches to cancel.
        upload: the firing whose jobs are to be enqueued now; it is `uploading`, and in `changed` if
            it was not before.
        look_us: when to look again.
    """

    mark_us: int
    paused: str
    changed: tuple[Firing, ...]
    cancel: tuple[str, ...]
    upload: Firing | None
    look_us: int


def batch_id(account: str, name: str, at_us: int) -> str:
    """Return the id of a firing's batch, derived, so that a repeated upload makes no second one."""
    return ids.job_id_for(account, NAMESPACE, f"{name}/{at_us}")


def plan(found: Schedule, now_us: int) -> FiringPlan:
    """Decide what becomes of a schedule's firings now.

    Args:
        found: as it is on record; those of its firings whose batch is over say so.
        now_us: the time.
    """
    spec, account, mark_us = found.spec, found.account, found.mark_us
    before = {firing.at_us: firing for firing in found.firings}
    after = dict(before)
    paused = found.paused or _pause(spec, after)
    if paused:
        mark_us, more = max(mark_us, now_us), False
    else:
        mark_us, more = _decide(spec, account, mark_us, now_us, after)
    cancel = _settle_overlaps(spec, after, is_paused=bool(paused))
    upload = _next_upload(spec, account, now_us, after, is_paused=bool(paused))
    looks = [now_us + _DAY_US]
    if more:
        looks.append(now_us)
    elif (next_us := following(spec, mark_us)) is not None:
        looks.append(next_us + jitter_us(account, spec.name, next_us, spec))
    if any(_is_open(firing, is_paused=bool(paused)) for firing in after.values()):
        looks.append(now_us + _SOON_US)
    changed = tuple(
        firing for at_us, firing in sorted(after.items()) if before.get(at_us) != firing
    )
    return FiringPlan(mark_us, paused, changed, cancel, upload, min(looks))


def _pause(spec: ScheduleSpec, after: dict[int, Firing]) -> str:
    """Say why the schedule pauses itself; the newest of the firings that are why says so, too."""
    ended = [
        firing
        for firing in after.values()
        if firing.state in {FiringState.OVER, FiringState.FAILED}
    ]
    last = sorted(ended, key=lambda firing: (firing.ended_us or firing.begun_us, firing.at_us))[
        -spec.pause_after :
    ]
    if not spec.pause_after or len(last) < spec.pause_after:
        return ""
    # Those of a pause before this one do not count again.
    if any(firing.completed or firing.paused for firing in last):
        return ""
    after[last[-1].at_us] = last[-1]._replace(paused=True)
    return f"its last {spec.pause_after} firings completed no job"


def _decide(
    spec: ScheduleSpec, account: str, mark_us: int, now_us: int, after: dict[int, Firing]
) -> tuple[int, bool]:
    """Decide what becomes of the due times; returns the mark, and if there are more."""
    times = firings(spec, mark_us, now_us, MOST_DECIDED + 1)
    more = len(times) > MOST_DECIDED
    begins = [(at_us, at_us + jitter_us(account, spec.name, at_us, spec)) for at_us in times]
    due = [(at_us, begin_us) for at_us, begin_us in begins[:MOST_DECIDED] if begin_us <= now_us]
    for at_us, begin_us in due:
        if at_us not in after:
            is_newest = not more and at_us == due[-1][0]
            is_late = begin_us < now_us - LATE_US
            after[at_us] = _new(spec, at_us, after, is_late=is_late, is_newest=is_newest)
    if len(due) == len(times):
        return max(mark_us, now_us), more
    return max(mark_us, due[-1][0] if due else mark_us), more


def _new(
    spec: ScheduleSpec, at_us: int, after: dict[int, Firing], *, is_late: bool, is_newest: bool
) -> Firing:
    firing = Firing(at_us, jobs=spec.count)
    if is_late and not (
        spec.catch_up is CatchUp.ALL or (spec.catch_up is CatchUp.LAST and is_newest)
    ):
        return firing._replace(state=FiringState.MISSED, message="no worker was there in time")
    waiting = [one for one in after.values() if one.state is FiringState.WAITING]
    if len(waiting) >= MOST_WAITING:
        said = f"{MOST_WAITING} firings waited already"
        return firing._replace(state=FiringState.MISSED, message=said)
    # What is caught up for to the last one waits its turn.
    if spec.overlap is Overlap.SKIP and not (is_late and spec.catch_up is CatchUp.ALL):
        ahead = [one for one in after.values() if one.state.is_under_way] + waiting
        if other := next((one for one in ahead if one.kind is not FiringKind.BACKFILL), None):
            return _skipped(firing, other)
    return firing


def _settle_overlaps(
    spec: ScheduleSpec, after: dict[int, Firing], *, is_paused: bool
) -> tuple[str, ...]:
    """Apply the rule to those that wait, but backfill; returns the batches to cancel."""
    ready = [one for one in after.values() if _is_open(one, is_paused=is_paused)]
    others = [one for one in ready if one.kind is not FiringKind.BACKFILL]
    under_way = [one for one in others if one.state.is_under_way]
    waiting = sorted(one for one in others if one.state is FiringState.WAITING)
    if spec.overlap is Overlap.SKIP and under_way:
        for firing in waiting:
            if firing.kind is FiringKind.NOW:
                after[firing.at_us] = _skipped(firing, under_way[0])
    if spec.overlap is not Overlap.CANCEL or not waiting:
        return ()
    for firing in waiting[:-1]:
        after[firing.at_us] = _skipped(firing, waiting[-1])
    return tuple(one.batch for one in under_way if one.state is FiringState.RUNNING)


def _next_upload(
    spec: ScheduleSpec, account: str, now_us: int, after: dict[int, Firing], *, is_paused: bool
) -> Firing | None:
    """Choose the firing whose jobs are enqueued now: the one that was begun, or one that waits."""
    for firing in sorted(after.values()):
        if firing.state is FiringState.RUNNING:
            return None
        if firing.state is FiringState.UPLOADING:
            return firing
    ready = [
        firing
        for firing in after.values()
        if firing.state is FiringState.WAITING and _is_open(firing, is_paused=is_paused)
    ]
    if not ready:
        return None
    # Backfill gives way to the clock and to people.
    first = min(ready, key=lambda firing: (firing.kind is FiringKind.BACKFILL, firing.at_us))
    after[first.at_us] = first._replace(
        state=FiringState.UPLOADING,
        begun_us=now_us,
        batch=batch_id(account, spec.name, first.at_us),
        jobs=spec.count,
    )
    return after[first.at_us]


def _is_open(firing: Firing, *, is_paused: bool) -> bool:
    """Return whether a firing is under way or may begin: while paused, if it was asked for."""
    if firing.state.is_under_way:
        return True
    is_held = is_paused and firing.kind is FiringKind.TIMED
    return firing.state is FiringState.WAITING and not is_held


def _skipped(firing: Firing, other: Firing) -> Firing:
    at = from_microseconds(other.at_us).isoformat(timespec="seconds").replace("+00:00", "Z")
    said = f"the firing of {at} is not over"
    return firing._replace(state=FiringState.SKIPPED, message=said)
