"""`runqueue errors` and `chart`: what the archive tells of many jobs."""

from typing import Annotated, Any, Literal

import orjson
import typer

from runqueue.cli.shared.formatting import counted, price_per_credit
from runqueue.cli.shared.job_selection import Account, Batch, FilterOptions, Group, Workflow
from runqueue.cli.shared.options import OneObject, Since, Until, with_options
from runqueue.cli.shared.output import print_columns
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.cli.shared.tables import print_rows
from runqueue.producer.listing import Dimension, Filter
from runqueue.records.archived import ChartPoint, ErrorGroup, TopValue
from runqueue.records.as_json import json_object
from runqueue.records.run_figures import cost_of

_GROUPS = ("id", "new", "jobs", "share", "credits", "trend", "first_seen", "last_seen", "words")
_CHART = ("jobs", "failed", "≈ waited", "≈ 95 %", "≈ ran", "≈ 95 %", "steps", "credits", "cost")
_TOP = ("jobs", "failed", "steps", "credits", "cost")
_BARS = " ▁▂▃▄▅▆▇█"

State = Annotated[Literal["failed", "dead"] | None, typer.Option(help="Only these failures.")]
By = Annotated[
    Dimension | None, typer.Option(help="Compare all of these instead, the most credits first.")
]


@with_options
def errors(
    options: FilterOptions,
    *,
    state: State = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show so many at most.")] = 50,
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
        cost = cost_of(found.credits, price_per_credit())
        words = ["" if found.is_all else "the newest ", counted(found.failures, "failure")]
        words += [", ", counted(found.credits, "credit"), f", cost {cost}" if cost else ""]
        words += [f"; the {limit:,} largest of {found.total_groups:,} groups are shown"] * (
            found.total_groups > len(found.groups)
        )
        typer.echo(f"total: {''.join(words)}")


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
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Show by the hour, the day or the week what ended, of a week by default; needs the archive.

    Jobs, the share that failed, seconds from creation to start and from start to end (half of the
    jobs, 95 % of them; ≈: estimates), steps and credits; at last those of the whole time. A partial
    hour, day or week begins before that, or is not over in it.
    """
    wanted = Filter(group, batch, workflow=workflow, since=since, until=until)
    with opened(url) as queue:
        found = queue.chart(wanted, by=by, account=account or home_of(queue))
        total = found.total
        if as_json:
            typer.echo(orjson.dumps(json_object(found)))
        elif by:
            failed = total.jobs.get("failed", 0) + total.jobs.get("dead", 0)
            jobs = sum(total.jobs.values())
            whole = TopValue("total", jobs, failed, total.steps, total.credits)
            print_columns([by, *_TOP], [_compared(one) for one in (*found.top, whole)])
        else:
            form = "%Y-%m-%d %H:%M" if found.seconds < 86_400 else "%Y-%m-%d"
            rows = [
                [one.at.strftime(form) + " (partial)" * one.is_partial, *_figures(one)]
                for one in found.points
            ]
            print_columns(["from (UTC)", *_CHART], [*rows, ["total", *_figures(total)]])


def _compared(one: TopValue) -> list[str]:
    cost, share = cost_of(one.credits, price_per_credit()) or "", one.failures / (one.jobs or 1)
    numbers = (f"{one.steps:,}", f"{one.credits:,}", cost)
    return [one.value, f"{one.jobs:,}", f"{100 * share:.1f} %", *numbers]


def _figures(one: ChartPoint) -> list[str]:
    share = one.failure_share
    spans = [f"{each:,.1f} s" for both in (one.waiting, one.running) for each in both or ()]
    if one.waiting is None or one.running is None:
        spans = [""] * 4
    failed = "" if share is None else f"{100 * share:.1f} %"
    jobs = sum(one.jobs.values())
    cost = cost_of(one.credits, price_per_credit()) or ""
    return [f"{jobs:,}", failed, *spans, f"{one.steps:,}", f"{one.credits:,}", cost]
