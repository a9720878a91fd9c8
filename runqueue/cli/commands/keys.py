"""`runqueue keys`: limits on what jobs use together, such as a site or a login."""

from typing import Annotated, Any

import typer

from runqueue.cli.shared.audit_log import record_change
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.cli.shared.options import HomeAccount, OneObject, command_group
from runqueue.cli.shared.output import print_outcome
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, print_rows
from runqueue.errors import InvalidKeyLimit
from runqueue.records.waits import utc
from runqueue.store.key_limits import UNITS, EndedHolder, KeyLimit, KeyUse

keys = command_group("Keys: limits on what jobs use together.")

_COLUMNS = ("key", "max concurrent", "rate", "in use", "waiting", "since", "paused until")
Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN", help="A key (host:shop.example), or its first segment and :* (host:*)."
    ),
]


def _rate(unit: str) -> object:
    return typer.Option(f"--per-{unit}", metavar="N", help=f"How many may begin a {unit}.")


@keys.command("set")
def set_limit(
    pattern: Pattern,
    *,
    max_concurrent: Annotated[
        int | None, typer.Option(metavar="N", help="How many jobs may have it at a time.")
    ] = None,
    per_second: Annotated[float | None, _rate("second")] = None,
    per_minute: Annotated[float | None, _rate("minute")] = None,
    per_hour: Annotated[float | None, _rate("hour")] = None,
    no_limit: Annotated[
        bool, typer.Option("--no-limit", help="Any number, whatever its first segment has.")
    ] = False,
    account: HomeAccount = None,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Set the limit of a key, or of each key with a first segment; replaces the one before."""
    try:
        limit = KeyLimit.of_rates(
            max_concurrent, second=per_second, minute=per_minute, hour=per_hour
        )
    except InvalidKeyLimit as error:
        raise ended(str(error), Exit.USAGE) from None
    if no_limit != (limit == KeyLimit()):
        words = "give a limit (--max-concurrent, --per-second, …), or --no-limit alone"
        raise ended(words, Exit.USAGE)
    with opened(url) as queue:
        account = account or home_of(queue)
        queue.set_key_limit(pattern, limit, account=account)
        record_change(queue, "set_key_limit", pattern, limit.words(), account=account)
        shown = {"key": pattern, **limit.as_dict()}
        print_outcome(f"{pattern}: {limit.words()}", shown, as_json=as_json)


@keys.command("clear")
def clear(
    pattern: Pattern, *, account: HomeAccount = None, url: Url = None, as_json: OneObject = False
) -> None:
    """Clear a limit; a key then has that of its first segment, if there is one."""
    with opened(url) as queue:
        account = account or home_of(queue)
        had_limit = queue.set_key_limit(pattern, None, account=account)
        record_change(queue, "clear_key_limit", pattern, "no limit of its own", account=account)
        words = "has no limit of its own now" if had_limit else "had no limit of its own"
        shown = {"key": pattern, "had_limit": had_limit}
        print_outcome(f"{pattern} {words}", shown, as_json=as_json)


@keys.command("list")
def list_keys(*, account: HomeAccount = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show the keys that have limits, and those at which jobs wait."""
    with opened(url) as queue:
        found = queue.list_keys(account or home_of(queue))
        rows = [one.as_dict() if as_json else _row(one) for one in found]
        print_rows(rows, _COLUMNS, as_json=as_json)


@keys.command("repair")
def repair(*, account: HomeAccount = None, url: Url = None, as_json: AsJson = False) -> None:
    """Free the keys, and steps of budgets, that what has ended still holds; print these."""
    with opened(url) as queue:
        account = account or home_of(queue)
        dropped = queue.ended_holders(account, drop=True)
        if dropped:
            record_change(queue, "repair_keys", detail=f"{len(dropped)} dropped", account=account)
        if dropped or as_json:
            print_rows([one._asdict() for one in dropped], EndedHolder._fields, as_json=as_json)
        else:
            typer.echo("nothing to repair")


def _row(found: KeyUse) -> dict[str, Any]:
    """Return a line of the table."""
    has_any = found.has_limit and found.max_concurrent is None and not found.interval_seconds
    until = found.paused_until
    return {
        "key": found.key,
        "max concurrent": "any" if has_any else found.max_concurrent,
        "rate": _rate_words(found.interval_seconds),
        "in use": found.live,
        "waiting": found.waiting,
        "since": found.waiting_since,
        "paused until": until and utc(until),
    }


def _rate_words(interval: float | None) -> str:
    """Return how many may begin, given the seconds between two; '' = any number."""
    if not interval:
        return ""
    for unit, seconds in UNITS.items():
        if seconds >= interval:
            return f"{seconds / interval:.3g} per {unit}"
    return f"1 every {interval / UNITS['hour']:.3g} hours"
