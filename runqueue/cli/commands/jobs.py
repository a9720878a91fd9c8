"""`runqueue jobs list`: jobs of any state, by the filters of the page."""

from typing import Annotated, Any

import typer

from runqueue.cli.shared.job_selection import Account, Batch, Group, Namespace, Reason
from runqueue.cli.shared.options import Since, Until, command_group
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
from runqueue.records.job import Job, JobState
from runqueue.records.waits import in_words

jobs = command_group("Jobs of any state.")

_PAUSED = ("paused_since", "paused_url")
_COLUMNS = ("job_id", "custom_id", "state", "group", "created_at", "reason")

State = Annotated[JobState | None, typer.Option(help="Only jobs in this state.")]
CustomId = Annotated[
    str | None, typer.Option("--custom-id", help="Only the job of this custom_id.")
]


@jobs.command("list")
def list_jobs(
    *,
    state: State = None,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    custom_id: CustomId = None,
    namespace: Namespace = "",
    since: Since = None,
    until: Until = None,
    paused: Annotated[bool, typer.Option(help="Only jobs whose run waits for a person.")] = False,
    account: Account = None,
    limit: Limit = 100,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show jobs: those of a batch in its order, ended ones of a state the newest end first.

    Without a state or a batch they come in no order. A filter by reason reads all jobs that match
    the other filters.
    """
    wanted = Filter(group, batch, reason, state, custom_id, namespace, since=since, until=until)
    wanted = wanted._replace(is_paused=paused)
    with opened(url) as queue:
        unread: list[str] = []
        found = find(queue, wanted, account or home_of(queue), unread=unread)
        rows = [_row(job, as_json=as_json) for job in up_to(limit, each_once(found))]
        columns = ("job_id", "custom_id", *_PAUSED) if paused else _COLUMNS
        print_rows(rows, columns, as_json=as_json)
        print_unread(unread)


def _row(job: Job, *, as_json: bool) -> dict[str, Any]:
    """Return a row; in a table the reason says what a job waits for, too."""
    row = job_row(job, *RUN, *_PAUSED)
    if as_json:
        return row | {"waits_for": json_value(job.waits_for)}
    return row | {"reason": "; ".join(filter(None, (job.reason, in_words(job.waits_for))))}
