"""`runqueue pause` and `resume`: stop and continue an account's submissions."""

from typing import Annotated

import typer

from runqueue.cli.backends.audit_log import note
from runqueue.cli.backends.direct import redis_is_needed
from runqueue.cli.shared.exit_codes import errors_told
from runqueue.cli.shared.formatting import printable
from runqueue.producer.queue import RunQueue

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account.")]


def pause(
    account: Account = "default",
    *,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the account is.")] = "",
) -> None:
    """Submit nothing more of an account until it is resumed; runs under way go on."""
    redis_is_needed()
    with errors_told(), RunQueue() as queue:
        is_new = queue.pause(account, reason)
        note(queue, "pause_account", detail=reason, account=account)
        typer.echo("paused" if is_new else "it was paused already")


def resume(account: Account = "default") -> None:
    """Resume an account's submissions after a pause, or a hold that `stats` shows."""
    redis_is_needed()
    with errors_told(), RunQueue() as queue:
        reason = queue.resume(account)
        if reason:
            note(queue, "resume_account", detail=f"it was held by: {reason}", account=account)
        held = f"resumed; it was held by: {printable(reason)}"
        typer.echo(held if reason else "nothing held it")
        still = queue.stats()[account].hold_reason
        if reason and still:
            typer.echo(f"it is still held by: {printable(still)}")
