"""`runqueue errors` and `chart`: what the archive tells of many jobs."""

from typing import Annotated, Any

import orjson
import typer

from runqueue.cli.shared.exit_codes import print_err
from runqueue.cli.shared.job_selection import (
    Account,
    Batch,
    FilterOptions,
    Group,
    Workflow,
)
from runqueue.cli.shared.options import OneObject, Since, Until, with_options
from runqueue.cli.shared.output import print_columns
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.cli.shared.tables import AsJson, print_rows
from runqueue.producer.listing import Filter
from runqueue.records.archived import ChartPoint, ErrorGroup
from runqueue.records.as_json import json_object

_GROUPS = ("id", "jobs", "share", "credits", "trend", "first_seen", "last_seen", "words")
_CHART = ("jobs", "failed", "waited", "95 %", "ran", "95 %", "steps", "credits")
_BARS = " ▁▂▃▄▅▆▇█"


@with_options
def errors(
    options: FilterOptions,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show so many at most.")] = 50,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Group failures by category and words, the largest group first; needs the archive.

    `--error ID` of other commands chooses the jobs of one.
    """
    with opened(url) as queue:
        account = options.account or home_of(queue)
        found = queue.list_errors(options.wanted, account=account, limit=limit)
        rows = [_group(one, as_json=as_json) for one in found.groups]
        print_rows(rows, _GROUPS, as_json=as_json)
        if not found.is_all:
            print_err(f"these are the newest {found.failures:,} failures of more")


def _group(one: ErrorGroup, *, as_json: bool) -> dict[str, Any]:
    row = json_object(one)
    if as_json:
        return row
    most = max(one.trend, default=0) or 1
    row["trend"] = "".join(_BARS[-(-n * (len(_BARS) - 1) // most)] for n in one.trend)
    words = f"{one.category}: {one.words}" if one.category else one.words
    return row | {"share": f"{100 * one.share_of_failures:.1f} %", "words": words}


def chart(
    *,
    since: Since = None,
    until: Until = None,
    group: Group = None,
    workflow: Workflow = None,
    batch: Batch = None,
    account: Account = None,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Show by the hour, the day or the week what ended, of a week by default; needs the archive.

    Jobs, the share that failed, seconds from creation to start and from start to end (half of the
    jobs, 95 % of them), steps and credits.
    """
    wanted = Filter(group, batch, workflow=workflow, since=since, until=until)
    with opened(url) as queue:
        found = queue.chart(wanted, account=account or home_of(queue))
        if as_json:
            typer.echo(orjson.dumps(json_object(found)))
            return
        form = "%Y-%m-%d %H:%M" if found.seconds < 86_400 else "%Y-%m-%d"
        rows = [[one.at.strftime(form), *_figures(one)] for one in found.points]
        print_columns(["from (UTC)", *_CHART], rows)


def _figures(one: ChartPoint) -> list[str]:
    share = one.failure_share
    spans = [f"{each:,.1f} s" for both in (one.waiting, one.running) for each in both or ()]
    if one.waiting is None or one.running is None:
        spans = [""] * 4
    failed = "" if share is None else f"{100 * share:.1f} %"
    jobs = sum(one.jobs.values())
    return [f"{jobs:,}", failed, *spans, f"{one.steps:,}", f"{one.credits:,}"]
