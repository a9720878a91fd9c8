"""`runqueue group`: shares of an account, capped and paused."""

from typing import Annotated

import typer

from runqueue.cli.shared.audit_log import record_change
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.cli.shared.options import HomeAccount, OneObject, command_group
from runqueue.cli.shared.output import print_outcome
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, print_rows
from runqueue.store.groups import KEEP, Group, Keep, change_words

group = command_group("Groups: shares of an account.")

_COLUMNS = ("group", "max_concurrent", "paused", "live", "ready")


def _cap(text: str | None) -> int | Keep | None:
    """Return the value of `--max-concurrent`."""
    if text is None:
        return KEEP
    if text == "none":
        return None
    if not text.isascii() or not text.isdigit():
        raise typer.BadParameter(
            f"expected a number or none, got {text!r}", param_hint="--max-concurrent"
        )
    return int(text)


@group.command("set")
def set_group(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group.")],
    *,
    max_concurrent: Annotated[
        str | None,
        typer.Option(metavar="N|none", help="How many of its jobs may have a slot at once."),
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Submit nothing more of it.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume it.")] = False,
    account: HomeAccount = None,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Cap, pause or resume a group; settings that are not given stay as they are."""
    cap = _cap(max_concurrent)
    if pause and resume:
        raise typer.BadParameter("expected one of --pause and --resume, not both")
    if cap is KEEP and not (pause or resume):
        raise ended("nothing to set: give --max-concurrent, --pause or --resume", Exit.USAGE)
    paused = pause if pause or resume else None
    with opened(url) as queue:
        account = account or home_of(queue)
        found = queue.set_group(name, max_concurrent=cap, paused=paused, account=account)
        record_change(queue, "set_group", name, change_words(cap, paused), account=account)
        print_outcome(_words(found), found.as_dict(), as_json=as_json)


@group.command("list")
def list_groups(*, account: HomeAccount = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show the groups that have settings or ready jobs."""
    with opened(url) as queue:
        rows = [found.as_dict() for found in queue.groups(account or home_of(queue))]
        if not as_json:
            for row in rows:
                row["max_concurrent"] = row["max_concurrent"] or "none"
                row["paused"] = "yes" if row["paused"] else ""
        print_rows(rows, _COLUMNS, as_json=as_json)


def _words(found: Group) -> str:
    cap = "no cap" if found.max_concurrent is None else f"at most {found.max_concurrent:,} at once"
    return f"group {found.name}: {cap}, {found.live:,} now{', paused' if found.paused else ''}"
