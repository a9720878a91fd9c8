"""How the commands for many jobs are told which: by name or by filter, counted before they act."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from runqueue.cli.exits import Exit, errors_told, tell
from runqueue.operate import Filter, Operations
from runqueue.queue import RunQueue


def _not_empty(value: str | None) -> str | None:
    """Refuse '': a variable that is not set must not choose every job."""
    if value is not None and not value.strip():
        raise typer.BadParameter("expected some text, got none")
    return value


Group = Annotated[str | None, typer.Option(callback=_not_empty, help="Only jobs of this group.")]
Batch = Annotated[str | None, typer.Option(callback=_not_empty, help="Only jobs of this batch.")]
Reason = Annotated[
    str | None,
    typer.Option(callback=_not_empty, help="Only jobs whose reason contains this text."),
]
Account = Annotated[str | None, typer.Option(callback=_not_empty, help="Only this account.")]
All = Annotated[bool, typer.Option("--all", help="All that the filters leave.")]
Namespace = Annotated[str, typer.Option(help="The namespace of the custom_ids.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@contextmanager
def operating() -> Iterator[Operations]:
    """Open the queue for a person's hands; what goes wrong ends the command with a line."""
    with errors_told(), RunQueue() as queue:
        yield Operations(queue)


def by_filter(
    named: list[str] | None,
    wanted: Filter,
    account: str | None,
    namespace: str,
    *,
    everything: bool,
) -> bool:
    """Tell whether jobs are chosen by a filter, not by name; neither or both ends the command."""
    filtered = wanted != Filter() or account is not None or everything
    if bool(named) == filtered:
        filters = "--group, --batch, --reason, --account or --all"
        tell(
            f"runqueue: jobs are chosen by name or by {filters}, not by both"
            if filtered
            else f"runqueue: name jobs, or choose some by {filters}"
        )
        raise typer.Exit(Exit.USAGE)
    if filtered and namespace:
        raise typer.BadParameter("expected with custom_ids only", param_hint="--namespace")
    return filtered


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether that is to be done, unless it is agreed; a no ends the command."""
    if yes:
        return
    if not sys.stdin.isatty():
        answer = sys.stdin.readline()
        typer.echo(f"{what}? [y/N]: ", err=True)
        if not answer:
            tell("runqueue: nobody to ask; give --yes")
        if answer.strip().lower() not in {"y", "yes"}:
            raise typer.Exit(Exit.USAGE)
    elif not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(Exit.USAGE)
