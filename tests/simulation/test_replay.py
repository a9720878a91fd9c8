"""One seed is one exact history."""

from tests.simulation.simulated import simulate


def test_a_seed_has_the_same_history_in_every_interpreter() -> None:
    first = simulate("--seed", "3", hash_seed="1")
    second = simulate("--seed", "3", hash_seed="2")
    assert first.returncode == 0, first.stdout[-2000:]
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") > 500


def test_another_seed_has_another_history() -> None:
    assert simulate("--seed", "3").stdout != simulate("--seed", "4").stdout


def test_many_seeds_hold_and_their_faults_are_counted() -> None:
    done = simulate("--seed", "20", "--seeds", "4", "--at-once", "1", "--minutes", "2")
    assert done.returncode == 0, done.stdout
    assert "4 seeds, " in done.stdout
    assert "failed: none" in done.stdout


def test_a_kind_of_fault_that_was_never_met_fails_a_run_that_wants_every_kind() -> None:
    options = ("--seeds", "1", "--minutes", "0.5")
    assert simulate(*options).returncode == 0
    done = simulate(*options, "--every-kind")
    assert done.returncode == 1
    assert "never met: " in done.stdout
