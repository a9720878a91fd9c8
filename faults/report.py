"""What came of the experiments, for a terminal and for `docs/reliability.md`."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

from rich.table import Table

from faults.checks import Judgement
from faults.doubts import Tallies, Tally
from faults.registry import GROUPS, Experiment

_NONE = "-"
#: Between these stands what `make test-real` found; it is kept when the page is written anew.
LOST_ANSWERS = ("<!-- lost answers -->", "<!-- /lost answers -->")
#: Shares of the submissions in doubt that have to settle by themselves.
MARKED, UNMARKED = 1.0, 0.99
_COLUMNS = ("fault", "jobs", "lost", "doubled", "unconfirmed left", "recovers in", "notes")


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
    said = zip(_COLUMNS[1:], _cells(findings), strict=True)
    words = ", ".join(f"{name} {cell}" for name, cell in said)
    doubts = "".join(f"; in doubt, {line}" for line in _doubts(findings.doubts))
    return f"{findings.seconds:.0f} s: {words}{doubts}"


def doubts(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> str:
    """Return what became of every submission in doubt, windows apart."""
    return "; ".join(_doubts(_all_doubts(chosen, found))) or "none was in doubt"


def shortfalls(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> list[str]:
    """Return which share of the submissions in doubt was not settled as it has to be."""
    all_ = _all_doubts(chosen, found)
    return [
        f"of {tally.lost} {what} submissions in doubt only {tally.settled} were settled"
        for what, tally, least in (
            ("findable", all_.marked, MARKED),
            ("unmarkable", all_.unmarked, UNMARKED),
        )
        if tally.settled < least * tally.lost
    ]


def _all_doubts(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> Tallies:
    made = [found[each.name].doubts for each in chosen if each.name in found and not each.window]
    return sum(made, Tallies())


def _doubts(tallies: Tallies) -> list[str]:
    words = (
        ("findable by a marker", tallies.marked),
        ("recognised only by their request", tallies.unmarked),
    )
    return [f"{what}: {_share(tally)} settled by themselves" for what, tally in words if tally.lost]


def _share(tally: Tally) -> str:
    return f"{tally.settled} of {tally.lost} ({tally.settled / tally.lost:.1%})"


def page(chosen: Sequence[Experiment], found: Mapping[str, Judgement], before: str = "") -> str:
    """Return the document: `reliability.md` beside this module, each `{{topic}}` its table.

    Args:
        chosen, found: the experiments, and what came of them.
        before: the page as it was; what it says of lost answers stays.
    """
    text = (files("faults") / "reliability.md").read_text()
    start, end = LOST_ANSWERS
    if start in before and end in before:
        kept = before[before.index(start) : before.index(end)]
        text = text.replace(f"{start}\n", kept)
    made = [each for each in chosen if each.name in found]
    for group in GROUPS:
        rows = [each for each in made if each.group == group]
        text = text.replace(f"{{{{{group}}}}}", _rows(rows, found) if rows else "_Not made._")
    return text.replace("{{sum}}", _sum(made, found)).replace("{{doubts}}", doubts(made, found))


def _rows(chosen: Sequence[Experiment], found: Mapping[str, Judgement]) -> str:
    lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    for each in chosen:
        findings = found[each.name]
        cells = _cells(findings)
        if findings.broken:
            cells[-1] = "; ".join([f"**broken: {'; '.join(findings.broken)}**", cells[-1]])
        lines.append(_row([f"**{each.name}**: {each.fault}", *cells]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sum(made: Sequence[Experiment], found: Mapping[str, Judgement]) -> str:
    """Return the sum over every experiment that shows no known window."""
    shown = [found[each.name] for each in made if not each.window and not found[each.name].skipped]
    skipped = sum(bool(found[each.name].skipped) for each in made)
    words = (
        f"{len(shown)} experiments, {sum(f.jobs for f in shown):,} jobs,"
        f" {sum(f.runs for f in shown):,} runs: **{sum(f.lost for f in shown)} lost,"
        f" {sum(f.doubled for f in shown)} doubled**"
    )
    broken = sum(bool(f.broken) for f in shown)
    words += f"; **{broken} with a broken invariant**" if broken else ""
    return words + (f"; {skipped} could not be made" if skipped else "") + "."


def _cells(findings: Judgement) -> list[str]:
    if findings.skipped:
        return [_NONE] * 5 + [f"skipped: {findings.skipped}"]
    recovered = _NONE if findings.recovered is None else f"{findings.recovered:.1f} s"
    counts = (findings.jobs, findings.lost, findings.doubled, findings.unconfirmed)
    notes = [
        *findings.notes,
        *([f"{findings.strays} orphan runs shown"] if findings.strays else []),
    ]
    return [*map(str, counts), recovered, "; ".join(notes)]
