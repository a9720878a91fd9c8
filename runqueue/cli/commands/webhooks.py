"""`runqueue webhooks`: lists webhooks that did not arrive, sends them again, or confirms."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from runqueue.cli.shared.exit_codes import Exit
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_names import named_jobs
from runqueue.cli.shared.job_selection import (
    FilterOptions,
    JobOptions,
    Namespace,
    OperatorAction,
    confirm,
    print_settled,
)
from runqueue.cli.shared.options import command_group, with_options
from runqueue.cli.shared.queues import Queue, Url, find, opened
from runqueue.cli.shared.tables import RUN, AsJson, Limit, each_once, job_row, print_rows, up_to
from runqueue.connection.urls import shown_url
from runqueue.producer.listing import FOUND
from runqueue.records.delivery import DeliveryState, WebhookDelivery
from runqueue.records.job import Job
from runqueue.request.requests import WEB_URL_WORDS, is_web_url

webhooks = command_group("Webhooks: deliveries of jobs' ends to the URLs in their requests.")

_COLUMNS = (
    "job_id",
    "custom_id",
    "webhook",
    "webhook_attempts",
    "webhook_status",
    "ended_at",
    "webhook_error",
)

#: The parts of an invalid URL that may be secret.
_LOGIN_OR_QUERY = re.compile(r"^.*@|[?#].*", re.DOTALL)


def _read_url(given: str) -> str:
    if not is_web_url(given):
        shown = _LOGIN_OR_QUERY.sub("", given)
        raise typer.BadParameter(f"expected {WEB_URL_WORDS}, got {shown!r}")
    return given


Abandoned = Annotated[bool, typer.Option("--abandoned", help="Those whose every attempt failed.")]
Pending = Annotated[bool, typer.Option("--pending", help="Those that are being tried.")]
Unknown = Annotated[
    bool, typer.Option("--unknown", help="Those that Skyvern sent; arrival not confirmed.")
]
WebhookUrl = Annotated[
    str | None,
    typer.Option(
        "--webhook-url", parser=_read_url, metavar="URL", help="Send them to this URL from now on."
    ),
]


@dataclass(frozen=True, slots=True)
class WebhookStates:
    """The options that choose webhooks by their states."""

    abandoned: Abandoned = False
    pending: Pending = False
    unknown: Unknown = False

    @property
    def states(self) -> list[DeliveryState]:
        """The states that are named."""
        given = {
            DeliveryState.PENDING: self.pending,
            DeliveryState.ABANDONED: self.abandoned,
            DeliveryState.UNKNOWN: self.unknown,
        }
        return [state for state in given if given[state]]


def _find(queue: Queue, options: FilterOptions, states: Sequence[DeliveryState]) -> Iterator[Job]:
    """Go through the jobs whose webhooks are in some states; a job may come twice."""
    for state in states:
        yield from find(queue, options.wanted._replace(webhook=state), options.account)


@webhooks.command("list")
@with_options
def list_webhooks(
    options: FilterOptions,
    of: WebhookStates,
    *,
    limit: Limit = 50,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show webhooks that were not delivered, or may not have been."""
    with opened(url) as queue:
        found = each_once(_find(queue, options, of.states or FOUND))
        rows = [_row(job) for job in up_to(limit, found)]
        print_rows(rows, _COLUMNS, as_json=as_json)


def _row(job: Job) -> dict[str, Any]:
    return job_row(job, *RUN) | webhook_values(job.webhook)


def webhook_values(found: WebhookDelivery) -> dict[str, Any]:
    """Return a webhook's state, as --json shows it beside its job's values."""
    return {
        "webhook": found.state.value,
        "webhook_attempts": found.attempts,
        "webhook_status": found.status,
        "webhook_error": found.error,
        "webhook_override": shown_url(found.url) if found.url else None,
        "webhook_settled_at": found.settled_at.isoformat() if found.settled_at else None,
        "webhook_next_try_at": found.next_try_at.isoformat() if found.next_try_at else None,
    }


@webhooks.command()
@with_options
def retry(options: JobOptions, of: WebhookStates, *, to: WebhookUrl = None) -> None:
    """Send webhooks again: those of named jobs, or by filter.

    By filter these are the abandoned and the unknown ones, unless a state is given. Jobs whose
    results the archive alone has are left out, and named.
    """
    states = of.states or [DeliveryState.ABANDONED, DeliveryState.UNKNOWN]
    jobs = options.jobs
    with opened(options.url) as queue:
        if options.is_by_filter(filtered=bool(of.states)):
            found = options.kept(queue, _find(queue, options, states))
        else:
            found = named_jobs(queue, jobs or [], options.namespace)
        if not found:
            typer.echo("none")
            raise typer.Exit(Exit.OK)
        where = f" to {shown_url(to)}" if to else ""
        confirm(
            f"send {counted(len(found), 'webhook')} again{where}", yes=options.yes or bool(jobs)
        )
        by = (
            ""
            if jobs
            else ", ".join(filter(None, (*states, options.wanted.words, options.excluded)))
        )
        action = OperatorAction("deliver", by, where.removeprefix(" "), jobs or ())
        print_settled(queue, queue.deliver_again(found, to or ""), action)


@webhooks.command("confirm")
def confirm_results(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, or custom_ids.")],
    *,
    namespace: Namespace = "",
    url: Url = None,
) -> None:
    """Confirm that you have the results: their webhooks count as delivered."""
    with opened(url) as queue:
        ids = named_jobs(queue, jobs, namespace)
        action = OperatorAction("confirm_delivery", named=jobs)
        print_settled(queue, queue.confirm_delivery(ids), action)
