"""What people change of schedules: pure changes, written unless somebody else wrote."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

from runqueue.errors import FieldError, InvalidRequest
from runqueue.records.schedule import (
    Firing,
    FiringKind,
    FiringState,
    Schedule,
    ScheduleChange,
    ScheduleSpec,
)
from runqueue.request.time_range import check_range, in_microseconds
from runqueue.request.validation_errors import clean
from runqueue.schedules.calls import MOST_FIRINGS, MOST_SCHEDULES
from runqueue.schedules.firings import firings
from runqueue.schedules.line_check import MOST_REPORTED
from runqueue.schedules.plan import MOST_WAITING
from runqueue.schedules.spec import read_spec, to_json

#: What says when a schedule fires: another one holds from now on.
_TIMES = ("cron", "every_seconds", "timezone", "start", "end")
#: Firings that a backfill makes up for.
_NOT_DONE = {FiringState.SKIPPED, FiringState.MISSED, FiringState.FAILED}

#: Characters of the reason of a pause, of which more are cut off.
_MOST_REASON = 200
#: Why a firing is missed that was due when its schedule was paused.
_PAUSED = "the schedule was paused before it began"

#: Returns a schedule as it is to be; of the schedule as it is, and the time now in microseconds.
Change = Callable[[Schedule, int], Schedule]


def checked(schedules: Mapping[str, Mapping[str, Any]]) -> dict[str, ScheduleSpec]:
    """Check schedules, given by name as `read_spec` takes each.

    Raises:
        InvalidRequest: it names every field at fault, as `schedules.<name>.<field>`.
    """
    if len(schedules) > MOST_SCHEDULES:
        raise _too_many(len(schedules))
    specs: dict[str, ScheduleSpec] = {}
    errors: list[FieldError] = []
    for name, fields in schedules.items():
        if len(errors) >= MOST_REPORTED:
            break
        try:
            specs[name] = read_spec(name, fields)
        except InvalidRequest as error:
            where = f"schedules.{clean(name)}"
            errors += (FieldError(f"{where}.{one.field}", one.message) for one in error.errors)
    if errors:
        raise InvalidRequest(errors)
    return specs


def differences(
    found: Mapping[str, Schedule], wanted: Mapping[str, ScheduleSpec], *, remove_others: bool
) -> list[ScheduleChange]:
    """Return what applying does to each schedule, in the order of their names.

    Args:
        found: the account's schedules, by name.
        wanted: those that are to be there, by name.
        remove_others: whether all others go.
    """
    others = found.keys() - wanted.keys() if remove_others else ()
    changes = [ScheduleChange(name, "removed") for name in others]
    for name, spec in wanted.items():
        fields = tuple(_words(_shown(found[name].spec) if name in found else {}, _shown(spec)))
        if name not in found:
            changes.append(ScheduleChange(name, "created", fields))
        else:
            changes.append(ScheduleChange(name, "changed" if fields else "unchanged", fields))
    return sorted(changes)


def _shown(spec: ScheduleSpec) -> dict[str, Any]:
    values = to_json(spec)
    if lines := values.pop("lines", None):
        number, _, digest = lines.partition("-")
        values["file"] = f"{int(number):,} job{'s' * (number != '1')} ({digest[:8]})"
    return values


def _words(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Say what differs; what is in a job's template may be a secret, and is not shown."""
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        is_object = isinstance(before or {}, Mapping) and isinstance(after or {}, Mapping)
        if is_object and (path or name == "job"):
            yield from _words(before or {}, after or {}, f"{path}{name}.")
        elif path:
            what = "added" if before is None else "removed" if after is None else "changed"
            yield f"{path}{name}: {what}"
        elif before is None:
            yield f"{name}: {after}"
        else:
            yield f"{name}: {before} → {'none' if after is None else after}"


def change_words(changes: Iterable[ScheduleChange]) -> str:
    """Say what changes: '1 created, 2 removed'; '' = nothing does."""
    counts = Counter(one.change for one in changes if one.change != "unchanged")
    return ", ".join(f"{number:,} {change}" for change, number in sorted(counts.items()))


