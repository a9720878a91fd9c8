"""`runqueue limits`: the limits of an account: show them, or set them live."""

from typing import Annotated

import typer

from runqueue.cli.shared.audit_log import record_change
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.cli.shared.options import AccountArgument
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, print_rows
from runqueue.records.limits import RANGES, AccountLimits
from runqueue.store.limits import change_words, exact

_ALL = "all"
_COLUMNS = ("limit", "in force", "environment", "live", "of")


def limits(
    account: AccountArgument = None,
    *,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a limit live; 0 = none."),
    ] = None,
    reset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|all", help="Go back to the value of the workers' environment."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show an account's limits, or set them live: for every worker, from its next call on.

    A live value overrides the workers' environments, also later ones, until it is reset.
    """
    changes = _changes(values or [], reset or [])
    with opened(url) as queue:
        account = account or home_of(queue)
        found = queue.set_limits(changes, account)
        if changes:
            record_change(queue, "set_limits", detail=change_words(changes), account=account)
        if as_json:
            print_rows([found.as_dict()], ("account", "limits"), as_json=True)
        else:
            print_rows(_rows(found), _COLUMNS, as_json=False)


def _changes(values: list[str], reset: list[str]) -> dict[str, float | None]:
    """Return the changes of `--set` and `--reset`."""
    changes: dict[str, float | None] = {}
    for name in reset:
        changes |= dict.fromkeys(RANGES if name == _ALL else [name])
    for given in values:
        name, _, value = given.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            words = f"--set: expected NAME=VALUE, such as concurrent_runs=20, got {given!r}"
            raise ended(words, Exit.USAGE) from None
    return changes


def _rows(found: AccountLimits) -> list[dict[str, str]]:
    return [
        {
            "limit": name,
            "in force": exact(found.in_force[name]) if found.in_force[name] else "none",
            "environment": _shown(found.environment.get(name)),
            "live": _shown(found.live.get(name)),
            "of": allowed.words,
        }
        for name, allowed in RANGES.items()
    ]


def _shown(value: float | None) -> str:
    return "" if value is None else exact(value)
