"""`runqueue schedules`: when jobs are enqueued by themselves, and which."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from runqueue.cli.shared.audit_log import record_change
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.cli.shared.formatting import counted, printable
from runqueue.cli.shared.job_selection import confirm
from runqueue.cli.shared.options import (
    HomeAccount,
    OneObject,
    command_group,
    parse_time,
    with_options,
)
from runqueue.cli.shared.output import print_outcome, print_values
from runqueue.cli.shared.queues import Queue, Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, print_rows
from runqueue.errors import FieldError, InvalidRequest
from runqueue.records.as_json import json_value
from runqueue.records.schedule import FiringState, Schedule, ScheduleChange
from runqueue.schedules.applying import change_words
from runqueue.schedules.shown import schedule_values
from runqueue.schedules.spec import read_file, to_json

schedules = command_group("Schedules: jobs that are enqueued again and again, by time.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Time = Annotated[Any, typer.Option(parser=parse_time, metavar="TIME", help="As --since of lists.")]

_COLUMNS = ("schedule", "when", "next", "last", "paused")
_FIRINGS = ("at", "kind", "state", "jobs", "completed", "failed", "credits", "batch", "message")
_MARKS = {"created": "+", "changed": "~", "removed": "-"}


@dataclass(frozen=True, slots=True)
class _Where:
    """Where the schedule is, and how it is printed."""

    account: HomeAccount = None
    url: Url = None
    as_json: OneObject = False


@schedules.command()
@with_options
def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A TOML file.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the changes.")] = False,
    yes: Yes = False,
    where: _Where,
) -> None:
    """Make an account's schedules those of a file: any that is not in it is removed."""
    with opened(where.url) as queue:
        account = where.account or home_of(queue)
        wanted = _wanted(queue, file, account)
        changes = queue.apply_schedules(wanted, account=account, remove_others=True, dry_run=True)
        if not where.as_json:
            _print_changes(changes)
        words = change_words(changes)
        if words and not dry_run:
            confirm(f"Apply: {words}", yes=yes)
            changes = queue.apply_schedules(wanted, account=account, remove_others=True)
            words = f"applied: {change_words(changes)}"
            record_change(queue, "apply_schedules", file.name, words, account=account)
        if words or where.as_json:
            print_outcome(words, {"changes": json_value(changes)}, as_json=where.as_json)


def _wanted(queue: Queue, file: Path, account: str) -> dict[str, dict[str, Any]]:
    """Read a file of schedules, and store the files that it names; faults end the command."""
    wanted: dict[str, dict[str, Any]] = {}
    errors: list[FieldError] = []
    try:
        found = read_file(file.read_text("utf-8"), errors)
    except UnicodeDecodeError:
        raise ended(f"{file}: expected UTF-8", Exit.INVALID) from None
    faults = [f"{file}: {one}" for one in errors]
    for spec, name in found:
        wanted[spec.name] = to_json(spec)
        path = file.parent / name
        try:
            if name:
                with path.open("rb") as lines:
                    stored = queue.store_schedule_lines(lines, account=account)
                wanted[spec.name]["lines"] = stored
        except InvalidRequest as error:
            faults += (f"{path}: {fault}" for fault in error.errors)
        except OSError as error:
            where = f"{file}: schedules.{spec.name}.file"
            faults.append(f"{where}: cannot read {path}: {error.strerror}")
    if faults:
        print_err("\n".join(map(printable, faults)))
        raise ended(f"{counted(len(faults), 'fault')}; nothing was changed", Exit.INVALID)
    return wanted


def _print_changes(changes: list[ScheduleChange]) -> None:
    for one in changes:
        if one.change in _MARKS:
            typer.echo(f"{_MARKS[one.change]} {one.name}")
            for field in one.fields:
                typer.echo(f"    {printable(field)}")
    if unchanged := sum(one.change == "unchanged" for one in changes):
        typer.echo(f"{counted(unchanged, 'schedule')} unchanged")


