"""The experiments by name, and the running of one."""

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from faults.checks import Judgement, judge
from faults.clocks import SkippedError
from faults.lab import Lab, opened

#: The topics in the order of the report.
GROUPS = ("processes", "network", "redis", "messages", "time", "people", "windows")

Body = Callable[[Lab, int], None]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment.

    Args:
        name: what it is called.
        group: its topic.
        fault: what is done, in a line.
        jobs: how many, unless told otherwise.
        body: does it: (lab, jobs).
        simulator, settings, redis_clock: as for `lab.opened`.
        window: it shows what is known not to be covered.
    """

    name: str
    group: str
    fault: str
    jobs: int
    body: Body
    simulator: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    redis_clock: float | None = None
    window: bool = False


_ALL: dict[str, Experiment] = {}


def experiment(
    name: str,
    fault: str,
    *,
    jobs: int,
    simulator: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    redis_clock: float | None = None,
    window: bool = False,
) -> Callable[[Body], Body]:
    """Declare an experiment; its topic is its module's name. See `Experiment`."""

    def declare(body: Body) -> Body:
        group = body.__module__.rpartition(".")[2]
        _ALL[name] = Experiment(
            name, group, fault, jobs, body, simulator, settings or {}, redis_clock, window
        )
        return body

    return declare


def experiments() -> dict[str, Experiment]:
    """Return every experiment by name, in the order of the report."""
    for group in GROUPS:
        import_module(f"faults.experiments.{group}")
    return {e.name: e for group in GROUPS for e in _ALL.values() if e.group == group}


def perform(chosen: Experiment, jobs: int | None = None, logs: Path | None = None) -> Judgement:
    """Make an experiment, and judge what came of it.

    Args:
        chosen: which.
        jobs: how many; None = its own number.
        logs: a folder whose subfolder of the experiment's name keeps its logs; None = a temporary.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        slug = "".join(c if c.isalnum() else "-" for c in chosen.name)
        folder = (logs or Path(temporary)) / slug
        found = _made(chosen, jobs or chosen.jobs, folder)
    found.seconds = time.monotonic() - start
    return found


def perform_named(name: str, jobs: int | None = None, logs: Path | None = None) -> Judgement:
    """Make the experiment of that name, as `perform`: what another process can be asked for."""
    return perform(experiments()[name], jobs, logs)


def _made(chosen: Experiment, jobs: int, folder: Path) -> Judgement:
    try:
        with opened(folder, chosen.simulator, chosen.settings, chosen.redis_clock) as lab:
            try:
                chosen.body(lab, jobs)
            except (TimeoutError, AssertionError) as error:
                lab.broken.append(f"{error} ({lab.states()})")
            return judge(lab, allows_doubles=chosen.window)
    except SkippedError as error:
        return Judgement(skipped=str(error))
    except Exception as error:  # noqa: BLE001 - the other experiments are made all the same
        traceback.print_exc()
        return Judgement(broken=[f"{type(error).__name__}: {error}"])
