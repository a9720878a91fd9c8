"""The pages of the archive: charts of the jobs that ended, and groups of errors."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from gateway.page.filters import filter_of, pairs_of
from gateway.page.formatting import in_unit
from gateway.page.overview import OVER
from gateway.page.render import page
from gateway.page.viewer import Viewer, list_page
from gateway.state.state import state_of
from runqueue.producer.listing import DIMENSIONS, Filter
from runqueue.records.archived import Chart, ChartPoint, Durations, ErrorGroup, TopValue
from runqueue.records.run_figures import cost_of

#: How long ago a page begins, by one click.
PRESETS: Final = ("24h", "7d", "30d", "90d")
_NONE: Final[dict[str, None]] = dict.fromkeys(DIMENSIONS)
#: Groups of errors of a page, and values of a dimension.
GROUPS: Final = 50
TOP: Final = 20
Cells = Callable[[ChartPoint], Sequence[float | None]]
_UNKNOWN: Final = (None, None)
#: Steps of a chart in words, by their seconds.
_STEPS: Final = {3600: "hour", 86_400: "day", 604_800: "week"}


class Figure(NamedTuple):
    """A chart, and the table behind it.

    Args:
        title: the heading.
        note: what the heading needs beside it.
        unit: of the cells: jobs, share, seconds, steps, credits or money.
        names: of the columns.
        rows: each with its point, and a cell a column; None = nothing is known.
    """

    title: str
    note: str
    unit: str
    names: tuple[str, ...]
    rows: list[tuple[ChartPoint, tuple[float | None, ...]]]


@list_page
async def charts(request: Request, viewer: Viewer) -> Response:
    """Show what ended over time: of all jobs, of a group, a workflow or a batch."""
    values = await _shared(request, viewer)
    account, wanted = values["account"], values["wanted"]
    by = request.query_params.get("by", DIMENSIONS[0])
    if values["has_archive"]:
        queue = viewer.queue
        price = state_of(request).settings.price_per_credit
        of_all = wanted._replace(**_NONE)
        whole = await queue.chart(of_all, by=by, account=account)
        chart = whole if wanted == of_all else await queue.chart(wanted, account=account)
        query = request.query_params
        values |= {
            "figures": figures_of(chart, price),
            "totals": _totals(chart.total, price),
            "has_partial": any(point.is_partial for point in chart.points),
            "step": chart.seconds,
            "step_word": _STEPS[chart.seconds],
            "by": [(one, _with(query, by=one)) for one in DIMENSIONS],
            "top_of": by,
            "top": [_top(query, by, each) for each in whole.top[:TOP]],
            "all": whole.total,
        }
    return page(request, "charts.html", viewer, values)


@list_page
async def errors(request: Request, viewer: Viewer) -> Response:
    """Show the groups of errors of a time, the largest first."""
    values = await _shared(request, viewer)
    account, wanted = values["account"], values["wanted"]
    if values["has_archive"]:
        queue = viewer.queue
        found = await queue.list_errors(wanted, account=account, limit=GROUPS)
        price = state_of(request).settings.price_per_credit
        values |= {
            "found": found,
            "groups": [_group(group, account, wanted, price) for group in found.groups],
            "cost": cost_of(found.credits, price),
            "trend_word": _STEPS[found.trend_seconds],
        }
    return page(request, "errors.html", viewer, values)


async def _shared(request: Request, viewer: Viewer) -> dict[str, Any]:
    """Return the values of both pages: of the time that a query names, else of the last day."""
    query = request.query_params
    account = await viewer.tenant_scope.account(query.get("account", ""))
    wanted = filter_of(query)
    until = wanted.until or datetime.now(UTC)
    kept = {name: query.get(name, "").strip() for name in ("since", "until", *DIMENSIONS)}
    return {
        "account": account,
        "accounts": await viewer.queue.accounts(),
        "given": kept,
        "chosen": {name: kept[name] for name in DIMENSIONS},
        "wanted": wanted._replace(since=wanted.since or until - timedelta(days=1), until=until),
        "preset": "" if kept["until"] else kept["since"] or PRESETS[0],
        "presets": [(one, _with(query, since=one, until="")) for one in PRESETS],
        "pages": [(one, f"/{one}{_with(kept, account=account)}") for one in ("charts", "errors")],
        "has_archive": viewer.has_archive,
    }


def figures_of(chart: Chart, price: Decimal | None) -> list[Figure]:
    """Return the charts of what ended."""

    def made(title: str, unit: str, names: Sequence[str], cells: Cells, note: str = "") -> Figure:
        rows = [(point, tuple(cells(point))) for point in chart.points]
        return Figure(title, note, unit, tuple(names), rows)

    both = ("≈ p50", "≈ p95")
    found = [
        made("Jobs that ended", "jobs", OVER, lambda at: [at.jobs.get(state, 0) for state in OVER]),
        made("Failure share", "share", ["failed or dead"], lambda at: [at.failure_share]),
        made("Waiting time", "seconds", both, lambda at: at.waiting or _UNKNOWN, "≈ to the start"),
        made("Running time", "seconds", both, lambda at: at.running or _UNKNOWN, "≈ start to end"),
        made("Steps", "steps", ["steps"], lambda at: [at.steps]),
        made("Credits", "credits", ["credits"], lambda at: [at.credits]),
    ]
    if price is not None:
        cost = float(price)
        found.append(made("Cost", "money", ["cost"], lambda at: [at.credits * cost]))
    return found


def _totals(total: ChartPoint, price: Decimal | None) -> list[tuple[str, str, str]]:
    """Return the figures of the whole time: names, values, and notes."""
    jobs, share = Counter(total.jobs), total.failure_share or 0.0
    cost = cost_of(total.credits, price)
    return [
        ("Ended", in_unit(jobs.total(), "jobs"), ""),
        ("Completed", in_unit(jobs["completed"], "jobs"), ""),
        ("Failed or dead", in_unit(jobs["failed"] + jobs["dead"], "jobs"), in_unit(share, "share")),
        ("Canceled", in_unit(jobs["canceled"], "jobs"), ""),
        ("Waiting", *_durations(total.waiting)),
        ("Running", *_durations(total.running)),
        ("Steps", in_unit(total.steps, "steps"), ""),
        ("Credits", in_unit(total.credits, "credits"), f"cost {cost}" if cost else ""),
    ]


def _durations(of: Durations | None) -> tuple[str, str]:
    """Return half the jobs' and 95 % of the jobs' seconds in words."""
    half, most = of or _UNKNOWN
    return f"≈ p50 {in_unit(half, 'seconds')}", f"≈ p95 {in_unit(most, 'seconds')}"


def _top(query: QueryParams, by: str, one: TopValue) -> dict[str, Any]:
    """Return one of the values that took most as the page shows it, with its charts."""
    address = _with(query, **{**dict.fromkeys(DIMENSIONS, ""), by: one.value})
    return {"of": one, "share": one.failures / one.jobs, "address": address}


def _group(
    group: ErrorGroup, account: str, wanted: Filter, price: Decimal | None
) -> dict[str, Any]:
    """Return a group of errors as the page shows it, with the query of its jobs."""
    pairs = [("account", account), *pairs_of(wanted._replace(error=group.id))]
    return {"of": group, "cost": cost_of(group.credits, price), "query": urlencode(pairs)}


def _with(query: Mapping[str, str], **changes: str) -> str:
    """Return the query of an address with some of its parameters changed; '' leaves one out."""
    return f"?{urlencode({name: text for name, text in {**query, **changes}.items() if text})}"