@schedules.command("list")
def list_schedules(
    *, account: HomeAccount = None, url: Url = None, as_json: AsJson = False
) -> None:
    """Show the schedules: when each fires next, and what became of its last firing."""
    with opened(url) as queue:
        found = queue.list_schedules(account or home_of(queue))
        print_rows([_row(one, as_json=as_json) for one in found], _COLUMNS, as_json=as_json)


def _row(found: Schedule, *, as_json: bool) -> dict[str, Any]:
    values = schedule_values(found)
    if as_json:
        return values
    return {
        "schedule": found.spec.name,
        "when": f"{found.spec.cron or 'every ' + values['every']} {found.spec.timezone}",
        "next": f"{found.upcoming[0]:%Y-%m-%d %H:%M}" if found.upcoming else "",
        "last": " ".join(map(_last, values["firings"])),
        "paused": found.paused,
    }


def _last(firing: dict[str, Any]) -> str:
    failed = f", {firing['failed']:,} failed" if firing["failed"] else ""
    return f"{firing['state']}{failed} {firing['at'][:16]}Z"


@schedules.command()
@with_options
def show(name: Name, *, where: _Where) -> None:
    """Show a schedule: its next five firings, and what became of the last hundred."""
    with opened(where.url) as queue:
        found = queue.get_schedule(name, account=where.account or home_of(queue))
        values = schedule_values(found)
        hidden = {} if where.as_json else {"firings": None}
        print_values(values | hidden, as_json=where.as_json)
        if not where.as_json:
            print_rows(values["firings"], _FIRINGS, as_json=False)


@schedules.command()
@with_options
def pause(
    name: Name,
    *,
    reason: Annotated[str, typer.Option(help="Shown wherever the schedule is.")] = "",
    where: _Where,
) -> None:
    """Make no firings until it is resumed; jobs that are enqueued go on."""
    _change("pause", name, where, reason, detail=reason)


@schedules.command()
@with_options
def resume(name: Name, *, where: _Where) -> None:
    """End a pause; what it would have enqueued meanwhile is not made up for."""
    _change("resume", name, where)


@schedules.command()
@with_options
def run(name: Name, *, where: _Where) -> None:
    """Enqueue its jobs once, now, also while it is paused; `overlap` holds."""
    _change("fire", name, where)


@schedules.command()
@with_options
def backfill(name: Name, *, since: Time, until: Time, where: _Where) -> None:
    """Fire for each past time of a range that has not fired, one after the other."""
    detail = f"{since.isoformat()} to {until.isoformat()}"
    _change("backfill", name, where, since, until, detail=detail)


@schedules.command()
@with_options
def remove(name: Name, *, yes: Yes = False, where: _Where) -> None:
    """Remove a schedule with its history; jobs that are enqueued go on."""
    confirm(f"Remove schedule {name} with its history", yes=yes)
    _change("remove", name, where)


def _change(what: str, name: str, where: _Where, *arguments: Any, detail: str = "") -> None:
    """Change a schedule; record and print what it is now."""
    with opened(where.url) as queue:
        account = where.account or home_of(queue)
        method = getattr(queue, f"{what}_schedule")
        found: Schedule = method(name, *arguments, account=account)
        record_change(queue, f"{what}_schedule", name, detail, account=account)
    waiting = sum(firing.state is FiringState.WAITING for firing in found.firings)
    if what == "remove":
        words = "removed"
        if waiting:
            words += f", with {counted(waiting, 'waiting firing')}"
    else:
        words = f"next: {found.upcoming[0].isoformat() if found.upcoming else 'never'}"
        if found.paused:
            words = f"paused: {found.paused}"
        if waiting:
            words += f"; {counted(waiting, 'firing')} to come first"
    print_outcome(f"schedule {name}: {words}", schedule_values(found), as_json=where.as_json)
