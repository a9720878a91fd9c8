"""The commands for refused lines of the inbox and of Celery messages."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from runqueue.cli.shared.audit_log import record_counts_change
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_selection import Account, All, Reason, Yes, confirm
from runqueue.cli.shared.options import command_group, with_options
from runqueue.cli.shared.queues import Queue, Url, opened
from runqueue.cli.shared.tables import AsJson, Limit, print_rows, up_to
from runqueue.operator.refused_lines import RefusedLine
from runqueue.producer.listing import Filter

inbox = command_group("Lines of the inbox and of Celery messages that were refused.")

_COLUMNS = ("at", "account", "custom_id", "error")


@dataclass(frozen=True, slots=True)
class LineOptions:
    """The options that choose refused lines."""

    account: Account = None
    reason: Reason = None
    everything: All = False
    yes: Yes = False
    url: Url = None


@inbox.command("list")
def list_refused(
    *,
    account: Account = None,
    reason: Reason = None,
    limit: Limit = 50,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show refused lines with their errors, oldest first; --json includes the lines."""
    with opened(url) as queue:
        found = up_to(limit, _find(queue, account, reason, print_unread=True))
        print_rows([_row(line) for line in found], _COLUMNS, as_json=as_json)


@inbox.command()
@with_options
def discard(options: LineOptions) -> None:
    """Throw refused lines away."""
    _act(options, "inbox_discard", "throw {} away", "thrown away")


@inbox.command()
@with_options
def retry(options: LineOptions) -> None:
    """Put refused lines back into the inbox, for example once their account exists."""
    if not _act(options, "inbox_retry", "try {} again", "back in the inbox"):
        words = "the others name an unknown account or another than their inbox's, or"
        raise ended(f"{words} were not kept whole", Exit.INVALID)


def _find(
    queue: Queue, account: str | None, reason: str | None, *, print_unread: bool = False
) -> Iterator[RefusedLine]:
    """Go through refused lines; with `print_unread` inboxes are reported that hold others."""
    said: set[str] = set()
    for page in queue.inbox_pages(account=account):
        unread = page.waiting + page.taken
        if print_unread and unread and page.account not in said:
            said.add(page.account)
            print_err(f"{page.account}: {counted(unread, 'line')} not read yet")
        yield from (line for line in page.lines if reason is None or reason in line.error)


def _act(options: LineOptions, what: str, question: str, done: str) -> bool:
    """Do something to the chosen lines; returns whether it was done to all of them."""
    with opened(options.url) as queue:
        if options.account is None and options.reason is None and not options.everything:
            raise ended("choose lines by --reason, --account or --all", Exit.USAGE)
        found = [(line.account, line.id) for line in _find(queue, options.account, options.reason)]
        if not found:
            typer.echo("none")
            raise typer.Exit(Exit.OK)
        confirm(question.format(counted(len(found), "line")), yes=options.yes)
        act = queue.discard_lines if what == "inbox_discard" else queue.retry_lines
        counts = Counter(account for account, _ in found)
        number = sum(act({one for of, one in found if of == name}, name) for name in counts)
        came_to = f"{number:,} of {len(found):,}: {done}"
        if number:
            by = Filter(reason=options.reason).words
            record_counts_change(queue, what, counts, came_to, noun="line", of=len(found), by=by)
        typer.echo(came_to)
        return number == len(found)


def _row(line: RefusedLine) -> dict[str, Any]:
    shown = {"at": str(line.at) if line.at else None, "account": line.account}
    return {**shown, "custom_id": line.custom_id, "error": line.error, "line": line.line}
