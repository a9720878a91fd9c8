"""The planted defects: they fit the tree, and the simulation finds them."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulation.planting.directed_plans import PLANS
from simulation.planting.search import Defect, StaleError, defects
from tests.simulation.simulated import ROOT


@pytest.mark.parametrize("defect", defects(), ids=lambda one: one.name)
def test_a_planted_defect_fits_the_tree(defect: Defect, tmp_path: Path) -> None:
    copy = tmp_path / defect.file
    copy.parent.mkdir(parents=True)
    copy.write_text((ROOT / defect.file).read_text())
    defect.plant(tmp_path)
    assert copy.read_text() != (ROOT / defect.file).read_text()


def test_each_directed_plan_is_of_one_planted_defect() -> None:
    names = [one.name for one in defects()]
    assert len(names) == len(set(names))
    assert PLANS.keys() <= set(names)


def test_a_defect_whose_text_is_gone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("pass\n")
    with pytest.raises(StaleError, match="stale: its text occurs 0 times"):
        Defect("stale", "a defect", "file.py", "before", "after").plant(tmp_path)


@pytest.mark.parametrize("how", ["--directed", pytest.param("--seeds=10", marks=pytest.mark.slow)])
def test_a_planted_defect_is_found(how: str) -> None:
    command = [sys.executable, "-m", "simulation.planting", "--at-once", "1", how]
    done = subprocess.run(
        [*command, "--only", "lost-answer-is-given-back"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 of 1 found" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("simulation.planting", "--only", "no-such"), "no defect's name contains 'no-such'"),
        (("simulation.planting", "--directed", "--write", "f"), "expected no file with --directed"),
        (("simulation", "--directed", "lost"), "expected a planted defect that has a plan"),
    ],
)
def test_what_names_nothing_is_refused(command: tuple[str, ...], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
