"""Adding up seeds, and going on where the last run ended."""

import subprocess
from pathlib import Path

import pytest

from simulation.marks import MARKS
from simulation.runs import Result
from simulation.tally import SeedTally


def result(seed: int, *violations: str, **faults_met: int) -> Result:
    return Result(seed, "d", 10, 5.0, 1.0, 2, 3, dict(faults_met), {}, list(violations))


def test_results_add_up() -> None:
    tally = SeedTally()
    for seed in (3, 1, 2):
        tally.add(result(seed, **{"calls are lost": 2}))
    assert (tally.seeds, tally.count, tally.minutes, tally.runs) == ([(1, 3)], 3, 15.0, 9)
    assert tally.faults_met == {"calls are lost": 6}
    assert "calls are lost" not in tally.never_met()
    assert "redis restarts" in tally.never_met()


def test_a_mark_that_no_seed_reached_is_named() -> None:
    tally, first = SeedTally(), result(1)
    first.marks = {MARKS[0]: 2}
    tally.add(first)
    assert MARKS[0] not in tally.never_met()
    assert MARKS[1] in tally.never_met()
    assert f"2  {MARKS[0]}" in tally.report()


def test_a_seed_that_fails_is_named() -> None:
    tally = SeedTally()
    tally.add(result(7, "I1: lost"))
    assert "failed: [7]" in tally.report()


def test_seeds_that_were_simulated_at_the_same_commit_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "tally.json"
    tally = SeedTally.read(file, 5.0)
    tally.add(result(0))
    tally.add(result(2))
    tally.write(file)
    assert list(SeedTally.read(file, 5.0).remaining(0, 4)) == [1, 3]
    assert SeedTally.read(file, 3.0).count == 0, "they were of another length"


def test_each_change_of_a_tree_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, file = tmp_path / "tree", tmp_path / "tally.json"
    tree.mkdir()
    source = tree / "source.py"
    git = ["git", "-C", str(tree), "-c", "user.name=a", "-c", "user.email=a@b.test"]
    source.write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr("simulation.tally._ROOT", tree)

    def simulated() -> int:
        tally = SeedTally.read(file, 5.0)
        count = tally.count
        tally.add(result(0))
        tally.write(file)
        return count

    assert (simulated(), simulated()) == (0, 1)
    source.write_text("2")
    assert (simulated(), simulated()) == (0, 1)
    source.write_text("3")
    assert (simulated(), simulated()) == (0, 1)
    (tree / "another.py").write_text("1")
    assert (simulated(), simulated()) == (0, 1)
