"""`runqueue jobs list` and `count`: jobs of any state, by the filters of the page."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_selection import FilterOptions, Namespace, State
from runqueue.cli.shared.options import OneObject, command_group, with_options
from runqueue.cli.shared.output import print_outcome
from runqueue.cli.shared.queues import Url, find, home_of, opened
from runqueue.cli.shared.tables import (
    RUN,
    AsJson,
    Limit,
    each_once,
    job_row,
    print_rows,
    print_unread,
    up_to,
)
from runqueue.producer.listing import Filter
from runqueue.records.as_json import json_value
from runqueue.records.job import Job
from runqueue.records.waits import in_words

jobs = command_group("Jobs of any state.")

_PAUSED = ("paused_since", "paused_url")
_COLUMNS = ("job_id", "custom_id", "state", "group", "created_at", "reason")

Open = Annotated[bool, typer.Option("--open", help="Only jobs that have not ended.")]
Paused = Annotated[bool, typer.Option(help="Only jobs whose run waits for a person.")]
CustomId = Annotated[
    str | None, typer.Option("--custom-id", help="Only the job of this custom_id.")
]


@dataclass(frozen=True, slots=True)
class ListedJobs(FilterOptions):
    """The options by which jobs of any state are found."""

    state: State = None
    custom_id: CustomId = None
    namespace: Namespace = ""
    is_open: Open = False
    paused: Paused = False
    url: Url = None

    @property
    def chosen(self) -> Filter:
        """The filters."""
        wanted = self.wanted._replace(state=self.state, is_paused=self.paused)
        wanted = wanted._replace(is_open=self.is_open, custom_id=self.custom_id)
        return wanted._replace(namespace=self.namespace)


@jobs.command("list")
@with_options
def list_jobs(options: ListedJobs, *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """Show jobs: those of a batch in its order, ended ones of a state the newest end first.

    With an archive, those without a state have ended, the newest end first, and the last seconds
    may be missing; open ones are found by --open or their state. Without one, those without a state
    or a batch come in no order, and a filter by reason reads all that match the other filters.
    """
    with opened(options.url) as queue:
        unread: list[str] = []
        account = options.account or home_of(queue)
        found = find(queue, options.chosen, account, unread=unread)
        rows = [_row(job, as_json=as_json) for job in up_to(limit, each_once(found))]
        columns = ("job_id", "custom_id", *_PAUSED) if options.paused else _COLUMNS
        print_rows(rows, columns, as_json=as_json)
        print_unread(unread)


@jobs.command("count")
@with_options
def count_jobs(options: ListedJobs, *, as_json: OneObject = False) -> None:
    """Count the jobs of a list, up to 1,000; of an archive also those that are being done again."""
    with opened(options.url) as queue:
        account = options.account or home_of(queue)
        found = queue.count_jobs(options.chosen, account=account)
        words = f"{'' if found.is_exact else 'at least '}{counted(found.jobs, 'job')}"
        print_outcome(words, found._asdict(), as_json=as_json)


def _row(job: Job, *, as_json: bool) -> dict[str, Any]:
    """Return a row; in a table the reason says what a job waits for, too."""
    row = job_row(job, *RUN, *_PAUSED)
    if as_json:
        return row | {"waits_for": json_value(job.waits_for)}
    return row | {"reason": "; ".join(filter(None, (job.reason, in_words(job.waits_for))))}
