"""The calls about schedules: reading them, writing one by compare-and-set, and files of lines."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from runqueue.errors import FieldError, InvalidRequest
from runqueue.records.claim_items import Taken
from runqueue.records.job import fields_of
from runqueue.records.schedule import Firing, FiringKind, FiringState, Schedule, ScheduleSpec
from runqueue.schedules.spec import from_json, to_json
from runqueue.store.replies import as_arguments, flat, rows, taken
from runqueue.store.scripts import Argument, ScriptCall, load

#: Schedules of an account, and firings that one retains beside those that wait or are under way.
MOST_SCHEDULES: Final = 1_000
MOST_FIRINGS: Final = 100
#: Lines of a file, and bytes of it once packed.
MOST_LINES: Final = 200_000
MOST_BYTES: Final = 64 * 1024 * 1024
#: Lines of a chunk of a file, and bytes of them, at most; a longer line has its own.
_CHUNK_LINES, _CHUNK_BYTES = 1_000, 256 * 1024


class SchedulePage(NamedTuple):
    """Some schedules.

    Args:
        now_us: when they were read, by the queue's clock.
        after: where the others begin; '' = there are none.
        schedules: in the order of their names. `upcoming` is left to the reader. A firing under
            way has its batch's figures, and `ended_us` once that is over, though it is `running`
            until a worker records it.
    """

    now_us: int
    after: str
    schedules: list[Schedule]


class ToFire(NamedTuple):
    """A schedule that a worker claimed.

    Args:
        schedule: as a page has it.
        uploads: the spec of its firing that is being uploaded; None = there is none.
        now_us: when it was claimed.
    """

    schedule: Schedule
    uploads: ScheduleSpec | None
    now_us: int


def read_schedules(account: str, after: str = "", count: int = 50) -> ScriptCall[SchedulePage]:
    """Read a page of an account's schedules, those after a name."""

    def parse(reply: list[Any]) -> SchedulePage:
        now_us = int(reply[0])
        found = [_schedule(account, row, now_us)[0] for row in rows(reply, 2, 2)]
        return SchedulePage(now_us, reply[1].decode(), found)

    return ScriptCall(load("read_schedules"), account, ["", after, count], parse)


def read_schedule(account: str, name: str) -> ScriptCall[ToFire | None]:
    """Read a schedule; None = there is none."""

    def parse(reply: list[Any]) -> ToFire | None:
        now_us = int(reply[0])
        found = [ToFire(*_schedule(account, row, now_us), now_us) for row in rows(reply, 2, 2)]
        return found[0] if found else None

    return ScriptCall(load("read_schedules"), account, [name, "", 1], parse)


def write_schedule(
    before: Schedule | None,
    after: Schedule,
    look_us: int = 0,
    *,
    process: str = "",
    uploads: ScheduleSpec | None = None,
    notices: Sequence[str] = (),
) -> ScriptCall[int]:
    """Write a schedule if it still is as it was read.

    Of the firings, the newest `MOST_FIRINGS` stay, and all that wait or are under way.

    Args:
        before: as it was read; None = there was none.
        after: as it is to be; its version does not matter.
        look_us: when a worker looks at it; 0 = now.
        process: whose claim ends with it; '' = it is no worker's.
        uploads: the spec of the firing whose upload begins; None = none does.
        notices: what happened to it, for notifications: `<event>:<what is said>`.

    Returns:
        Its new version; 0 = it was changed or removed meanwhile, or is there already; -1 = there
        are `MOST_SCHEDULES` already; -2 = its file is not stored.
    """
    spec = after.spec
    kept = dict(_kept(after.firings))
    old = {one.at_us: one for one in before.firings} if before else {}
    changed = [one for at_us, one in kept.items() if one != old.get(at_us)]
    ends = {one.at_us: _ended(one) for one in after.firings}
    batch = next((one.batch for one in kept.values() if one.state.is_under_way), "")
    dropped = old.keys() - kept.keys()
    totals = [
        f"firings:{ended}"
        for at_us, ended in ends.items()
        if ended and ended != _ended(old.get(at_us))
    ]
    totals += ["schedules:paused" for one in notices if one.startswith("schedule_paused:")]
    version, upload = before.version if before else 0, _stored(uploads) if uploads else ""
    arguments: list[Argument] = as_arguments(
        (spec.name, version, process, look_us, MOST_SCHEDULES, _stored(spec), spec.lines)
    )
    arguments += [after.mark_us, after.paused, batch, upload]
    arguments += [len(dropped), len(totals), len(notices), *dropped, *totals, *notices]
    arguments += flat((one.at_us, _firing_json(one)) for one in changed)
    return ScriptCall(load("record_schedule"), after.account, arguments, int)


def remove_schedule(schedule: Schedule) -> ScriptCall[bool]:
    """Remove a schedule with its history; False = it was changed meanwhile, or is gone."""
    arguments: list[Argument] = [schedule.spec.name, schedule.version]
    return ScriptCall(load("remove_schedule"), schedule.account, arguments, bool)


