"""What `stats` and `top` show of an account: how it does, its jobs, rates and limits."""

from collections.abc import Iterable

from rich.text import Text

from runqueue.cli.shared.account_holds import hold_words
from runqueue.cli.shared.formatting import count_words, price_per_credit, printable
from runqueue.records.account import AccountStats
from runqueue.records.health import HealthLevel, health_of
from runqueue.records.job import JobState
from runqueue.records.run_figures import usage_of
from runqueue.store.limits import exact

_COLORS = {HealthLevel.GOOD: "green", HealthLevel.BUSY: "yellow", HealthLevel.STOPPED: "bold red"}
_TROUBLE = (JobState.UNCONFIRMED, JobState.DEAD)
#: States in which the number of jobs is shown although it is 0.
_ALWAYS = (JobState.READY, JobState.SCHEDULED, JobState.SUBMITTING, JobState.RUNNING)
#: Characters of the first line, at most: a reason may be as long as an answer.
_LONGEST = 400


def account_lines(stats: AccountStats, rates: Iterable[str] = ()) -> list[Text]:
    """Return the lines.

    Args:
        stats: the account's statistics.
        rates: its rates, in words.
    """
    health = health_of(stats)
    words = hold_words(stats) if stats.hold_reason else f"account {stats.account}: {health}"
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}…"
    lines = [Text(printable(words), _COLORS[health.level])]
    if stats.damage:
        return lines
    for head, parts in (
        ("jobs", _counts(stats)),
        ("rates", rates),
        ("limits", _limits(stats)),
        ("also", _others(stats)),
    ):
        if shown := list(map(_text, parts)):
            lines.append(Text(f"{head:<8}").append(Text("  ").join(shown)))
    return lines


def _text(part: Text | str) -> Text:
    return part if isinstance(part, Text) else Text(part)


def _counts(stats: AccountStats) -> Iterable[Text]:
    for state in JobState:
        n = stats.states.get(state, 0)
        if n or state in _ALWAYS:
            yield Text(f"{state.value} {n:,}", "bold yellow" if n and state in _TROUBLE else "")


def _limits(stats: AccountStats) -> Iterable[str]:
    used = stats.live + stats.orphans_live
    yield f"{used} of {stats.slots} slots" if stats.slots else f"{used} runs, no cap"
    if stats.shares_capacity:
        yield f"{'unknown' if stats.others is None else stats.others} run by others"
    for words, value, permits in (
        ("submissions", stats.full_pace, "submission"),
        ("calls", stats.limits.get("requests_per_second", 0), "request"),
    ):
        left = f" ({stats.permits[permits]} now)" if permits in stats.permits else ""
        yield f"{words} {value:g}/s{left}" if value else f"{words} unlimited"
    if stats.pace is not None:
        yield f"pace {stats.pace:.3g}/s (429)"
    for name, value in stats.overridden.items():
        yield f"set live: {name} {exact(value)}"


def _others(stats: AccountStats) -> Iterable[str]:
    yield f"workers {stats.processes}"
    if stats.oldest_ready_seconds is not None:
        yield f"oldest ready {stats.oldest_ready_seconds:.1f} s"
    if stats.orphans:
        live = f" ({stats.orphans_live} may still run, and take a slot)"
        yield f"orphans {stats.orphans}{live if stats.orphans_live else ''}"
    if stats.refused_lines:
        yield f"refused lines {stats.refused_lines:,} (`runqueue inbox list`)"
    if stats.paused_runs:
        yield f"paused runs {stats.paused_runs:,} (`runqueue jobs list --paused`)"
    if stats.quarantined:
        yield f"quarantined {stats.quarantined:,}"
    if stats.archive:
        yield stats.archive.words()
        if words := stats.archive.errors_words():
            yield f"{words} (`runqueue errors --since 24h`)"
    if words := usage_of(stats.totals).words(price_per_credit()):
        yield f"used {words} (credits of {stats.totals.get('credits:runs', 0):,} runs)"
    if words := count_words(stats.deliveries):
        yield f"webhooks {words} (`runqueue webhooks list`)"
