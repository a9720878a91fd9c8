"""`runqueue validate`: reports a file's content and faults; submits nothing."""

from collections.abc import Mapping
from typing import Any

import orjson
import typer

from runqueue.cli.shared.exit_codes import Exit, exit_on_error, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.input_lines import Source, Unreadable, open_input
from runqueue.cli.shared.options import OneObject, with_options
from runqueue.cli.shared.output import span_words
from runqueue.cli.submit import input_options
from runqueue.cli.submit.line_checker import CheckedInput, read
from runqueue.cli.submit.report import found_in, say_repeated
from runqueue.errors import OtherFormat, QueueUnavailable
from runqueue.producer.queue import RunQueue
from runqueue.records.account import AccountStats
from runqueue.records.forecast import seconds_for, usage_for
from runqueue.request.job_spec import Priority

#: What the runs of jobs are estimated to take.
_UNITS = ("steps", "credits")


@with_options
def validate(
    file: input_options.File, *, as_json: OneObject = False, options: input_options.InputOptions
) -> None:
    """Check a file of jobs without submitting it; no queue is needed.

    If a queue can be reached, accounts are checked, and the time for the jobs is estimated.
    """
    with exit_on_error(), open_input(file, options.reader(file)) as source:
        code = _check(source, options.namespace, as_json=as_json)
    raise typer.Exit(code)


def _check(source: Source, namespace: str, *, as_json: bool) -> Exit:
    """Check an input and report its content."""
    stats = _stats()
    with read(source, namespace, None if stats is None else set(stats)) as found:
        try:
            for _ in found.packets():
                pass
            is_whole = True
        except Unreadable:
            is_whole = False
    values = _values(found, stats or {}) | {"readable": is_whole}
    if as_json:
        typer.echo(orjson.dumps(values))
    else:
        _say(found, values)
    if found.checker.bad_lines:
        print_err(found.summary())
    return Exit.OK if is_whole and not found.checker.bad_lines else Exit.INVALID


def _stats() -> dict[str, AccountStats] | None:
    """Return the statistics of the accounts; None without a queue, which is no error here."""
    try:
        with RunQueue() as queue:
            return queue.stats()
    except (QueueUnavailable, OtherFormat):
        return None


def _values(found: CheckedInput, stats: Mapping[str, AccountStats]) -> dict[str, Any]:
    checker = found.checker
    return {
        **found_in(found),
        "without_custom_id": checker.without_id,
        "kinds": dict(checker.kinds),
        "accounts": dict(checker.jobs),
        "estimated_seconds": {
            account: _seconds_for(jobs, stats[account])
            for account, jobs in checker.jobs.items()
            if account in stats
        },
        **{
            f"estimated_{unit}": {
                account: _usage_for(jobs, stats[account], unit)
                for account, jobs in checker.jobs.items()
                if account in stats
            }
            for unit in _UNITS
        },
    }


def _usage_for(jobs: int, stats: AccountStats, unit: str) -> dict[str, int] | None:
    """Return the steps or credits that the jobs take; None = unknown."""
    found = usage_for(jobs, stats.usage_statistics(unit))
    return None if found is None else {k: round(value) for k, value in found._asdict().items()}


def _seconds_for(jobs: int, stats: AccountStats) -> float | None:
    """Return the seconds until the last job has ended, after those ahead; None = unknown."""
    return seconds_for(jobs + stats.ahead_of(Priority.NORMAL), stats.capacity)


def _say(found: CheckedInput, values: Mapping[str, Any]) -> None:
    jobs, bad = counted(values["jobs"], "job"), counted(values["invalid_lines"], "bad line")
    until = "" if values["readable"] else "cannot be read to its end; before that "
    typer.echo(f"{found.source.name}: {until}{jobs}, {bad}; nothing was submitted")
    say_repeated(found)
    if values["kinds"]:
        typer.echo(f"kinds: {_counts(values['kinds'])}")
        typer.echo(f"accounts: {_counts(values['accounts'])}")
    if without := values["without_custom_id"]:
        typer.echo(f"{counted(without, 'job')} without a custom_id: new ones each time")
    for account, seconds in values["estimated_seconds"].items():
        if seconds is not None:
            typer.echo(f"account {account}: about {span_words(seconds)} at today's limits")
    for unit in _UNITS:
        for account, found_ in values[f"estimated_{unit}"].items():
            if found_ is not None and found_["most"]:
                words = f"{found_['amount']:,} {unit} ({found_['least']:,} to {found_['most']:,})"
                typer.echo(f"account {account}: about {words}, if they are like the runs before")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()))
