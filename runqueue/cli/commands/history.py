"""`runqueue errors` and `chart`: what the archive tells of many jobs."""

from typing import Annotated, Any, Literal

import orjson
import typer

from runqueue.cli.shared.formatting import counted, price_per_credit
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
from runqueue.cli.shared.tables import print_rows
from runqueue.producer.listing import Filter
from runqueue.records.archived import ChartPoint, ErrorGroup, TopValue
from runqueue.records.as_json import json_object, json_value
from runqueue.records.job import JobState
from runqueue.records.run_figures import cost_of

_GROUPS = ("id", "new", "jobs", "share", "credits", "trend", "first_seen", "last_seen", "words")
_VALUES = ("jobs", "failed", "share", "credits", "cost")
_CHART = ("jobs", "failed", "waited", "95 %", "ran", "95 %", "steps", "credits")
_BARS = " ▁▂▃▄▅▆▇█"


State = Annotated[Literal["failed", "dead"] | None, typer.Option(help="Only these failures.")]
By = Annotated[
    Literal["group", "workflow", "batch"] | None,
    typer.Option(help="Show each of these instead, the most credits first."),
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Show so many at most.")]


@with_options
def errors(
    options: FilterOptions,
    *,
    state: State = None,
    limit: Limit = 50,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Group failures by category and words, the largest group first; needs the archive.

    `--error ID` of other commands chooses the jobs of one. A new group's first job ended within
    the time that was asked for, or within a day.
    """
    with opened(url) as queue:
        wanted, account = options.wanted._replace(state=state), options.account or home_of(queue)
        found = queue.list_errors(wanted, account=account, limit=limit)
        if as_json:
            typer.echo(orjson.dumps(json_object(found)))
            return
        print_rows(list(map(_group, found.groups)), _GROUPS, as_json=False)
        newest = "" if found.is_all else " (the newest of more)"
        cost = cost_of(found.credits, price_per_credit())
        words = [counted(found.failures, "failure") + newest, counted(found.credits, "credit")]
        typer.echo(f"total: {', '.join([*words, *([f'cost {cost}'] if cost else [])])}")


def _group(one: ErrorGroup) -> dict[str, Any]:
    row = json_object(one) | {"new": "new" if one.is_new else ""}
    most = max(one.trend, default=0) or 1
    row["trend"] = "".join(_BARS[-(-n * (len(_BARS) - 1) // most)] for n in one.trend)
    words = f"{one.category}: {one.words}" if one.category else one.words
    return row | {"share": f"{100 * one.share_of_failures:.1f} %", "words": words}


def chart(
    *,
    by: By = None,
    since: Since = None,
    until: Until = None,
    group: Group = None,
    workflow: Workflow = None,
    batch: Batch = None,
    account: Account = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Show by the hour, the day or the week what ended, of a week by default; needs the archive.

    Jobs, the share that failed, seconds from creation to start and from start to end (half of the
    jobs, 95 % of them), steps and credits; at last those of the whole time.
    """
    wanted = Filter(group, batch, workflow=workflow, since=since, until=until)
    with opened(url) as queue:
        whose = account or home_of(queue)
        top = queue.top(wanted, by, account=whose, limit=limit) if by else []
        found = queue.chart(wanted, account=whose)
        if as_json:
            by_value = {"by": by, "values": json_value(top)}
            typer.echo(orjson.dumps(by_value if by else json_object(found)))
        elif by:
            jobs, failed = found.total.jobs, (JobState.FAILED, JobState.DEAD)
            failures = sum(jobs.get(state, 0) for state in failed)
            whole = TopValue("total", sum(jobs.values()), failures, found.total.credits)
            print_rows([_value(by, one) for one in (*top, whole)], (by, *_VALUES), as_json=False)
        else:
            form = "%Y-%m-%d %H:%M" if found.seconds < 86_400 else "%Y-%m-%d"
            rows = [[one.at.strftime(form), *_figures(one)] for one in found.points]
            print_columns(["from (UTC)", *_CHART], [*rows, ["total", *_figures(found.total)]])


def _value(by: str, one: TopValue) -> dict[str, Any]:
    return {
        by: one.value,
        "jobs": f"{one.jobs:,}",
        "failed": f"{one.failures:,}",
        "share": f"{100 * one.failures / one.jobs:.1f} %" if one.jobs else "",
        "credits": f"{one.credits:,}",
        "cost": cost_of(one.credits, price_per_credit()),
    }


def _figures(one: ChartPoint) -> list[str]:
    share = one.failure_share
    spans = [f"{each:,.1f} s" for both in (one.waiting, one.running) for each in both or ()]
    if one.waiting is None or one.running is None:
        spans = [""] * 4
    failed = "" if share is None else f"{100 * share:.1f} %"
    jobs = sum(one.jobs.values())
    return [f"{jobs:,}", failed, *spans, f"{one.steps:,}", f"{one.credits:,}"]
