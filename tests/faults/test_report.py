"""The rows of docs/results/experiments.md are experiments that exist."""

import re
from pathlib import Path

from faults.registry import experiments

PAGE = (Path(__file__).parents[2] / "docs/results/experiments.md").read_text()


def test_every_row_of_the_results_is_an_experiment_that_exists() -> None:
    rows = re.findall(r"^\| (?:window: )?([^|]+?) \| (?:\d+|-) \|", PAGE, re.MULTILINE)

    assert rows
    assert set(rows) <= experiments().keys()
