"""A few short experiments; all of them are `make faults`."""

from pathlib import Path

import pytest

from faults.registry import experiments, perform

SHORT = {
    "SIGTERM with 50 submissions in flight": 50,
    "Redis with a full disk": 20,
    "garbage in the broker's list": 40,
}
#: Those that take more than 15 seconds.
SLOW = set(SHORT) - {"SIGTERM with 50 submissions in flight"}


@pytest.mark.acceptance
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in SHORT]
)
def test_no_invariant_is_broken_by(name: str, tmp_path: Path) -> None:
    found = perform(experiments()[name], SHORT[name], tmp_path)
    print(found)
    assert not found.broken
    assert (found.lost, found.doubled) == (0, 0)


def test_every_experiment_says_what_it_does() -> None:
    made = experiments()
    assert made
    assert all(each.fault and each.jobs for each in made.values())
