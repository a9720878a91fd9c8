"""`runqueue pause` and `resume`: stop and continue the submissions of accounts."""

from typing import Annotated

import typer

from runqueue.cli.shared.audit_log import record_change
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.cli.shared.formatting import printable
from runqueue.cli.shared.options import AccountArgument
from runqueue.cli.shared.queues import Queue, Url, home_of, opened

AllAccounts = Annotated[bool, typer.Option("--all-accounts", help="Every account.")]


def pause(
    account: AccountArgument = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the account is.")] = "",
    all_accounts: AllAccounts = False,
    url: Url = None,
) -> None:
    """Submit nothing more of an account until it is resumed; runs under way go on."""
    with opened(url) as queue:
        for name in _chosen(queue, account, all_accounts=all_accounts):
            is_new = queue.pause(name, reason)
            record_change(queue, "pause_account", detail=reason, account=name)
            again = f"it was paused already; its reason is now: {printable(reason) or 'none'}"
            typer.echo(f"{name}: {'paused' if is_new else again}")


def resume(
    account: AccountArgument = None, *, all_accounts: AllAccounts = False, url: Url = None
) -> None:
    """Resume an account's submissions after a pause, or a hold that `stats` shows.

    With --all-accounts only pauses end: each hold has a cause of its own, to be checked first.
    """
    with opened(url) as queue:
        stats = queue.stats() if all_accounts else {}
        for name in _chosen(queue, account, all_accounts=all_accounts):
            whose = f"{name}: " if all_accounts else ""
            found = stats.get(name)
            if found is not None and not found.paused:
                typer.echo(f"{whose}it was not paused")
                continue
            reason = queue.resume(name)
            if reason:
                record_change(
                    queue, "resume_account", detail=f"it was held by: {reason}", account=name
                )
            held = f"resumed; it was held by: {printable(reason)}"
            typer.echo(f"{whose}{held if reason else 'nothing held it'}")
            still = queue.stats()[name].hold_reason
            if reason and still:
                typer.echo(f"{whose}it is still held by: {printable(still)}")


def _chosen(queue: Queue, account: str | None, *, all_accounts: bool) -> list[str]:
    """Return the accounts that a command is for."""
    if not all_accounts:
        return [account or home_of(queue)]
    if account is not None:
        raise ended("name an account or give --all-accounts, not both", Exit.USAGE)
    return queue.accounts()
