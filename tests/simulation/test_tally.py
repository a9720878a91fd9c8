"""Adding up seeds, and going on where the last run ended."""

from pathlib import Path

from simulation.runs import Result
from simulation.tally import SeedTally


def result(seed: int, *violations: str, **faults_met: int) -> Result:
    return Result(seed, "d", 10, 5.0, 1.0, 2, 3, dict(faults_met), list(violations))


def test_results_add_up() -> None:
    tally = SeedTally()
    for seed in (3, 1, 2):
        tally.add(result(seed, **{"calls are lost": 2}))
    assert (tally.seeds, tally.count, tally.minutes, tally.runs) == ([(1, 3)], 3, 15.0, 9)
    assert tally.faults_met == {"calls are lost": 6}
    assert "calls are lost" not in tally.never_met()
    assert "redis restarts" in tally.never_met()


def test_a_seed_that_fails_is_named() -> None:
    tally = SeedTally()
    tally.add(result(7, "I1: lost"))
    assert "failed: [7]" in tally.report()


def test_seeds_that_were_simulated_at_the_same_commit_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "tally.json"
    tally = SeedTally.read(file)
    tally.add(result(0))
    tally.add(result(2))
    tally.write(file)
    assert list(SeedTally.read(file).remaining(0, 4)) == [1, 3]


def test_another_commit_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "tally.json"
    tally = SeedTally.read(file)
    tally.commit = "another"
    tally.add(result(0))
    tally.write(file)
    assert SeedTally.read(file).count == 0
