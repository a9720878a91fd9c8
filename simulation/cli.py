"""The command: one seed with its history, or many seeds without theirs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from simulation.plan import draw
from simulation.planting.directed_plans import PLANS
from simulation.replay import differences
from simulation.runs import Result, simulate, simulate_many
from simulation.shrinking import shrink_plan
from simulation.tally import SeedTally

#: As `--directed`: each plan that was made by hand.
ALL = "all"
#: How many violations of one seed are shown.
_SHOWN = 5

app = typer.Typer(add_completion=False)


@app.command()
def main(  # noqa: PLR0917 - each is an option
    seed: Annotated[int, typer.Option(help="The seed; with --seeds the first.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=0, help="How many seeds to simulate, without their histories.")
    ] = 0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Simulated minutes of each.")] = 5.0,
    at_once: Annotated[int, typer.Option(min=1, help="Simulations at once.")] = 2,
    within: Annotated[
        float, typer.Option(min=0, help="Start no seed after so many minutes; 0 = no limit.")
    ] = 0.0,
    tally: Annotated[
        Path | None, typer.Option(help="Keep the sums in this file, and continue there.")
    ] = None,
    first: Annotated[
        bool, typer.Option(help="Stop at the first seed that fails; a plan's own, or 0 to 4.")
    ] = False,
    directed: Annotated[
        str,
        typer.Option(help="Simulate the plan made for this planted defect, or `all`, without it."),
    ] = "",
    shrink: Annotated[bool, typer.Option(help="Find the shortest plan that fails.")] = False,
    twice: Annotated[
        bool, typer.Option(help="Simulate the seeds in two interpreters, and compare histories.")
    ] = False,
    schedules: Annotated[bool, typer.Option(help="Give each seed schedules.")] = False,
    digests: Annotated[
        bool, typer.Option(help="Print the digest of each seed's history, and nothing else.")
    ] = False,
    every_kind: Annotated[
        bool, typer.Option(help="Fail if a kind had no effect in any of the seeds.")
    ] = False,
) -> None:
    """Simulate the whole queue under a virtual clock; exits with 1 if an invariant breaks."""
    # As Ctrl-C: each simulation stops its Valkey, and nothing is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if directed:
        _check_directed(directed, has_others=bool(seeds or shrink))
    if shrink:
        typer.echo(shrink_plan(draw(seed, minutes, has_schedules=schedules)))
        return
    if directed and (first or directed == ALL):
        raise typer.Exit(_simulate_directed(directed, at_once))
    if not seeds:
        drawn = draw(seed, minutes, has_schedules=schedules)
        plan = PLANS[directed] if directed else drawn
        result = simulate(plan, sys.stdout)
        _show(result)
        raise typer.Exit(bool(result.violations))
    if digests:
        plans = (draw(one, minutes) for one in range(seed, seed + seeds))
        for result in simulate_many(plans, at_once, within * 60):
            typer.echo(f"{result.seed} {result.digest}")
        return
    if twice:
        differing = [*differences(seed, seeds, minutes, at_once)]
        typer.echo("\n".join(differing) or f"{seeds} seeds have the same histories")
        raise typer.Exit(bool(differing))
    sums = SeedTally.read(tally, minutes)
    remaining = sums.remaining(seed, seeds)
    plans = (draw(one, minutes, has_schedules=schedules) for one in remaining)
    _add_up(sums, simulate_many(plans, at_once, within * 60), tally, first=first)
    typer.echo(sums.report())
    if not_begun := len([*sums.remaining(seed, seeds)]):
        typer.echo(f"the time was up: {not_begun} of {seeds} seeds were not simulated")
    never_met = sums.never_met() if every_kind and not not_begun else []
    if never_met:
        typer.echo(f"never met: {', '.join(never_met)}")
    raise typer.Exit(bool(sums.failed or never_met))


def _simulate_directed(name: str, at_once: int) -> bool:
    """Simulate all plans made by hand, or one until a seed fails; returns whether any fails."""
    plans, most = [*PLANS.values()], len(PLANS)
    if name != ALL:
        own = PLANS[name]
        plans = [own, *(replace(own, seed=seed) for seed in range(5) if seed != own.seed)]
        at_once, most = 1, 1
    results = simulate_many(plans, at_once)
    failed = [*islice((one for one in results if one.violations), most)]
    for result in failed:
        _show(result)
    if name == ALL:
        typer.echo(f"{most - len(failed)} of {most} directed plans hold")
    return bool(failed)


def _add_up(sums: SeedTally, results: Iterable[Result], file: Path | None, *, first: bool) -> None:
    """Add results to the sums and their file, and show those that fail; the first may end it."""
    for result in results:
        sums.add(result)
        if result.violations:
            _show(result)
            if first:
                raise typer.Exit(1)
        if file is not None:
            sums.write(file)


def _check_directed(directed: str, *, has_others: bool) -> None:
    """Check the option.

    Raises:
        typer.BadParameter: it names no planted defect with a plan, or comes with what needs a seed.
    """
    words = ""
    if directed not in {*PLANS, ALL}:
        words = f"expected a planted defect that has a plan, got {directed!r}"
    elif has_others:
        words = "expected neither --seeds nor --shrink: they draw the plans of seeds"
    if words:
        raise typer.BadParameter(words, param_hint="--directed")


def _show(result: Result) -> None:
    typer.echo(
        f"seed {result.seed}: digest {result.digest}, {result.events} events,"
        f" {result.minutes:.1f} simulated minutes, {result.jobs} jobs, {result.runs} runs"
        + (f", the plan of {result.name}" if result.name else "")
    )
    for text in result.violations[:_SHOWN]:
        typer.echo(f"  does not hold: {text}")
