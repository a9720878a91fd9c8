"""The commands for refused lines of the inbox and of Celery messages."""

from collections import Counter
from typing import Any

import typer

from runqueue.cli.backends.audit_log import note_counts
from runqueue.cli.backends.direct import redis_is_needed
from runqueue.cli.backends.job_selection import Account, All, Reason, Yes, confirm
from runqueue.cli.shared.exit_codes import Exit, errors_told, tell
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.tables import AsJson, Limit, print_rows, up_to
from runqueue.operator.operations import Filter
from runqueue.operator.rejected_lines import RefusedLine, RejectedLines
from runqueue.producer.queue import RunQueue

inbox = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Lines of the inbox and of Celery messages that were refused.",
)

_COLUMNS = ("at", "account", "custom_id", "error")


@inbox.command("list")
def list_refused(
    *,
    account: Account = None,
    reason: Reason = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show refused lines with their errors, oldest first; --json includes the lines."""
    redis_is_needed()
    with errors_told(), RunQueue() as queue:
        refused = RejectedLines(queue)
        for name in queue.accounts():
            if account in {None, name}:
                _tell_waiting(refused, name)
        found = up_to(limit, refused.find(account, reason))
        print_rows([_row(line) for line in found], _COLUMNS, as_json=as_json)


@inbox.command()
def discard(
    *,
    account: Account = None,
    reason: Reason = None,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Throw refused lines away."""
    redis_is_needed()
    with errors_told(), RunQueue() as queue:
        refused = RejectedLines(queue)
        found = _chosen(refused, account, reason, everything=everything)
        confirm(f"throw {counted(len(found), 'line')} away", yes=yes)
        gone = refused.discard(found)
        came_to = f"{gone:,} of {len(found):,}: thrown away"
        if gone:
            _note(refused, "inbox_discard", found, came_to, reason)
        typer.echo(came_to)


@inbox.command()
def retry(
    *,
    account: Account = None,
    reason: Reason = None,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Put refused lines back into the inbox, for example once their account exists."""
    redis_is_needed()
    with errors_told(), RunQueue() as queue:
        refused = RejectedLines(queue)
        found = _chosen(refused, account, reason, everything=everything)
        confirm(f"try {counted(len(found), 'line')} again", yes=yes)
        moved = refused.retry(found)
        came_to = f"{moved:,} of {len(found):,}: back in the inbox"
        if moved:
            _note(refused, "inbox_retry", found, came_to, reason)
        typer.echo(came_to)
        if moved < len(found):
            tell(
                "runqueue: the others name an unknown account or another than their inbox's, or"
                " were not kept whole"
            )
            raise typer.Exit(Exit.INVALID)


def _chosen(
    refused: RejectedLines, account: str | None, reason: str | None, *, everything: bool
) -> list[RefusedLine]:
    if account is None and reason is None and not everything:
        tell("runqueue: choose lines by --reason, --account or --all")
        raise typer.Exit(Exit.USAGE)
    found = list(refused.find(account, reason))
    if not found:
        typer.echo("none")
        raise typer.Exit(Exit.OK)
    return found


def _note(
    refused: RejectedLines, what: str, found: list[RefusedLine], came_to: str, reason: str | None
) -> None:
    counts = Counter(line.account for line in found)
    by = Filter(reason=reason).words
    note_counts(refused.queue, what, counts, came_to, noun="line", of=len(found), by=by)


def _tell_waiting(refused: RejectedLines, account: str) -> None:
    look = refused.look(account)
    if look.waiting + look.taken:
        tell(f"{account}: {counted(look.waiting + look.taken, 'line')} not read yet")


def _row(line: RefusedLine) -> dict[str, Any]:
    return {
        "at": str(line.at) if line.at else None,
        "account": line.account,
        "custom_id": line.custom_id,
        "error": line.error,
        "line": line.line,
    }
