"""The lines of a firing: those of its schedule, with the firing's time filled in."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from runqueue.errors import FieldError, InvalidJob
from runqueue.records.schedule import Firing, ScheduleSpec
from runqueue.request.job_spec import parse_line
from runqueue.request.time_range import from_microseconds

#: The namespace of all jobs of schedules, and of the ids of their batches.
NAMESPACE: Final = "schedule"
#: What is filled in between braces.
PLACEHOLDERS: Final = ("date", "time", "datetime", "timestamp", "firing", "schedule")
_PLACE = re.compile(rf"\{{(?:\{{|({'|'.join(PLACEHOLDERS)})\}})")
#: What a line does not say: a schedule says it of each of its jobs.
_OWN: Final = {
    "account": "its jobs are of the schedule's account",
    "namespace": f"it is {NAMESPACE!r}",
    "run_at": "the schedule says when; delay counts from then",
    "custom_id": "it is <schedule>/<UTC time>/<line>; metadata has room for other names",
}
#: The time that a line is checked with.
_SAMPLE_US = 1_900_000_000_000_000


def utc_form(at_us: int) -> str:
    """Return a firing's time as its jobs' names have it: `20300131T120000Z`.

    Args:
        at_us: microseconds since 1970.
    """
    at = from_microseconds(at_us)
    return f"{at:%Y%m%dT%H%M%S}{f'.{at.microsecond:06}' if at.microsecond else ''}Z"


def lines_of(
    spec: ScheduleSpec, account: str, lines: Iterable[bytes], firing: Firing, first: int = 1
) -> Iterator[dict[str, Any]]:
    """Fill the placeholders in the bodies of a schedule's lines, and name each job.

    Args:
        spec: the schedule; its job is its one line, if it has one.
        account: whose it is.
        lines: of the stored file, as JSON; not looked at if the schedule has a job.
        firing: the firing.
        first: the number of the first of these lines.
    """
    values = _values(spec, firing.at_us)
    name = f"{spec.name}/{values['firing']}"
    given = iter([spec.job]) if spec.job is not None else map(orjson.loads, lines)
    for number, line in enumerate(given, first):
        own = {"account": account, "namespace": NAMESPACE, "custom_id": f"{name}/{number}"}
        yield {**line, "body": _filled(line["body"], values), **own}


def line_faults(line: bytes | Mapping[str, Any], spec: ScheduleSpec) -> list[FieldError]:
    """Say what is wrong with a line of a schedule, as it is and with a time filled in.

    Args:
        line: as JSON, or parsed.
        spec: the schedule; only its name and zone are looked at.
    """
    parsed: Any = line
    errors: list[FieldError] = []
    try:
        with suppress(ValueError):  # as parse_line says
            parsed = line if isinstance(line, Mapping) else orjson.loads(line)
        parse_line(line)
        filled = _filled(parsed["body"], _values(spec, _SAMPLE_US))
        if filled != parsed["body"]:
            parse_line({**parsed, "body": filled})
    except InvalidJob as error:
        errors += error.errors
    except RecursionError:
        return [FieldError("line", "expected JSON, got deeper nesting")]
    if isinstance(parsed, Mapping):
        given = (name for name in _OWN if parsed.get(name) is not None)
        errors += (FieldError(name, f"expected none: {_OWN[name]}") for name in given)
    return errors


def _values(spec: ScheduleSpec, at_us: int) -> dict[str, str]:
    local = from_microseconds(at_us).astimezone(ZoneInfo(spec.timezone))
    return {
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M}",
        "datetime": local.isoformat(),
        "timestamp": str(at_us // 1_000_000),
        "firing": utc_form(at_us),
        "schedule": spec.name,
    }


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        if "{" not in value:
            return value
        return _PLACE.sub(lambda found: values[found[1]] if found[1] else "{", value)
    if isinstance(value, Mapping):
        return {name: _filled(inner, values) for name, inner in value.items()}
    return [_filled(inner, values) for inner in value] if isinstance(value, list | tuple) else value
