"""Schedules as lists, pages and the HTTP API show them: of what may be secret, names alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from runqueue.records.as_json import json_object, json_value
from runqueue.records.job import moment
from runqueue.records.schedule import Firing, FiringKind, FiringState, Schedule, ScheduleSpec
from runqueue.request.time_range import in_microseconds
from runqueue.schedules.firings import upcoming
from runqueue.schedules.spec import from_json, to_json

#: Firings to come that are shown, and microseconds after which one is not to come any more.
_NEXT, _LATE_US = 5, 60_000_000
#: What JSON has of a schedule beside its spec.
_BESIDE = {"name", "account", "paused", "version", "upcoming", "mark", "firings"}
#: A firing's times, as JSON names them.
_TIMES = {"at_us": "at", "begun_us": "begun_at", "ended_us": "ended_at"}


def shown(found: Schedule, now_us: int) -> Schedule:
    """Return a schedule with its next firings, without what its job's template holds."""
    times: list[datetime] = []
    if not found.paused:
        times = upcoming(found.spec, found.account, found.mark_us, _NEXT)
        if times and in_microseconds(times[0]) < now_us - _LATE_US:  # no worker was there
            times = upcoming(found.spec, found.account, now_us, _NEXT)
    return replace(found, spec=_without_values(found.spec), upcoming=tuple(times))


def _without_values(spec: ScheduleSpec) -> ScheduleSpec:
    if spec.job is None:
        return spec
    names = [f"body.{name}" for name in spec.job["body"]]
    names += [name for name in spec.job if name not in {"kind", "body"}]
    return replace(spec, job={"kind": spec.job["kind"], "fields": names})


def schedule_values(found: Schedule) -> dict[str, Any]:
    """Return a schedule that is shown as JSON values."""
    return {
        "name": found.spec.name,
        **to_json(found.spec),
        **json_object(found, "account", "paused", "version", "upcoming"),
        "mark": json_value(moment(found.mark_us)),
        "firings": list(map(_firing_values, found.firings)),
    }


def read_values(values: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `schedule_values` made values of."""
    spec = {name: value for name, value in values.items() if name not in _BESIDE}
    return Schedule(
        from_json(values["name"], spec),
        values["account"],
        _microseconds(values["mark"]),
        values["paused"],
        values["version"],
        tuple(map(_read_firing, values["firings"])),
        tuple(map(datetime.fromisoformat, values["upcoming"])),
    )


def _firing_values(firing: Firing) -> dict[str, Any]:
    values = json_object(firing)
    for name, shown_as in _TIMES.items():
        values[shown_as] = json_value(moment(values.pop(name) or None))
    return values


def _read_firing(values: Mapping[str, Any]) -> Firing:
    times = {name: _microseconds(values[shown_as]) for name, shown_as in _TIMES.items()}
    kind, state = FiringKind(values["kind"]), FiringState(values["state"])
    known = {name: values[name] for name in Firing._fields if name in values}
    return Firing(**{**known, **times, "kind": kind, "state": state})


def _microseconds(at: str | None) -> int:
    return 0 if at is None else in_microseconds(datetime.fromisoformat(at))
