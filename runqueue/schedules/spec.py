"""Reading what a user says of a schedule, with all faults at once.

[schedules.nightly-prices]
cron = "0 2 * * *"
timezone = "Europe/Berlin"
file = "prices.jsonl"
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError

from runqueue.errors import FieldError, InvalidRequest
from runqueue.ids import NAME_WORDS, is_name
from runqueue.records.as_json import json_value
from runqueue.records.schedule import CatchUp, Overlap, ScheduleSpec
from runqueue.request.job_options import moment
from runqueue.request.time_range import from_microseconds
from runqueue.request.validation_errors import clean, did_you_mean, got, required
from runqueue.schedules.firings import following
from runqueue.schedules.template import line_faults

_MIN_EVERY, _MAX_EVERY, _MAX_JITTER = 60, 366 * 86_400, 86_400
#: Characters of a job: it is read with its schedule, a file line by line.
_MOST_JOB = 64 * 1024
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LENGTH = re.compile(r"([0-9]{1,9})([smhd])")
_CRON_WORDS = "minute, hour, day of the month, month and day of the week of a date that comes"
_TIME_WORDS = 'a time with its zone such as "2030-01-31T12:00:00Z"'


def read_spec(name: str, fields: Mapping[str, Any]) -> ScheduleSpec:
    """Check a schedule.

    Args:
        name: its name.
        fields: `cron` or `every`, `job` or `lines` (a stored file's name), and `timezone`,
            `jitter`, `start`, `end`, `overlap`, `catch_up`, `pause_after`.

    Raises:
        InvalidRequest: it names every field at fault.
    """
    errors: list[FieldError] = []
    spec = _read(name, fields, "lines", errors)
    if errors:
        raise InvalidRequest(errors)
    return spec


def read_file(text: str, errors: list[FieldError]) -> list[tuple[ScheduleSpec, str]]:
    """Check a file of schedules, and return each with the name of its file of lines; '' = a job.

    Args:
        text: TOML, with a table `[schedules.<name>]` for each. In place of `lines` a schedule
            has a `file`; what it returns lacks both.
        errors: takes every field at fault of all schedules.
    """
    found: dict[str, Any] = {}
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        errors.append(FieldError("file", f"expected TOML: {error}"))
    errors += (
        FieldError(clean(name), f"unknown field{did_you_mean(name, ['schedules'])}")
        for name in found
        if name != "schedules"
    )
    tables = found.get("schedules", {})
    if not isinstance(tables, dict):
        errors.append(FieldError("schedules", f"expected a table, got {got(tables)}"))
        tables = {}
    schedules = []
    for name, fields in tables.items():
        own: list[FieldError] = []
        if isinstance(fields, dict):
            spec = _read(name, fields, "file", own)
            file = fields.get("file", "")
            schedules.append((spec, file if isinstance(file, str) else ""))
        else:
            own.append(FieldError("", f"expected a table, got {got(fields)}"))
        where = f"schedules.{clean(name)}"
        errors += (FieldError(f"{where}.{one.field}".strip("."), one.message) for one in own)
    return schedules


def to_json(spec: ScheduleSpec) -> dict[str, Any]:
    """Return a schedule as JSON has it, as `read_spec` takes it; what is usual is left out."""
    usual = ScheduleSpec(spec.name)
    found: dict[str, Any] = {}
    for field in _READERS:
        attribute = _ATTRIBUTES.get(field, field)
        value: Any = getattr(spec, attribute, None)  # it has no `file`
        if value != getattr(usual, attribute, None):
            found[field] = _length_words(value) if field in _ATTRIBUTES else json_value(value)
    return found


def from_json(name: str, fields: Mapping[str, Any]) -> ScheduleSpec:
    """Return the schedule that `to_json` wrote; nothing is checked.

    Args:
        name: its name.
        fields: as `to_json` returned them.
    """
    read = {field: _READERS[field][0](fields[field]) for field in _CODED if field in fields}
    return _spec(name, {**fields, **read})


def _read(
    name: str, fields: Mapping[str, Any], stored: str, errors: list[FieldError]
) -> ScheduleSpec:
    """Read what is given; every fault is added to `errors`."""
    if not is_name(name):
        errors.append(FieldError("name", f"expected {NAME_WORDS}, got {got(name)}"))
    known = [field for field in _READERS if field not in _STORED or field == stored]
    errors += (
        FieldError(clean(field), f"unknown field{did_you_mean(str(field), known)}")
        for field in fields
        if field not in known
    )
    values = _values({field: fields.get(field) for field in known}, errors)
    errors += _which(fields, "cron", "every")
    errors += _which(fields, "job", stored)
    spec = _spec(name, values)
    if spec.job is not None:
        faults = line_faults(spec.job, spec)
        errors += (FieldError(f"job.{fault.field}", fault.message) for fault in faults)
        if not faults and len(repr(spec.job)) > _MOST_JOB:
            words = f"expected at most {_MOST_JOB:,} characters; a file has room for longer ones"
            errors.append(FieldError("job", words))
    if spec.start and spec.end and spec.start >= spec.end:
        errors.append(FieldError("end", f"expected a time after start, got {spec.end.isoformat()}"))
    return spec


def _values(given: Mapping[str, Any], errors: list[FieldError]) -> dict[str, Any]:
    """Read each field by itself; None is one that is not given."""
    values = {}
    for field, raw in given.items():
        read, words = _READERS[field]
        if raw is not None and (value := read(raw)) is not None:
            values[field] = value
        elif raw is not None:
            errors.append(FieldError(field, f"expected {words}, got {got(raw)}"))
    return values


def _which(fields: Mapping[str, Any], one: str, other: str) -> list[FieldError]:
    """Refuse both of two fields, and neither."""
    both = [fields.get(name) is not None for name in (one, other)]
    if any(both) and not all(both):
        return []
    expected = f"expected either {one} or {other}"
    return [FieldError(one, f"{expected}, got both" if all(both) else required(expected))]


def _spec(name: str, values: Mapping[str, Any]) -> ScheduleSpec:
    own = {_ATTRIBUTES.get(field, field): values[field] for field in values if field != "file"}
    return ScheduleSpec(name, **own)


def _length(least: int, most: int) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        found = _LENGTH.fullmatch(value) if isinstance(value, str) else None
        seconds = int(found[1]) * _UNITS[found[2]] if found else -1
        return seconds if least <= seconds <= most else None

    return read


def _length_words(seconds: int) -> str:
    """Return a length of time as users write it."""
    unit = next(unit for unit in reversed(_UNITS) if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _cron(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > 256 or len(value.split()) != 5:
        return None
    try:
        CronSim(value, datetime(2000, 1, 1))  # noqa: DTZ001 - a local time of no zone
    except (CronSimError, ValueError):
        return None
    # 30 February never comes.
    return value if following(ScheduleSpec("", cron=value), 0) is not None else None


def _timezone(value: object) -> str | None:
    return value if isinstance(value, str) and value in _zones() else None


@cache
def _zones() -> set[str]:
    """Return the names of all zones but this host's own."""
    return available_timezones() - {"localtime"}


def _moment(value: object) -> datetime | None:
    found = moment(value) if isinstance(value, str | datetime) else None
    return from_microseconds(found.microseconds) if found else None


def _whole(least: int, most: int) -> Callable[[object], int | None]:
    return lambda value: value if type(value) is int and least <= value <= most else None


def _member(kind: type[Overlap] | type[CatchUp]) -> Callable[[object], Overlap | CatchUp | None]:
    return lambda value: next((one for one in kind if one.value == value), None)


def _text(pattern: str) -> Callable[[object], str | None]:
    return lambda value: value if isinstance(value, str) and re.fullmatch(pattern, value) else None


def _job(value: object) -> dict[str, Any] | None:
    return dict(value) if isinstance(value, Mapping) else None


#: Fields that `ScheduleSpec` calls otherwise: lengths of time.
_ATTRIBUTES: Final = {"every": "every_seconds", "jitter": "jitter_seconds"}
#: Fields of which each caller has its own.
_STORED: Final = ("file", "lines")
#: Fields that JSON has as another type than `ScheduleSpec`.
_CODED: Final = (*_ATTRIBUTES, "start", "end", "overlap", "catch_up")
#: How each field is read: None is what cannot be taken; and what is expected.
_READERS: Final[Mapping[str, tuple[Callable[[object], Any], str]]] = {
    "cron": (_cron, _CRON_WORDS),
    "every": (_length(_MIN_EVERY, _MAX_EVERY), "text such as 15m, 6h or 1d, at least 1m"),
    "timezone": (_timezone, "a zone of the IANA database such as Europe/Berlin"),
    "jitter": (_length(0, _MAX_JITTER), "text such as 30s or 5m, at most 1d"),
    "start": (_moment, _TIME_WORDS),
    "end": (_moment, _TIME_WORDS),
    "overlap": (_member(Overlap), "skip, queue or cancel"),
    "catch_up": (_member(CatchUp), "none, last or all"),
    "pause_after": (_whole(0, 100), "a whole number from 0 (never) to 100"),
    "job": (_job, "a line of a batch file"),
    "file": (_text(".+"), "the name of a file of lines"),
    "lines": (_text("[1-9][0-9]{0,5}-[0-9a-f]{32}"), "the name of a stored file"),
}
