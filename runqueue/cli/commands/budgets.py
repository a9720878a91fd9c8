"""`runqueue budgets`: how many steps or credits runs may take, in a day, a month or in all."""

from typing import Annotated

import typer

from runqueue.cli.shared.audit_log import record_change
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.cli.shared.options import HomeAccount, OneObject, command_group
from runqueue.cli.shared.output import print_outcome
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, print_rows
from runqueue.store.budgets import EXPECTED, PERIODS, Budget

budgets = command_group("Budgets: how many steps or credits runs may take.")

_COLUMNS = (
    *(
        "target",
        "steps",
        "credits",
        "per",
        "timezone",
        "strict",
        "spent",
        "estimated_runs",
        "live",
        "committed",
        "left",
        "mean",
    ),
    *("resets_at", "next_check_at"),
)
Group = Annotated[str, typer.Option(help="The budget of this group.")]
Batch = Annotated[str, typer.Option(help="The budget of this batch (its id).")]
Key = Annotated[
    str, typer.Option(help="The budget of this key; customer:* is one for each such key.")
]


def _scope(group: str, batch: str, key: str) -> str:
    named = [
        f"{kind}:{name}"
        for kind, name in (("group", group), ("batch", batch), ("key", key))
        if name
    ]
    if len(named) > 1:
        raise ended("give one of --group, --batch and --key", Exit.USAGE)
    return named[0] if named else "account"


@budgets.command("set")
def set_budget(
    *,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="How many steps runs may take.")
    ] = None,
    billed: Annotated[
        int | None,
        typer.Option("--credits", metavar="N", help="How many credits, instead of steps."),
    ] = None,
    per: Annotated[
        str, typer.Option(help=f"In what time: {', '.join(PERIODS)} (in all).")
    ] = "total",
    group: Group = "",
    batch: Batch = "",
    key: Key = "",
    zone: Annotated[
        str, typer.Option("--tz", help="Days and months begin in this time zone.")
    ] = "UTC",
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Count what live runs may take; refuse jobs without a limit."
        ),
    ] = False,
    expected: Annotated[
        int, typer.Option(metavar="N", help="What a run takes, until one has ended.")
    ] = EXPECTED,
    account: HomeAccount = None,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Set the budget of an account, or of a group, batch or key of it; replaces the one before."""
    scope = _scope(group, batch, key)
    budget = Budget(steps, per, zone, strict, expected, billed)
    with opened(url) as queue:
        account = account or home_of(queue)
        queue.set_budget(scope, budget, account=account)
        record_change(queue, "set_budget", scope, budget.words(), account=account)
        shown = {"scope": scope, **budget.as_dict()}
        print_outcome(f"{scope}: {budget.words()}", shown, as_json=as_json)


@budgets.command("clear")
def clear(
    *,
    group: Group = "",
    batch: Batch = "",
    key: Key = "",
    account: HomeAccount = None,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Clear the budget of an account, or of a group, batch or key of it."""
    scope = _scope(group, batch, key)
    with opened(url) as queue:
        account = account or home_of(queue)
        had_budget = queue.set_budget(scope, None, account=account)
        record_change(queue, "clear_budget", scope, "no budget", account=account)
        words = "has no budget now" if had_budget else "had no budget"
        shown = {"scope": scope, "had_budget": had_budget}
        print_outcome(f"{scope} {words}", shown, as_json=as_json)


@budgets.command("list")
def list_budgets(*, account: HomeAccount = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show the budgets, and what of them is spent, committed and left."""
    with opened(url) as queue:
        rows = [found.as_dict() for found in queue.list_budgets(account or home_of(queue))]
        if not as_json:
            for row in rows:
                row |= {name: f"{row[name]:.0f}" for name in ("committed", "left")}
        print_rows(rows, _COLUMNS, as_json=as_json)
