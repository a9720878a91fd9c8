"""The command `runqueue ledger`, which joins `runqueue` by the entry point `runqueue.commands`."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import orjson
import typer

from api_client import AsyncTransport, RawClient
from config.settings import Account, Settings, SettingsError, load_settings
from runqueue import AsyncRunQueue
from runqueue.cli.shared.exit_codes import Exit, ended, exit_on_error, print_err
from runqueue.cli.shared.formatting import counted, printable
from runqueue.cli.shared.options import OneObject, Until, parse_time
from runqueue.records.as_json import json_object
from runqueue.records.retention import SURELY_RETAINED_SECONDS
from runqueue.records.waits import utc
from runqueue.request.time_range import check_range, from_microseconds
from worker.ledger.comparison import MOST_LISTED, LedgerReport, SkyvernRuns, Sum, compare
from worker.process.account import proxies_of

_SURELY = timedelta(seconds=SURELY_RETAINED_SECONDS)

Since = Annotated[
    datetime,
    typer.Option(
        parser=parse_time,
        metavar="TIME",
        help="From when on: 12h, 3d, yesterday, a date (in UTC), or ISO 8601 with a zone; 6 days"
        " ago at most, since for so long it is surely known whose a run is.",
    ),
]
AccountName = Annotated[str, typer.Option("--account", help="The account.")]


def ledger(
    *,
    since: Since = "yesterday",  # type: ignore[assignment] # typer gives it to the parser
    until: Until = None,
    account: AccountName = "default",
    as_json: OneObject = False,
) -> None:
    """Compare our runs with those that Skyvern lists: what is missing there, what is others'.

    Needs the account's key and base URL, as workers do. Exit codes: 0 Skyvern has each run that we
    accepted, 1 one is missing there, 2 wrong usage, 4 not all could be read.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        raise ended(str(error), Exit.USAGE) from None
    accounts = settings.all_accounts()
    if account not in accounts:
        raise ended(f"--account: expected one of {', '.join(sorted(accounts))}", Exit.USAGE)
    if since < datetime.now(UTC) - _SURELY:
        raise ended(f"--since: expected {_SURELY.days} days ago at most", Exit.USAGE)
    with exit_on_error():
        check_range(since, until)
        found = asyncio.run(_compare(settings, account, accounts[account], since, until))
        if as_json:
            typer.echo(orjson.dumps(json_object(found)))
        else:
            typer.echo("\n".join(map(printable, lines(found))))
    if found.since > since:
        print_err(f"a list shows {MOST_LISTED:,} runs at most: earlier ones were not compared")
    whole = Exit.OK if found.since <= since else Exit.UNAVAILABLE
    raise typer.Exit(1 if found.missing else whole)


async def _compare(
    settings: Settings, name: str, account: Account, since: datetime, until: datetime | None
) -> LedgerReport:
    async with (
        AsyncTransport(proxies=proxies_of(account, settings)) as transport,
        AsyncRunQueue(settings.redis_url) as queue,
    ):
        client = RawClient(account.base_url, account.api_key.get_secret_value(), transport)
        skyvern = SkyvernRuns(client, account.max_requests_per_second)
        return await compare(queue, skyvern, name, since, until)


def lines(found: LedgerReport) -> Iterator[str]:
    """Yield the comparison in words, line by line."""
    yield f"account {found.account}, runs since {utc(found.since)} until {utc(found.until)}"
    steps = f"; {counted(found.steps, 'step')} of their jobs" if found.steps else ""
    yield f"ours, and Skyvern has them: {_words(found.both)}{steps}"
    yield f"ours, and missing at Skyvern: {counted(len(found.missing), 'run')}"
    for run in found.missing:
        at = from_microseconds(run.accepted_us)
        when = f"accepted {utc(at)}" if run.accepted_us else "an earlier run of it"
        yield f"  {run.run_id}  job {run.job_id}, {when}"
    others = sum(one.runs for one in found.others.values())
    yield f"others', by what started them: {counted(others, 'run')}"
    for trigger, one in sorted(found.others.items()):
        yield f"  {trigger}: {_words(one)}"
    if found.unconfirmed:
        yield f"{counted(found.unconfirmed, 'job')} unconfirmed: runs of theirs count as others'"


def _words(one: Sum) -> str:
    words = counted(one.runs, "run")
    if not one.runs_with_credits:
        return words
    some = "" if one.runs_with_credits == one.runs else f" (of {one.runs_with_credits:,} of them)"
    return f"{words}, {counted(one.credits, 'credit')}{some}"
