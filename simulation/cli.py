"""The command: one seed with its history, or many seeds in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulation.plan import draw
from simulation.runs import Result, many, simulate
from simulation.shrinking import shrunk
from simulation.tally import Tally

#: Of one seed, broken invariants that are shown.
_SHOWN = 5

app = typer.Typer(add_completion=False)


@app.command()
def main(  # noqa: PLR0917 - each is an option
    seed: Annotated[int, typer.Option(help="The seed; with --seeds the first.")] = 0,
    seeds: Annotated[int, typer.Option(help="So many seeds, without their histories.")] = 0,
    minutes: Annotated[float, typer.Option(help="Simulated minutes of each.")] = 5.0,
    at_once: Annotated[int, typer.Option(help="Simulations at once.")] = 2,
    within: Annotated[float, typer.Option(help="Begin none after so many minutes; 0 = all.")] = 0.0,
    tally: Annotated[
        Path | None, typer.Option(help="Add up in this file, and go on there.")
    ] = None,
    shrink: Annotated[bool, typer.Option(help="Find the shortest plan that fails.")] = False,
    every_kind: Annotated[bool, typer.Option(help="Fail if a kind of fault was not met.")] = False,
) -> None:
    """Simulate the whole queue under a virtual clock; exits with 1 where an invariant fails."""
    if shrink:
        typer.echo(shrunk(draw(seed, minutes)))
        return
    if not seeds:
        result = simulate(draw(seed, minutes), sys.stdout)
        _show(result)
        raise typer.Exit(bool(result.wrong))
    sums = Tally.read(tally)
    for result in many(sums.left(seed, seeds), minutes, at_once, within * 60):
        sums.add(result)
        if result.wrong:
            _show(result)
        if tally is not None:
            sums.write(tally)
    typer.echo(sums.report())
    unmet = sums.unmet() if every_kind else []
    if unmet:
        typer.echo(f"never met: {', '.join(unmet)}")
    raise typer.Exit(bool(sums.failed or unmet))


def _show(result: Result) -> None:
    typer.echo(
        f"seed {result.seed}: digest {result.digest}, {result.events} events,"
        f" {result.minutes:.1f} simulated minutes, {result.jobs} jobs, {result.runs} runs"
    )
    for words in result.wrong[:_SHOWN]:
        typer.echo(f"  does not hold: {words}")
