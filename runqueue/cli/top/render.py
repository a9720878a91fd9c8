"""The display of `runqueue top`: a snapshot as lines that fit a terminal, 80 by 24 or larger."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from runqueue.cli.follow.account_holds import hold_words
from runqueue.cli.shared.formatting import count_words, printable
from runqueue.cli.top.snapshot import TopView, rate
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.records.health import HealthLevel, health_of
from runqueue.records.job import JobState
from runqueue.store.groups import Group
from runqueue.store.limits import exact
from runqueue.store.live_processes import Process

_COLORS = {HealthLevel.GOOD: "green", HealthLevel.BUSY: "yellow", HealthLevel.STOPPED: "bold red"}
#: From the least urgent to the most urgent.
_URGENCY = (HealthLevel.GOOD, HealthLevel.BUSY, HealthLevel.STOPPED)
_WAITING = (JobState.READY, JobState.SCHEDULED, JobState.SUBMITTING, JobState.RUNNING)
_ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)
_TROUBLE = (JobState.UNCONFIRMED, JobState.DEAD)
#: Cells of a line's label.
_HEAD = 7
#: Rows of a table, the heading first; the second column is the account.
_Rows = Sequence[tuple[str, ...]]
#: Cells of a bar.
_BAR = 10
#: The share of the display that one sentence may take: a reason may be as long as an answer.
_SHARE = 4
#: Breaks sentences into lines; nothing is printed on it.
_PLAIN = Console()
#: Lines that a table takes at least: its heading and one row.
_LEAST = 2


def picture(
    before: TopView | None,
    now: TopView,
    *,
    where: str,
    trouble: str,
    width: int,
    height: int | None,
) -> Text:
    """Return a snapshot as lines.

    Args:
        before: the snapshot before, for the rates; None = there was none.
        now: what is shown.
        where: the queue's Redis, without its password.
        trouble: the error of the last poll, '' = none.
        width, height: of the terminal, in cells; height None = as many lines as there are.
    """
    most = None if height is None else max(_LEAST, height // _SHARE)
    lines = _head(now, where, trouble, width, most)
    room = None if height is None else height - len(lines)
    blocks = [(stats, _account(before, now, stats, width, most)) for stats in now.stats.values()]
    lines += _accounts(blocks, width, room)
    rows = (_groups(now.groups), _batches(now.batches), _processes(now.processes))
    tables = [_table(some, with_account=len(now.stats) > 1) for some in rows if len(some) > 1]
    room = None if height is None else height - len(lines)
    for table in _fitted(tables, room):
        lines += [_cut(line, width) for line in table]
    return Text("\n").join(lines if height is None else lines[:height])


def _head(now: TopView, where: str, trouble: str, width: int, most: int | None) -> list[Text]:
    if trouble:
        return _sentence(f"runqueue  {printable(trouble)}", "bold red", width, most)
    accounts = f", {len(now.stats)} accounts" if len(now.stats) > 1 else ""
    return [_cut(Text(f"runqueue  {printable(where)}{accounts}  (Ctrl-C ends)", "bold"), width)]


def _accounts(
    blocks: list[tuple[AccountStats, list[Text]]], width: int, room: int | None
) -> list[Text]:
    """Return the accounts' lines; if not all fit, those that need a person come first."""
    if room is None or sum(len(lines) for _, lines in blocks) <= room:
        return [line for _, lines in blocks for line in lines]
    blocks.sort(key=lambda block: -_URGENCY.index(health_of(block[0]).level))
    shown: list[Text] = []
    while blocks and (not shown or len(shown) + len(blocks[0][1]) < room):
        shown += blocks.pop(0)[1]
    if not blocks:
        return shown
    stopped = sum(health_of(stats).level is HealthLevel.STOPPED for stats, _ in blocks)
    words = f"… {len(blocks):,} more account{'' if len(blocks) == 1 else 's'}"
    if stopped:
        words += f", {stopped:,} of them stopped"
    left_out = _cut(Text(words, _COLORS[HealthLevel.STOPPED] if stopped else "dim"), width)
    return [*shown[: max(0, room - 1)], left_out]


def _account(
    before: TopView | None, now: TopView, stats: AccountStats, width: int, most: int | None
) -> list[Text]:
    name = stats.account
    health = health_of(stats)
    words = hold_words(stats) if stats.hold_reason else f"account {name}: {health}"
    lines = [Text(""), *_sentence(printable(words), _COLORS[health.level], width, most)]
    for head, parts in (
        ("jobs", _counts(stats)),
        ("rates", _rates(before, now, name)),
        ("limits", _limits(stats)),
        ("also", _news(stats)),
    ):
        lines += _wrapped(head, parts, width)
    return [_cut(line, width) for line in lines]


def _sentence(words: str, style: str, width: int, most: int | None) -> list[Text]:
    """Return words in as many lines as they need, cut off after `most`."""
    lines = list(Text(words, style).wrap(_PLAIN, width))
    if most is None or len(lines) <= most:
        return lines
    return [*lines[: most - 1], _cut(Text(f"{lines[most - 1].plain} …", style), width)]


def _wrapped(head: str, parts: Sequence[Text | str], width: int) -> list[Text]:
    """Return parts in as many lines as they need, none of them cut off; [] without parts."""
    lines: list[Text] = []
    for part in parts:
        if lines and cell_len(lines[-1].plain) + 2 + cell_len(str(part)) <= width:
            lines[-1].append("  ").append(part)
        else:
            lines.append(Text(f"{'' if lines else head:<{_HEAD}}").append(part))
    return lines


