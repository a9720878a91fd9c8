"""What came of the experiments, for a terminal and for `docs/results/faults.csv`."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

from rich.table import Table

from faults.checks import Judgement
from faults.registry import GROUPS, Experiment
from faults.unconfirmed import Tallies, Tally

_NONE = "-"
#: Shares of the unconfirmed submissions that have to settle by themselves.
MARKED, NO_MARKER = 1.0, 0.99
_FIGURES = ("jobs", "lost", "doubled", "unconfirmed left", "recovers in", "notes")
#: Of the file.
COLUMNS = (
    *("topic", "experiment", "jobs", "lost", "doubled"),
    *("unconfirmed_left", "recovers_seconds", "notes"),
)


def listing(chosen: Sequence[Experiment]) -> Table:
    """Return the experiments' names and faults."""
    shown = Table("topic", "experiment", "fault", "jobs")
    for each in chosen:
        shown.add_row(each.group, each.name, each.fault, str(each.jobs))
    return shown


def table(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> Table:
    """Return the figures for a terminal; notes and what broke are told line by line before."""
    shown = Table("fault", "jobs", "lost", "doubled", "left", "recovers", "took")
    for each in chosen:
        findings = found[each.name]
        name = f"BROKEN: {each.name}" if findings.broken else each.name
        style = "red" if findings.broken else None
        shown.add_row(name, *_cells(findings)[:-1], f"{findings.seconds:.0f} s", style=style)
    return shown


def sentence(findings: Judgement) -> str:
    """Return the figures of one experiment in a line."""
    said = zip(_FIGURES, _cells(findings), strict=True)
    words = ", ".join(f"{name} {cell}" for name, cell in said)
    settled = "".join(f"; {line}" for line in _lines(findings.tallies))
    return f"{findings.seconds:.0f} s: {words}{settled}"


def settled(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> str:
    """Return what became of every unconfirmed submission, windows apart."""
    return "; ".join(_lines(_tallies(chosen, found))) or "none was unconfirmed"


def shortfalls(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> list[str]:
    """Return which share of the unconfirmed submissions was not settled as it has to be."""
    all_ = _tallies(chosen, found)
    return [
        f"of {tally.lost} {what} unconfirmed submissions only {tally.settled} were settled"
        for what, tally, least in (
            ("findable", all_.marked, MARKED),
            ("no_marker", all_.no_marker, NO_MARKER),
        )
        if tally.settled < least * tally.lost
    ]


def _tallies(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> Tallies:
    made = [found[each.name].tallies for each in chosen if each.name in found and not each.window]
    return sum(made, Tallies())


def _lines(tallies: Tallies) -> list[str]:
    words = (
        ("findable by a marker", tallies.marked),
        ("recognised only by their request", tallies.no_marker),
    )
    return [f"{what}: {_share(tally)} settled by themselves" for what, tally in words if tally.lost]


def _share(tally: Tally) -> str:
    return f"{tally.settled} of {tally.lost} ({tally.settled / tally.lost:.1%})"


def rows(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> str:
    """Return the figures as CSV, in the order of the topics.

    Args:
        chosen, found: the experiments, and what came of them.
    """
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    made = [each for each in chosen if each.name in found]
    for each in sorted(made, key=lambda one: GROUPS.index(one.group)):
        findings = found[each.name]
        *counts, _, notes = _cells(findings)
        broken = [f"BROKEN: {one}" for one in findings.broken]
        seconds = "" if findings.recovered is None else f"{findings.recovered:.1f}"
        words = "; ".join(filter(None, [*broken, notes]))
        lines.writerow([each.group, each.name, *counts, seconds, words])
    return text.getvalue()


def _cells(findings: Judgement) -> list[str]:
    if findings.skipped:
        return [_NONE] * 5 + [f"skipped: {findings.skipped}"]
    recovered = _NONE if findings.recovered is None else f"{findings.recovered:.1f} s"
    counts = (findings.jobs, findings.lost, findings.doubled, findings.unconfirmed)
    notes = [
        *findings.notes,
        *([f"{findings.orphans} orphan runs shown"] if findings.orphans else []),
    ]
    return [*map(str, counts), recovered, "; ".join(notes)]
