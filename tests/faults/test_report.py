"""docs/results/faults.csv has figures of experiments that exist, as `make faults` writes them."""

import csv
from pathlib import Path

from faults.checks import Judgement
from faults.registry import GROUPS, experiments
from faults.report import COLUMNS, rows

FILE = Path(__file__).parents[2] / "docs/results/faults.csv"


def test_every_row_is_of_an_experiment_that_exists() -> None:
    names, *made = csv.reader(FILE.read_text().splitlines())
    known = {(each.group, each.name) for each in experiments().values()}

    assert names == list(COLUMNS)
    assert made
    assert {(topic, name) for topic, name, *_ in made} <= known


def test_rows_are_in_the_order_of_topics_and_say_what_broke() -> None:
    every = experiments()
    chosen = [*reversed(every.values())]
    found = {name: Judgement(jobs=3, recovered=1.5, broken=["a job is gone"]) for name in every}

    _, *made = csv.reader(rows(chosen, found).splitlines())

    topics = [topic for topic, *_ in made]
    assert topics == sorted(topics, key=GROUPS.index)
    assert made[0][2:] == ["3", "0", "0", "0", "1.5", "BROKEN: a job is gone"]