def _counts(stats: AccountStats) -> list[Text]:
    shown = []
    for state in (*_WAITING, *_TROUBLE, *_ENDED):
        n = stats.states.get(state, 0)
        if n or state in _WAITING:
            style = "bold yellow" if n and state in _TROUBLE else ""
            shown.append(Text(f"{state.value} {short(n)}", style=style))
    return shown


def _rates(before: TopView | None, now: TopView, account: str) -> list[str]:
    return [
        f"{words} {_per_second(rate(before, now, account, *totals))}"
        for words, totals in (
            ("in", ("enqueued",)),
            ("claimed", ("claims",)),
            ("back", ("given_back:",)),
            ("done", ("ended:completed",)),
            ("bad", ("ended:failed", "ended:canceled", "ended:dead")),
        )
    ]


def _limits(stats: AccountStats) -> list[str]:
    used, slots = stats.live + stats.orphans_live, stats.limits.get("concurrent_runs", 0)
    parts = [f"{_bar(used / slots)} {used}/{slots:g} slots" if slots else f"{used} runs, no cap"]
    for words, value, permits in (
        ("submissions", stats.full_pace, "submission"),
        ("calls", stats.limits.get("requests_per_second", 0), "request"),
    ):
        left = f" ({stats.permits[permits]} now)" if permits in stats.permits else ""
        parts.append(f"{words} {value:g}/s{left}" if value else f"{words} unlimited")
    if stats.pace is not None:
        parts.append(f"pace {stats.pace:.3g}/s (429)")
    return parts


def _news(stats: AccountStats) -> list[str]:
    """Return the values that are shown only at times."""
    parts = []
    if stats.oldest_ready_seconds is not None:
        parts.append(f"oldest ready {seconds(stats.oldest_ready_seconds)}")
    if stats.orphans:
        parts.append(f"orphans {stats.orphans}")
    if stats.refused_lines:
        parts.append(f"refused lines {stats.refused_lines:,}")
    if stats.quarantined:
        parts.append(f"quarantined {stats.quarantined:,}")
    if stats.overridden:
        *some, last = (f"{name} {exact(value)}" for name, value in stats.overridden.items())
        set_live = [*(f"{words}," for words in some), last]
        parts += [f"set live: {set_live[0]}", *set_live[1:]]
    if words := count_words(stats.deliveries):
        parts.append(f"webhooks {words}")
    return parts


def _groups(groups: Sequence[Group]) -> _Rows:
    """Return the groups, those with the most slots first."""
    rows = [("group", "account", "live", "cap", "")]
    for group in sorted(groups, key=lambda group: (-group.live, not group.waiting, group.name)):
        cap = "none" if group.max_concurrent is None else f"{group.max_concurrent:,}"
        said = "paused" if group.paused else "waits" if group.waiting else ""
        rows.append((group.name, group.account, f"{group.live:,}", cap, said))
    return rows


def _batches(batches: Sequence[Batch]) -> _Rows:
    rows = [("batch", "account", "done", "", "of", "status")]
    for batch in batches:
        done = sum(n for state, n in batch.states.items() if state.is_over)
        share = done / batch.total if batch.total else 0.0
        waits = f"waits for paused group {batch.paused_group}" if batch.paused_group else None
        why = ": ".join(filter(None, (batch.held, printable(batch.held_reason or ""))))
        held = ", ".join(filter(None, (why, waits)))
        status = f"{batch.status.value}{f', {held}' if held else ''}  "
        rows.append(
            (
                batch.id,
                batch.account,
                short(done),
                _bar(share),
                short(batch.total),
                status + printable(batch.name),
            )
        )
    return rows


def _processes(processes: Sequence[Process]) -> _Rows:
    rows = [("worker", "account", "submitting", "heard")]
    for process in processes:
        heard = f"{process.heartbeat_seconds:.0f} s ago"
        rows.append((process.name, process.account, f"{process.submitting:,}", heard))
    return rows


def _table(rows: _Rows, *, with_account: bool) -> list[Text]:
    """Return rows as lines with aligned cells, the first the heading."""
    if not with_account:
        rows = [(row[0], *row[2:]) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = [
        Text("  ".join(set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)))
        for row in rows
    ]
    lines[0].stylize("dim")
    return lines


def _fitted(tables: Sequence[list[Text]], room: int | None) -> Iterable[list[Text]]:
    """Cut tables to the lines that are left; lines that one does not need go to the next.

    Each has an empty line above it, and shows how many rows are left out.
    """
    for place, table in enumerate(tables):
        if room is None:
            yield [Text(""), *table]
            continue
        share = room // (len(tables) - place) - 1
        if share < _LEAST:
            return
        shown = table
        if len(table) > share:
            shown = [*table[: share - 1], Text(f"… {len(table) - share + 1:,} more", "dim")]
        yield [Text(""), *shown]
        room -= len(shown) + 1


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _bar(share: float) -> str:
    full = round(min(max(share, 0.0), 1.0) * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _per_second(found: float | None) -> str:
    return "?/s" if found is None else f"{found:.1f}/s"


def short(number: int) -> str:
    """Return a number in a few cells: 9,999, 12.3k, 1.25M."""
    if number < 10_000:
        return f"{number:,}"
    if number < 1_000_000:
        return f"{number / 1000:.1f}k"
    return f"{number / 1_000_000:.2f}M"


def seconds(found: float) -> str:
    """Return a time in the largest unit that fits."""
    if found < 60:
        return f"{found:.1f} s"
    return f"{found / 60:.0f} min" if found < 3600 else f"{found / 3600:.1f} h"
