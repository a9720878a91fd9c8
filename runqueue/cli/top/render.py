"""The display of `runqueue top`: a snapshot as lines and tables."""

from collections.abc import Iterable

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from runqueue.cli.shared.account_lines import account_lines
from runqueue.cli.shared.formatting import printable
from runqueue.cli.top.snapshot import TopView, rate
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.records.health import HealthLevel, health_of

#: The most urgent first.
_URGENCY = (HealthLevel.STOPPED, HealthLevel.BUSY, HealthLevel.GOOD)
_RATES = (
    ("in", ("enqueued",)),
    ("claimed", ("claims",)),
    ("back", ("given_back:",)),
    ("done", ("ended:completed",)),
    ("bad", ("ended:failed", "ended:canceled", "ended:dead")),
)


def picture(before: TopView | None, now: TopView, *, where: str, trouble: str) -> RenderableType:
    """Return a snapshot as lines and tables; accounts that need a person come first.

    Args:
        before: the snapshot before, for the rates; None = there was none.
        now: what is shown.
        where: the queue's Redis, without its password.
        trouble: the error of the last poll, '' = none.
    """
    words = printable(trouble or f"{where}  (Ctrl-C ends)")
    parts: list[RenderableType] = [Text(f"runqueue  {words}", "bold red" if trouble else "bold")]
    for stats in sorted(now.stats.values(), key=_urgency):
        parts += ["", *account_lines(stats, _rates(before, now, stats.account))]
    batches = (
        (one.id, one.account, f"{_done(one):,} of {one.total:,}", _held(one), printable(one.name))
        for one in now.batches
    )
    workers = (
        (one.name, one.account, f"{one.submitting:,}", f"{one.heartbeat_seconds:.0f} s ago")
        for one in now.processes
    )
    groups = (
        (
            one.name,
            one.account,
            f"{one.live:,}",
            "none" if one.max_concurrent is None else f"{one.max_concurrent:,}",
            "paused" if one.paused else "waits" if one.ready else "",
        )
        for one in sorted(now.groups, key=lambda one: (-one.live, not one.ready, one.name))
    )
    parts += _table(("batch", "account", "done", "status", "name"), batches)
    parts += _table(("worker", "account", "submitting", "heard"), workers)
    parts += _table(("group", "account", "live", "cap", ""), groups)
    return Lines(*parts)


def _urgency(stats: AccountStats) -> int:
    return _URGENCY.index(health_of(stats).level)


def _rates(before: TopView | None, now: TopView, account: str) -> Iterable[str]:
    for words, totals in _RATES:
        found = rate(before, now, account, *totals)
        yield f"{words} {'?' if found is None else f'{found:.1f}'}/s"


def _done(batch: Batch) -> int:
    return sum(n for state, n in batch.states.items() if state.is_over)


def _held(batch: Batch) -> str:
    waits = f"waits for paused group {batch.paused_group}" if batch.paused_group else None
    why = ": ".join(filter(None, (batch.held, printable(batch.held_reason or ""))))
    return ", ".join(filter(None, (batch.status.value, why, waits)))


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[RenderableType]:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*map(Text, row))
    return ["", table] if table.row_count else []
