"""Writes the sums of `test_lost_answers.py` into docs/results/lost_answers.md, a row a server.

`python -m tests.real.report` after `make test-real`; it reads `.real/results/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.real.server import HOME

_PAGE = Path("docs/results/lost_answers.md")
#: The servers, as they are named in `.real/results/`.
_SERVERS = ("1.0.56", "1.0.40", "simulated")
#: Sums of a server's table, by their columns.
_COLUMNS = {
    "jobs": "jobs",
    "runs": "runs",
    "too many": "too_many",
    "lost": "lost",
    "of another job": "wrong",
    "answers lost with a run": "with_run",
    "settled": "with_run_settled",
    "without": "without_run",
    "resubmitted": "without_run_settled",
    "left unconfirmed": "visible",
}


def page(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page: the sums of each server.

    Args:
        tables: what was found, by server.
    """
    lines = [_row(["server", "kinds", *_COLUMNS]), _row(["---"] * (len(_COLUMNS) + 2))]
    for name, table in tables.items():
        sums = [str(table["total"][column]) for column in _COLUMNS.values()]
        lines.append(_row([name, str(len(table["kinds"])), *sums]))
    return "\n".join(["# Lost answers, on real servers", "", *lines, ""])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Write the page."""
    files = {name: HOME / "results" / f"lost-answers-{name}.json" for name in _SERVERS}
    tables = {
        name: orjson.loads(file.read_bytes()) for name, file in files.items() if file.exists()
    }
    _PAGE.write_text(page(tables))


if __name__ == "__main__":
    main()
