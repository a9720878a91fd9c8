"""The commands for refused lines of the inbox and of Celery messages."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from runqueue.cli.backends.audit_log import note_counts
from runqueue.cli.backends.direct import opened_redis
from runqueue.cli.backends.job_selection import Account, All, Reason, Yes, confirm
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.options import command_group, with_options
from runqueue.cli.shared.tables import AsJson, Limit, print_rows, up_to
from runqueue.operator.operations import Filter
from runqueue.operator.rejected_lines import RefusedLine, RejectedLines

inbox = command_group("Lines of the inbox and of Celery messages that were refused.")

_COLUMNS = ("at", "account", "custom_id", "error")


@dataclass(frozen=True, slots=True)
class LineOptions:
    """The options that choose refused lines."""

    account: Account = None
    reason: Reason = None
    everything: All = False
    yes: Yes = False


@inbox.command("list")
def list_refused(
    *,
    account: Account = None,
    reason: Reason = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show refused lines with their errors, oldest first; --json includes the lines."""
    with opened_redis() as queue:
        refused = RejectedLines(queue)
        for name in [one for one in queue.accounts() if account in {None, one}]:
            counts = refused.look(name)
            if waiting := counts.waiting + counts.taken:
                print_err(f"{name}: {counted(waiting, 'line')} not read yet")
        found = up_to(limit, refused.find(account, reason))
        print_rows([_row(line) for line in found], _COLUMNS, as_json=as_json)


@inbox.command()
@with_options
def discard(options: LineOptions) -> None:
    """Throw refused lines away."""
    _act(options, "inbox_discard", "throw {} away", RejectedLines.discard, "thrown away")


@inbox.command()
@with_options
def retry(options: LineOptions) -> None:
    """Put refused lines back into the inbox, for example once their account exists."""
    all_moved = _act(
        options, "inbox_retry", "try {} again", RejectedLines.retry, "back in the inbox"
    )
    if not all_moved:
        words = "the others name an unknown account or another than their inbox's, or"
        raise ended(f"{words} were not kept whole", Exit.INVALID)


def _act(
    options: LineOptions,
    what: str,
    question: str,
    act: Callable[[RejectedLines, list[RefusedLine]], int],
    done: str,
) -> bool:
    """Do something to the chosen lines; returns whether it was done to all of them."""
    with opened_redis() as queue:
        if options.account is None and options.reason is None and not options.everything:
            raise ended("choose lines by --reason, --account or --all", Exit.USAGE)
        refused = RejectedLines(queue)
        found = list(refused.find(options.account, options.reason))
        if not found:
            typer.echo("none")
            raise typer.Exit(Exit.OK)
        confirm(question.format(counted(len(found), "line")), yes=options.yes)
        number = act(refused, found)
        came_to = f"{number:,} of {len(found):,}: {done}"
        if number:
            counts = Counter(line.account for line in found)
            by = Filter(reason=options.reason).words
            note_counts(queue, what, counts, came_to, noun="line", of=len(found), by=by)
        typer.echo(came_to)
        return number == len(found)


def _row(line: RefusedLine) -> dict[str, Any]:
    return {
        "at": str(line.at) if line.at else None,
        "account": line.account,
        "custom_id": line.custom_id,
        "error": line.error,
        "line": line.line,
    }
