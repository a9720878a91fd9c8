"""What is known not to be covered: each experiment shows where the edge is."""

import time

from faults.lab import Lab
from faults.registry import experiment

#: Seconds. A dead worker's submission without a run is made again after its lease and two searches
#: half a minute apart: about 77. What takes effect later was not looked for.
_LATE = 95.0


@experiment(
    "a submission that takes effect 95 s after its sender died",
    "the server has read it and does nothing for so long, while its sender is dead",
    jobs=8,
    simulator=("--duration", "1"),
    window=True,
)
def late_effect(lab: Lab, jobs: int) -> None:
    """Two searches have found nothing by then, and the job was submitted again."""
    lab.simulator.faults(
        {"match": {"route": "run_task"}, "action": {"latency": _LATE}, "times": jobs // 2 or 1}
    )
    lab.hand_in(jobs, ("titled",))
    worker = lab.worker().start()
    lab.until(lambda: lab.simulator.summary()["submissions"] >= jobs, 30, "the submissions")
    start = time.monotonic()
    worker.kill()
    lab.worker().start()
    lab.settle()
    lab.until(lambda: time.monotonic() > start + _LATE + 2, _LATE + 10, "the late effects")
    lab.note("doubles that nothing tells of: the server is asked twice, half a minute apart")


@experiment(
    "`on_unconfirmed: resubmit` without a list call",
    "half of the answers are lost, the runs made; the jobs ask to be submitted again",
    jobs=20,
    simulator=("--duration", "1", "--no-list"),
    window=True,
)
def resubmitted(lab: Lab, jobs: int) -> None:
    """Whoever asks for this accepts that a run is made twice; `auto` never does so."""
    lab.simulator.faults(
        {
            "match": {"route": "run_task"},
            "action": {"close": True, "committed": True},
            "times": jobs // 2 or 1,
        }
    )
    lab.worker().start()
    lab.hand_in(jobs, ("titled",), on_unconfirmed="resubmit")
    lab.settle()
    lab.until(lambda: lab.count("unconfirmed") == 0, 90, "the jobs to be submitted again")
    lab.settle()
    lab.note("as asked for")
