"""Plants the defects one by one, and searches a seed, or takes a plan, that shows each.

Each defect of `planted.toml` is planted in a copy of the tree, and seeds are simulated there until
one fails. The author of the defects had not seen the simulation's checks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from simulation.planting.directed_plans import PLANS

ROOT = Path(__file__).parents[2]
PLANTED = Path(__file__).with_name("planted.toml")
_PACKAGES = (
    *("runqueue", "api_client", "webhooks", "worker", "gateway", "config", "simulator"),
    "simulation",
)

app = typer.Typer(add_completion=False)


class StaleError(ValueError):
    """The text that a defect replaces is not in the tree; the message names the defect."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One planted defect.

    Args:
        name: a name for the command line.
        what: the defect, in a sentence.
        file: the changed file, relative to the root.
        before, after: the text, which occurs once, and its replacement.
    """

    name: str
    what: str
    file: str
    before: str
    after: str

    def plant(self, root: Path) -> None:
        """Replace its text in a tree.

        Raises:
            StaleError: the text does not occur there, or more than once.
        """
        file = root / self.file
        text = file.read_text()
        if text.count(self.before) != 1:
            raise StaleError(f"{self.name}: its text occurs {text.count(self.before)} times")
        file.write_text(text.replace(self.before, self.after))


def defects() -> list[Defect]:
    """Return all planted defects."""
    return [Defect(**one) for one in tomllib.loads(PLANTED.read_text())["defect"]]


@app.command()
def main(  # noqa: PLR0917 - each is an option
    seeds: Annotated[int, typer.Option(help="Seeds to simulate with each defect.")] = 100,
    minutes: Annotated[float, typer.Option(help="Simulated minutes of each.")] = 3.0,
    directed: Annotated[
        bool, typer.Option(help="Simulate the plan made for each, instead of seeds.")
    ] = False,
    only: Annotated[str, typer.Option(help="Defects whose names contain this.")] = "",
    at_once: Annotated[int, typer.Option(help="Defects at once.")] = 2,
    write: Annotated[
        Path | None, typer.Option(help="Keep the findings in this file, and continue there.")
    ] = None,
) -> None:
    """Plant defects one by one, and say at which seed each is found."""
    if directed and write is not None:
        raise typer.BadParameter("expected no file with --directed", param_hint="--write")
    found: dict[str, int | None] = {}
    if write is not None and write.exists():
        found = json.loads(write.read_text())
    named = [one for one in defects() if only in one.name]
    if not named:
        raise typer.BadParameter(f"no defect's name contains {only!r}", param_hint="--only")
    chosen = [one for one in named if found.get(one.name) is None]
    if directed:
        chosen, seeds = [one for one in chosen if one.name in PLANS], 0
    for defect, seed, outcome in _search_all(chosen, seeds, minutes, at_once):
        found[defect.name] = seed
        typer.echo(f"{defect.name}: {'not found' if seed is None else f'seed {seed}'} {outcome}")
        if write is not None:
            write.write_text(json.dumps(found, indent=1, sort_keys=True))
    if not directed:
        typer.echo(_table(found))
    missed = sorted(name for name, seed in found.items() if seed is None)
    without_plan = [one.name for one in named if directed and one.name not in PLANS]
    for words, names in (("not found", missed), ("no plan is made for", without_plan)):
        if names:
            typer.echo(f"{words}: {', '.join(names)}")
    typer.echo(f"{len(found) - len(missed)} of {len(found)} found")
    raise typer.Exit(bool(missed))


def _table(found: Mapping[str, int | None]) -> str:
    """Return within how many seeds each defect was found."""
    by_seed: dict[int, list[str]] = {}
    for name, seed in sorted(found.items()):
        if seed is not None:
            by_seed.setdefault(seed, []).append(name)
    rows = (f"{seed + 1:4}: {', '.join(names)}" for seed, names in sorted(by_seed.items()))
    return "\n".join(["seeds until found:", *rows])


def _search_all(
    chosen: list[Defect], seeds: int, minutes: float, at_once: int
) -> Iterator[tuple[Defect, int | None, str]]:
    with ThreadPoolExecutor(at_once) as pool:
        searches = {pool.submit(_search, defect, seeds, minutes): defect for defect in chosen}
        for one in as_completed(searches):
            yield searches[one], *one.result()


def _search(defect: Defect, seeds: int, minutes: float) -> tuple[int | None, str]:
    """Return the first seed that fails with a defect, and how."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for package in _PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, root / package, ignore=ignored)
        defect.plant(root)
        command = [sys.executable, "-m", "simulation", "--seeds", str(seeds), "--first"]
        if not seeds:
            command += ["--directed", defect.name]
        command += ["--minutes", str(minutes)]
        if defect.name in PLANS and PLANS[defect.name].schedules:
            command.append("--schedules")
        started = time.monotonic()
        done = subprocess.run(
            [*command, "--at-once", "1"], cwd=root, capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            if done.returncode and line.startswith("seed "):
                seed = int(line.removeprefix("seed ").partition(":")[0])
                how = done.stdout.partition("does not hold: ")[2].partition("\n")[0][:150]
                own = seed if seeds else PLANS[defect.name].seed
                other = f"(not the plan's own, {own}) " if seed != own else ""
                return seed, f"{other}after {time.monotonic() - started:.0f} s: {how}"
        if done.returncode:
            return None, done.stderr[-300:]
        return None, f"in {time.monotonic() - started:.0f} s"
