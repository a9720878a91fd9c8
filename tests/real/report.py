"""Writes what `test_lost_answers.py` found into docs/reliability.md, a line for each kind.


`python -m tests.real.report` after `make test-real`; it reads `.real/results/`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from faults.report import LOST_ANSWERS
from tests.real.server import HOME

_PAGE = Path("docs/reliability.md")
#: The servers whose tables stand side by side, as they are named in `.real/results/`.
_SERVERS = ("1.0.56", "1.0.40", "simulated")
_SUMS = ("too_many", "lost", "wrong")


def section(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the section: a sentence for each server, and a table.

    Args:
        tables: what was found, by server.
    """
    lines = [_sentence(name, tables[name]) for name in _SERVERS if name in tables]
    shown = [name for name in _SERVERS if name in tables]
    lines += ["", _row(["request", *shown]), _row(["---"] * (len(shown) + 1))]
    names = dict.fromkeys(name for each in shown for name in tables[each]["kinds"])
    lines += [_row([name, *(_cell(tables[each], name) for each in shown)]) for name in names]
    return "\n".join(lines)


def _sentence(name: str, table: Mapping[str, Any]) -> str:
    total = table["total"]
    server = "The simulator" if name == "simulated" else f"Skyvern {name}"
    return (
        f"- {server}: {len(table['kinds'])} kinds, {total['jobs']} jobs, {total['runs']} runs: "
        f"**{total['too_many']} runs too many, {total['lost']} lost, {total['wrong']} given to a "
        f"job that asked for something else**; of {total['with_run']} lost answers with a run "
        f"{total['with_run_settled']} settled by themselves, of {total['without_run']} without one "
        f"{total['without_run_settled']}; {total['visible']} stayed unconfirmed, for a person."
    )


def _cell(table: Mapping[str, Any], name: str) -> str:
    """Return a kind's sums over all ways of losing an answer."""
    if name not in table["kinds"]:
        return "-"
    sums: dict[str, int] = {}
    for verdict in table["kinds"][name].values():
        for key, value in verdict.items():
            sums[key] = sums.get(key, 0) + value
    words = [
        f"{sums['jobs']} jobs, {sums['runs']} runs",
        f"{sums['with_run_settled']}/{sums['with_run']} with a run",
        f"{sums['without_run_settled']}/{sums['without_run']} without",
    ]
    words += [f"**{sums[key]} {key.replace('_', ' ')}**" for key in _SUMS if sums[key]]
    words += [f"{sums['visible']} left"] if sums["visible"] else []
    return "; ".join(words)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Put the section into the page."""
    files = {name: HOME / "results" / f"lost-answers-{name}.json" for name in _SERVERS}
    tables = {
        name: orjson.loads(file.read_bytes()) for name, file in files.items() if file.exists()
    }
    start, end = LOST_ANSWERS
    text = re.sub(
        f"{re.escape(start)}.*?{re.escape(end)}",
        lambda _: f"{start}\n{section(tables)}\n{end}",
        _PAGE.read_text(),
        flags=re.DOTALL,
    )
    _PAGE.write_text(text)


if __name__ == "__main__":
    main()
