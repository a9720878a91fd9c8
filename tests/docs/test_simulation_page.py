"""The page of the simulation: every kind of fault, option and module, and the planted defects."""

import re
from pathlib import Path

import typer.main

from simulation.cli import app
from simulation.plan import FAULTS
from simulation.planting.directed_plans import PLANS
from simulation.planting.search import defects

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/simulation.md").read_text()


def test_every_kind_of_fault_is_listed_with_its_duration() -> None:
    listed = re.findall(r"^\| `([^`]+)` \| ([\d.]+ to [\d.]+|at once) \|", PAGE, re.MULTILINE)

    assert listed == [
        (kind, f"{least:g} to {most:g}" if most else "at once")
        for kind, (least, most) in FAULTS.items()
    ]


def test_every_option_is_listed() -> None:
    options = {
        name.removeprefix("--no-") if name.startswith("--no-") else name.removeprefix("--")
        for parameter in typer.main.get_command(app).params
        for name in parameter.opts
        if name != "--help"
    }

    assert set(re.findall(r"^\| `--([\w-]+)` \|", PAGE, re.MULTILINE)) == options


def test_the_module_of_each_role_is_named() -> None:
    roles = {"faults", "operators", "plan", "processes", "producers", "programs", "runs", "server"}
    roles |= {"course", "skyvern", "strangers", "world", "marks", "second_account"}
    roles |= {f"virtual/{name}" for name in ("loop", "network", "seams")}
    roles |= {f"judges/{path.stem}" for path in (ROOT / "simulation/judges").glob("[!_]*.py")}
    roles.add("planting/directed_plans")

    named = set(re.findall(r"`simulation/([\w/]+)\.py`", PAGE))
    assert named == roles
    assert all((ROOT / f"simulation/{name}.py").exists() for name in named)


def test_each_defect_that_it_found_has_its_test() -> None:
    found = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)

    assert found
    assert [
        name
        for file, name in found
        if not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ] == []


def test_the_tables_of_planted_defects_agree_with_their_counts() -> None:
    table = PAGE.partition("| seeds | defects |")[2].partition("\n\n")[0]
    listed = re.findall(r"`([\w-]+)`", table)
    every = [one.name for one in defects()]

    assert len(listed) == len(set(listed))
    assert set(listed) <= set(every)
    assert f"found {len(listed)} of the {len(every)} defects" in PAGE
    assert f"For {len(PLANS)} of the {len(every)} defects" in PAGE
