"""`python -m faults [NAME …]`: make experiments, and say what came of them.

A name is any part of an experiment's name, or a topic. Exit code 1: an invariant did not hold.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faults import report
from faults.checks import Judgement
from faults.registry import Experiment, experiments, perform_named

console = Console(stderr=True)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Parts of names, or topics.")] = None,
    *,
    show: Annotated[bool, typer.Option("--list", help="Name the experiments.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Jobs in each.")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Keep data and logs in this new folder.")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Experiments made at once.")] = 1,
    write: Annotated[
        Path | None, typer.Option(help="Write the figures to this file, as CSV.")
    ] = None,
) -> None:
    """Do to real workers, Redis and a simulated Skyvern what networks and machines do to them."""
    chosen = _chosen(names or [])
    if show:
        Console().print(report.listing(chosen))
        return
    if logs is not None and logs.exists() and any(logs.iterdir()):
        raise typer.BadParameter(f"--logs: {logs} has something in it; name a new folder")
    found: dict[str, Judgement] = {}
    for number, (each, findings) in enumerate(_made(chosen, jobs, logs, at_once), start=1):
        found[each.name] = findings
        console.print(f"[{number}/{len(chosen)}] {each.name}", markup=False)
        console.print(f"  {report.sentence(findings)}", markup=False)
        for broken in found[each.name].broken:
            console.print(f"  broken: {broken}", style="red", markup=False)
        if write is not None:  # all of them take an hour and more: what is known is not lost
            write.write_text(report.rows(chosen, found))
    Console().print(report.table(chosen, found))
    short = report.shortfalls(chosen, found)
    console.print(f"Unconfirmed submissions: {report.settled(chosen, found)}", markup=False)
    for each_short in short:
        console.print(f"  broken: {each_short}", style="red", markup=False)
    raise typer.Exit(int(bool(short) or any(findings.broken for findings in found.values())))


def _made(
    chosen: list[Experiment], jobs: int | None, logs: Path | None, at_once: int
) -> Iterator[tuple[Experiment, Judgement]]:
    """Make experiments, each in a process of its own, and give them as they end."""
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        made = {pool.submit(perform_named, each.name, jobs, logs): each for each in chosen}
        for future in as_completed(made):
            yield made[future], future.result()


def _chosen(names: list[str]) -> list[Experiment]:
    every = list(experiments().values())
    if exact := [each for each in every if names == [each.name]]:
        return exact
    for name in names:
        if not any(_is_named(each, name) for each in every):
            raise typer.BadParameter(f"no experiment is called {name!r}; --list names them")
    return [each for each in every if not names or any(_is_named(each, name) for name in names)]


def _is_named(each: Experiment, name: str) -> bool:
    return name == each.group or name.lower() in each.name.lower()


if __name__ == "__main__":
    typer.run(main)
