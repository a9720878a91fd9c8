"""`python -m ops.proof [ALERT …]`: provoke faults, and see their alerts fire and clear.

Exit code 1: one did not.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ops.expressions import asked, rules
from ops.proof.faults import FAULTS, ProofFault
from ops.proof.stage import Stage, staged

console = Console(stderr=True)

_HEAD = """# Alerts, seen

<!-- Written by `make alerts`. -->

A real Prometheus scraped a real stack (Valkey, a simulated Skyvern, a worker, a gateway) while
each fault was provoked and mended. Its rules were those of `ops/prometheus/alerts.yml`, with every
minute made a second: an alert that waits for 5 minutes waited for 5 seconds. What a fault does to
the queue itself was not scaled: a worker's lease takes 15 s to end here, too.
"""


@dataclass(slots=True)
class ProofResult:
    """What came of one fault.

    Args:
        fired, cleared: seconds after the fault, and after its end.
        also: other alerts that fired meanwhile.
        wrong: why it is no proof; '' = it is.
    """

    fault: ProofFault
    fired: float = 0.0
    cleared: float = 0.0
    also: tuple[str, ...] = ()
    answered: int = 0
    wrong: str = ""


def main(
    alerts: Annotated[list[str] | None, typer.Argument(help="Alerts; all by default.")] = None,
    *,
    write: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Keep data and logs in this new folder.")
    ] = None,
) -> None:
    """Show that every alert fires when it should, and clears."""
    unknown = set(alerts or []) - set(FAULTS)
    if unknown:
        raise typer.BadParameter(f"no fault for {unknown.pop()}; there are {', '.join(FAULTS)}")
    chosen = [fault for name, fault in FAULTS.items() if not alerts or name in alerts]
    seen: list[ProofResult] = []
    for fault in chosen:
        console.print(f"{fault.alert}: {fault.done} …", markup=False)
        seen.append(prove(fault, logs))
        told = seen[-1]
        words = f"fired after {told.fired:.0f} s, cleared after {told.cleared:.0f} s"
        console.print(f"  {told.wrong or words}", markup=False)
    Console().print(_table(seen))
    if write is not None:
        write.write_text(_page(seen))
    raise typer.Exit(int(any(one.wrong for one in seen)))


def prove(fault: ProofFault, logs: Path | None) -> ProofResult:
    """Provoke a fault and say what came of it.

    Args:
        logs: where data and logs are kept; None = nowhere.
    """
    seen = ProofResult(fault)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (logs or Path(temporary)) / fault.alert
        with staged(folder, fault.simulator, fault.settings) as stage:
            try:
                _play(fault, stage)
            except Exception as error:  # noqa: BLE001 - the others are to be seen all the same
                seen.wrong = f"{type(error).__name__}: {error}"
            seen.fired, seen.cleared = stage.fired, stage.cleared
            seen.also = tuple(sorted(stage.prometheus.fired(stage.age) - {fault.alert}))
            seen.answered = _answered(stage)
    return seen


def _play(fault: ProofFault, stage: Stage) -> None:
    play = fault.body(stage)
    next(play)
    stage.fires(fault.alert)
    next(play, None)
    stage.clears()


def _answered(stage: Stage) -> int:
    """Ask every expression of dashboards and alerts; return how many have figures now."""
    time.sleep(1)  # what was mended last is scraped
    found = 0
    for _, expression in asked():
        found += bool(stage.prometheus.value_of(expression.replace("$account", ".*")))
    return found


def _table(seen: list[ProofResult]) -> Table:
    table = Table("alert", "fault", "fires after", "mended by", "clears after", "also fired")
    for one in seen:
        table.add_row(*_cells(one), style="red" if one.wrong else None)
    return table


def _cells(one: ProofResult) -> tuple[str, ...]:
    fault = one.fault
    fired = f"{one.fired:.0f} s" if one.fired else f"never: {one.wrong}"
    cleared = f"{one.cleared:.0f} s" if one.cleared else f"never: {one.wrong}"
    return (fault.alert, fault.done, fired, fault.mended, cleared, ", ".join(one.also) or "-")


def _page(seen: list[ProofResult]) -> str:
    rows = "\n".join(f"| {' | '.join(_cells(one))} |" for one in seen)
    without = [rule["alert"] for rule in rules() if rule["alert"] not in FAULTS]
    proved = sum(not one.wrong for one in seen)
    total = len(asked())
    return (
        f"{_HEAD}\n| alert | fault | fires after | mended by | clears after | also fired |\n"
        f"|---|---|---|---|---|---|\n{rows}\n\n"
        f"{proved} of {len(rules())} alerts fired and cleared."
        f" Not provoked: {', '.join(without) or 'none'}.\n\n"
        f"Every expression of the dashboards and the alerts was asked of each of these Prometheus,"
        f" and none was an error; at best {max(one.answered for one in seen)} of {total} had"
        f" figures (an alert's has some only while it fires).\n"
    )


if __name__ == "__main__":
    typer.run(main)
