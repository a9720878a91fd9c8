"""Writes what `test_lost_answers.py` found into docs/results/lost_answers.csv, a row for each kind.

`python -m tests.real.report` after `make test-real`; it reads `.real/results/`.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.real.server import HOME

FILE = Path("docs/results/lost_answers.csv")
#: The servers in the order of the file, as they are named in `.real/results/`.
_SERVERS = ("1.0.56", "1.0.40", "simulated")
COUNTS = (
    *("jobs", "runs", "with_run", "with_run_settled", "without_run", "without_run_settled"),
    *("too_many", "lost", "wrong", "visible"),
)


def rows(server: str, table: Mapping[str, Any]) -> Iterator[list[str | int]]:
    """Yield the sums of each kind of request over all ways of losing its answer.

    Args:
        server: its name.
        table: what was found there.
    """
    for name, verdicts in table["kinds"].items():
        sums = [sum(one[count] for one in verdicts.values()) for count in COUNTS]
        yield [server, name, *sums]


def main() -> None:
    """Write the file."""
    files = {name: HOME / "results" / f"lost-answers-{name}.json" for name in _SERVERS}
    with FILE.open("w", newline="") as text:
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["server", "request", *COUNTS])
        for name, file in files.items():
            if file.exists():
                lines.writerows(rows(name, orjson.loads(file.read_bytes())))


if __name__ == "__main__":
    main()