def check_writable(
    found: Mapping[str, Schedule],
    wanted: Mapping[str, ScheduleSpec],
    unknown: Collection[str],
    *,
    remove_others: bool,
) -> None:
    """Refuse what could be written in part alone.

    Args:
        found, wanted, remove_others: as of `differences`.
        unknown: names of files that are not stored.

    Raises:
        InvalidRequest: a file is not stored, or there would be too many schedules.
    """
    errors = [
        FieldError(f"schedules.{name}.lines", "expected those of a file that is stored")
        for name, spec in wanted.items()
        if spec.lines in unknown
    ]
    count = len(wanted if remove_others else wanted.keys() | found.keys())
    if count > MOST_SCHEDULES:
        errors += _too_many(count).errors
    if errors:
        raise InvalidRequest(errors)


def _too_many(count: int) -> InvalidRequest:
    words = f"expected at most {MOST_SCHEDULES:,} of an account, got {count:,}"
    return InvalidRequest([FieldError("schedules", words)])


def applied(before: Schedule | None, spec: ScheduleSpec, account: str, now_us: int) -> Schedule:
    """Return a schedule that is new, or has another spec, also for firings that wait.

    Other times hold from now on.
    """
    if before is None:
        return Schedule(spec, account, now_us, "", 0)
    is_timed = any(getattr(before.spec, name) != getattr(spec, name) for name in _TIMES)
    mark_us = max(before.mark_us, now_us) if is_timed else before.mark_us
    firings = tuple(
        one._replace(jobs=spec.count) if one.state is FiringState.WAITING else one
        for one in before.firings
    )
    return replace(before, spec=spec, mark_us=mark_us, firings=firings)


def paused(found: Schedule, now_us: int, reason: str) -> Schedule:
    """Return a schedule that makes no firings; those that are due and did not begin are missed."""
    after = replace(found, paused=reason[:_MOST_REASON] or found.paused or "by a person")
    if found.paused or now_us <= found.mark_us:
        return after
    known = {firing.at_us for firing in found.firings}
    missed = [
        Firing(at_us, state=FiringState.MISSED, message=_PAUSED, jobs=found.spec.count)
        for at_us in firings(found.spec, found.mark_us, now_us, MOST_FIRINGS)
        if at_us not in known
    ]
    return replace(_with(after, missed), mark_us=now_us)


def resumed(found: Schedule, now_us: int) -> Schedule:
    """Return a schedule that makes firings from now on, and none for the time of its pause."""
    return replace(found, paused="", mark_us=max(found.mark_us, now_us if found.paused else 0))


def fired(found: Schedule, now_us: int) -> Schedule:
    """Return a schedule with a firing of now, which waits."""
    times = {firing.at_us for firing in found.firings}
    at_us = next(at_us for at_us in count(now_us) if at_us not in times)
    return _with(found, [Firing(at_us, FiringKind.NOW, jobs=found.spec.count)])


def backfilled(found: Schedule, _: int, since: datetime, until: datetime) -> Schedule:
    """Return a schedule with a firing for each time of a range that has none, or came to nothing.

    Times after its mark are still to fire by themselves.

    Raises:
        InvalidRequest: there is no such time, or there are too many.
    """
    check_range(since, until)
    before_us, last_us = in_microseconds(since) - 1, in_microseconds(until) - 1
    done = {firing.at_us for firing in found.firings if firing.state not in _NOT_DONE}
    most = len(done) + MOST_WAITING + 1
    times = firings(found.spec, before_us, min(last_us, found.mark_us), most)
    new = [
        Firing(at_us, FiringKind.BACKFILL, jobs=found.spec.count)
        for at_us in times
        if at_us not in done
    ]
    if not new:
        words = "expected a range with a past time that has not fired"
        raise InvalidRequest([FieldError("since", words)])
    return _with(found, new)


def _with(found: Schedule, new: list[Firing]) -> Schedule:
    times = {firing.at_us for firing in new}
    kept = [firing for firing in found.firings if firing.at_us not in times]
    waiting = sum(firing.state is FiringState.WAITING for firing in (*kept, *new))
    if waiting > MOST_WAITING:
        words = f"expected at most {MOST_WAITING} that wait, got more"
        raise InvalidRequest([FieldError("firings", words)])
    return replace(found, firings=tuple(sorted([*kept, *new], reverse=True)))