def schedule_claim(
    account: str, process: str, limit: int, tick_us: int, *, stay_idle: bool, lease_us: int
) -> ScriptCall[Taken[ToFire]]:
    """Take schedules that are due; see `schedule_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[ToFire]:
        now = int(reply[1])
        found = (ToFire(*_schedule(account, row, now), now) for row in rows(reply, 4, 2))
        return taken(reply, found)

    arguments: list[Argument] = [process, limit, tick_us, int(stay_idle), lease_us]
    return ScriptCall(load("schedule_claim"), account, arguments, parse)


def keep_schedule(account: str, process: str, name: str, lease_us: int) -> ScriptCall[bool]:
    """Have a claimed schedule for longer; False = another process has it, or it is gone."""
    return ScriptCall(load("keep_schedule"), account, [process, name, lease_us], bool)


def _kept(firings: Iterable[Firing]) -> Iterator[tuple[int, Firing]]:
    left = MOST_FIRINGS
    for one in sorted(firings, key=lambda one: one.begun_us or one.at_us, reverse=True):
        is_open = one.state is FiringState.WAITING or one.state.is_under_way
        left -= not is_open
        if is_open or left >= 0:
            yield one.at_us, one


def _ended(firing: Firing | None) -> str:
    """Return how a firing ended, as counters name it: one that completed no job failed."""
    if firing is None or firing.state is FiringState.WAITING or firing.state.is_under_way:
        return ""
    has_failed = firing.state is FiringState.OVER and not firing.completed
    return (FiringState.FAILED if has_failed else firing.state).value


def _stored(spec: ScheduleSpec) -> bytes:
    return orjson.dumps([spec.name, to_json(spec)])


def _firing_json(firing: Firing) -> bytes:
    default = Firing(0)._asdict()
    return orjson.dumps(
        {name: value for name, value in firing._asdict().items() if value != default[name]}
    )


def _firing(at_us: bytes, raw: bytes) -> Firing:
    found = Firing(**{**orjson.loads(raw), "at_us": int(at_us)})
    return found._replace(kind=FiringKind(found.kind), state=FiringState(found.state))


def _schedule(
    account: str, row: Sequence[Any], now_us: int
) -> tuple[Schedule, ScheduleSpec | None]:
    fields, figures = fields_of(row[0]), row[1]
    found = sorted(
        (_firing(key[2:].encode(), raw) for key, raw in fields.items() if key.startswith("f:")),
        reverse=True,
    )
    firings = (
        _with_figures(one, figures, now_us) if one.state is FiringState.RUNNING else one
        for one in found
    )
    schedule = Schedule(
        from_json(*orjson.loads(fields["spec"])),
        account,
        int(fields["mark"]),
        fields["paused"].decode(),
        int(fields["version"]),
        tuple(firings),
    )
    uploads = fields["uploads"]
    return schedule, from_json(*orjson.loads(uploads)) if uploads else None


def _with_figures(firing: Firing, figures: Sequence[bytes | None], now_us: int) -> Firing:
    sealed, ended, completed, failed, dead, used = (int(n) if n else None for n in figures)
    return firing._replace(
        ended_us=(ended or 0) if sealed is not None else now_us,  # its batch is gone
        completed=completed or 0,
        failed=(failed or 0) + (dead or 0),
        credits=used,
    )


@dataclass(frozen=True, slots=True)
class PackedLines:
    """A file of lines, as it is stored.

    Args:
        name: how many lines it has, and their digest.
        chunks: in their order; the last one is empty.
    """

    name: str
    chunks: list[bytes] = field(repr=False)


def pack_lines(lines: Iterable[bytes]) -> PackedLines:
    """Pack the lines of a file, those that are blank left out.

    Raises:
        InvalidRequest: it has none, or more than `MOST_LINES`, or is larger than `MOST_BYTES`.
    """
    digest, count, size, chunks = blake2b(digest_size=16), 0, 0, list[bytes]()
    for some in _chunks(lines):
        text = b"\n".join(some)
        digest.update(text + b"\n")
        chunks.append(zlib.compress(text))
        count, size = count + len(some), size + len(chunks[-1])
        if count > MOST_LINES or size > MOST_BYTES:
            words = f"expected {MOST_LINES:,} lines and {MOST_BYTES:,} bytes once packed, at most"
            raise InvalidRequest([FieldError("file", words)])
    if not count:
        raise InvalidRequest([FieldError("file", "expected at least one job, one a line")])
    return PackedLines(f"{count}-{digest.hexdigest()}", [*chunks, b""])


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    some, size = list[bytes](), 0
    for line in filter(None, map(bytes.strip, lines)):
        if some and (len(some) == _CHUNK_LINES or size + len(line) > _CHUNK_BYTES):
            yield some
            some, size = [], 0
        some.append(line)
        size += len(line)
    if some:
        yield some


def put_lines(account: str, packed: PackedLines, place: int = 0) -> ScriptCall[int]:
    """Store the chunk of a file at a place; returns the place of the next one.

    It is stored once that is `len(packed.chunks)`. Who stores the same file meanwhile does no harm.
    """
    arguments: list[Argument] = [packed.name, place, packed.chunks[place]]
    return ScriptCall(load("put_lines"), account, arguments, int)


def read_lines(account: str, file: str, place: int) -> ScriptCall[list[bytes] | None]:
    """Read a chunk of a file; [] = that is its end, None = it is not stored."""

    def parse(reply: bytes | None) -> list[bytes] | None:
        if not reply:
            return None if reply is None else []
        return zlib.decompress(reply).split(b"\n")

    return ScriptCall(load("read_lines"), account, [file, place], parse)
