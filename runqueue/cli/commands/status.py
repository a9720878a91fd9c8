"""The commands that show the queue, or run the embedded server."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from runqueue.cli.commands.webhooks import webhook_values
from runqueue.cli.follow.batch_holds import batch_values, held_words
from runqueue.cli.shared.account_lines import account_lines
from runqueue.cli.shared.exit_codes import Exit, ended, exit_on_error, print_err
from runqueue.cli.shared.formatting import price_per_credit, printable, webhook_words
from runqueue.cli.shared.job_names import named
from runqueue.cli.shared.job_selection import Namespace
from runqueue.cli.shared.options import OneObject
from runqueue.cli.shared.output import open_console, print_values
from runqueue.cli.shared.queues import Queue, Url, opened
from runqueue.cli.shared.tables import print_rows, unconfirmed_values
from runqueue.embedded.server import DIRECTORY, serve
from runqueue.errors import BatchNotFound, JobNotFound
from runqueue.records.as_json import json_value
from runqueue.records.job import Job
from runqueue.records.run_figures import cost_of
from runqueue.records.waits import in_words
from runqueue.store.groups import GroupCredits

Id = Annotated[
    str,
    typer.Argument(metavar="JOB|BATCH", help="The id of a job or a batch, or a job's custom_id."),
]


def status(
    some_id: Id, *, namespace: Namespace = "", url: Url = None, as_json: OneObject = False
) -> None:
    """Show a job with its request, its result and its timeline, or a batch."""
    with opened(url) as queue:
        (found,) = named(queue, [some_id], namespace, result=True)
        if not isinstance(found, Job):
            print_values(batch_values(found, as_json=as_json), as_json=as_json)
            return
        values, life = _job_values(found, as_json=as_json), _life(queue, found.id)
        if as_json:
            print_values({**values, **life}, as_json=True)
        else:
            print_values(values, as_json=False)
            _print_life(life)
        if found.batch and not found.is_over:
            _print_held(queue, found.batch)


def _life(queue: Queue, job_id: str) -> dict[str, Any]:
    try:
        return queue.timeline(job_id)
    except JobNotFound:  # it was removed meanwhile
        return {}


def _print_life(life: dict[str, Any]) -> None:
    """Print a job's request and its timeline, a line each."""
    request = {f"request.{name}": value for name, value in life.get("request", {}).items()}
    print_values(request, as_json=False)
    if hidden := life.get("request_hidden"):
        typer.echo(f"not shown of the request, as it may be secret: {printable(', '.join(hidden))}")
    for name, title in (("earlier_lives", "earlier under this id"), ("timeline", "timeline")):
        if steps := life.get(name):
            typer.echo(f"{title} (UTC):")
            for step in steps:
                typer.echo(f"  {printable(_step_words(step))}")


def _step_words(step: dict[str, Any]) -> str:
    at = datetime.fromisoformat(step["at"]).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    attempt = f" (attempt {step['attempt']})" if step["attempt"] else ""
    ahead = "to come: " if step["ahead"] else ""
    return f"{at}  {ahead}{step['what']}{attempt}" + (f": {step['cause']}" if step["cause"] else "")


def _print_held(queue: Queue, batch: str) -> None:
    """Report what holds a job's batch."""
    with suppress(BatchNotFound):
        if words := held_words(queue.get_batch(batch)):
            print_err(f"its batch {batch}: {words}")


def stats(
    *,
    by: Annotated[Literal["group"] | None, typer.Option(help="Show credits by group.")] = None,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Show the statistics of every account."""
    with opened(url) as queue:
        if by:
            _print_groups(queue, as_json=as_json)
            return
        accounts = queue.stats()
        if as_json:
            print_values({name: found.as_dict() for name, found in accounts.items()}, as_json=True)
            return
        for found in accounts.values():
            open_console().print(*account_lines(found), "", sep="\n")


def _print_groups(queue: Queue, *, as_json: bool) -> None:
    found = {account: queue.group_credits(account) for account in queue.accounts()}
    if as_json:
        print_values(json_value(found), as_json=True)
        return
    rows = [
        {"account": account, **one._asdict(), "cost": cost_of(one.credits, price_per_credit())}
        for account, groups in found.items()
        for one in groups
    ]
    print_rows(rows, ("account", *GroupCredits._fields, "cost"), as_json=False)


def server(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the data is; one server a directory.")
    ] = DIRECTORY,
) -> None:
    """Run the embedded Valkey server until Ctrl-C or SIGTERM; its address is printed on stdout.

    The full URL, with the password, is in the file `url` of its directory.
    """
    with exit_on_error():
        if not serve(directory, typer.echo):
            words = f"the server ended by itself; see {directory / 'valkey.log'}"
            raise ended(words, Exit.UNAVAILABLE)


def _job_values(job: Job, *, as_json: bool) -> dict[str, Any]:
    """Return the values shown of a job; its webhook as several values, or in one line."""
    words = {"webhook": webhook_words(job.webhook)}
    return {
        **job.as_row(),
        **(webhook_values(job.webhook) if as_json else words),
        **({} if as_json else {"cost": cost_of(job.usage.credits, price_per_credit())}),
        "account": job.account,
        "namespace": job.namespace,
        "runs": job.runs,
        "reason": job.reason,
        "cancel_requested": job.cancel_requested,
        **unconfirmed_values(job, as_json=as_json),
        "run_at": job.run_at.isoformat() if job.run_at else None,
        "deadline": job.deadline.isoformat() if job.deadline else None,
        "max_run_seconds": job.max_run_seconds,
        "keys": list(job.keys) if as_json else " ".join(job.keys),
        "waits_for": json_value(job.waits_for) if as_json else in_words(job.waits_for),
    }
