"""`runqueue pause` and `resume`: stop and continue an account's submissions."""

from typing import Annotated

import typer

from runqueue.cli.backends.audit_log import note
from runqueue.cli.backends.direct import opened_redis
from runqueue.cli.shared.formatting import printable
from runqueue.cli.shared.options import AccountArgument


def pause(
    account: AccountArgument = "default",
    *,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the account is.")] = "",
) -> None:
    """Submit nothing more of an account until it is resumed; runs under way go on."""
    with opened_redis() as queue:
        is_new = queue.pause(account, reason)
        note(queue, "pause_account", detail=reason, account=account)
        typer.echo("paused" if is_new else "it was paused already")


def resume(account: AccountArgument = "default") -> None:
    """Resume an account's submissions after a pause, or a hold that `stats` shows."""
    with opened_redis() as queue:
        reason = queue.resume(account)
        if reason:
            note(queue, "resume_account", detail=f"it was held by: {reason}", account=account)
        held = f"resumed; it was held by: {printable(reason)}"
        typer.echo(held if reason else "nothing held it")
        still = queue.stats()[account].hold_reason
        if reason and still:
            typer.echo(f"it is still held by: {printable(still)}")
