"""What people change of schedules: pure changes, which the queue writes unless somebody else did."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from runqueue.schedules.firings import firings
from runqueue.schedules.spec import read_spec, to_json

#: Firings that may wait at once.
MOST_WAITING = 100
#: What says when a schedule fires: another one holds from now on.
_TIMES = ("cron", "every_seconds", "timezone", "start", "end")
#: Firings that a backfill makes up for.
_NOT_DONE = {FiringState.SKIPPED, FiringState.MISSED, FiringState.FAILED}

#: Returns a schedule as it is to be; of the schedule as it is, and the time now in microseconds.
Change = Callable[[Schedule, int], Schedule]


def checked(schedules: Mapping[str, Mapping[str, Any]]) -> dict[str, ScheduleSpec]:
    """Check schedules, given by name as `read_spec` takes each.

    Raises:
        InvalidRequest: it names every field at fault, as `schedules.<name>.<field>`.
    """
    specs: dict[str, ScheduleSpec] = {}
    errors: list[FieldError] = []
    for name, fields in schedules.items():
        try:
            specs[name] = read_spec(name, fields)
        except InvalidRequest as error:
            where = f"schedules.{clean(name)}"
            errors += (FieldError(f"{where}.{one.field}", one.message) for one in error.errors)
    if errors:
        raise InvalidRequest(errors)
    return specs


def differences(
    found: Mapping[str, Schedule], wanted: Iterable[ScheduleSpec], *, remove_others: bool
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
        if name not in found:
            changes.append(ScheduleChange(name, "created", tuple(_words({}, to_json(spec)))))
            continue
        fields = tuple(_words(to_json(found[name].spec), to_json(spec)))
        changes.append(ScheduleChange(name, "changed" if fields else "unchanged", fields))
    return sorted(changes)


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


def applied(found: Schedule, spec: ScheduleSpec, now_us: int) -> Schedule:
    """Return a schedule with another spec; other times hold from now on."""
    is_timed = any(getattr(found.spec, name) != getattr(spec, name) for name in _TIMES)
    mark_us = max(found.mark_us, now_us) if is_timed else found.mark_us
    return replace(found, spec=spec, mark_us=mark_us)


def paused(found: Schedule, reason: str) -> Schedule:
    """Return a schedule that makes no firings."""
    return replace(found, paused=reason or "by a person")


def resumed(found: Schedule, now_us: int) -> Schedule:
    """Return a schedule that makes firings from now on, and none for the time of its pause."""
    return replace(found, paused="", mark_us=max(found.mark_us, now_us if found.paused else 0))


def fired(found: Schedule, now_us: int) -> Schedule:
    """Return a schedule with a firing of now, which waits."""
    times = {firing.at_us for firing in found.firings}
    at_us = next(at_us for at_us in count(now_us) if at_us not in times)
    return _with(found, [Firing(at_us, FiringKind.NOW)])


def backfilled(found: Schedule, since: datetime, until: datetime) -> Schedule:
    """Return a schedule with a firing for each time of a range that has none, or came to nothing.

    Times after its mark are still to fire by themselves.
    """
    check_range(since, until)
    before_us, last_us = in_microseconds(since) - 1, in_microseconds(until) - 1
    times = firings(found.spec, before_us, min(last_us, found.mark_us), MOST_WAITING + 1)
    done = {firing.at_us for firing in found.firings if firing.state not in _NOT_DONE}
    return _with(found, [Firing(at, FiringKind.BACKFILL) for at in times if at not in done])


def _with(found: Schedule, new: list[Firing]) -> Schedule:
    times = {firing.at_us for firing in new}
    kept = [firing for firing in found.firings if firing.at_us not in times]
    waiting = sum(firing.state is FiringState.WAITING for firing in kept) + len(new)
    if waiting > MOST_WAITING:
        words = f"expected at most {MOST_WAITING} firings that wait, got {waiting} or more"
        raise InvalidRequest([FieldError("firings", words)])
    ordered = sorted([*kept, *new], key=lambda firing: firing.at_us, reverse=True)
    return replace(found, firings=tuple(ordered))
