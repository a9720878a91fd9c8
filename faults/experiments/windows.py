"""What is known not to be covered: each experiment shows where the edge is."""

import signal
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
    lab.submit(jobs, ("titled",))
    worker = lab.worker().start()
    lab.until(lambda: lab.simulator.summary()["submissions"] >= jobs, 30, "the submissions")
    start = time.monotonic()
    worker.kill()
    lab.worker().start()
    lab.settle()
    lab.until(lambda: time.monotonic() > start + _LATE + 2, _LATE + 10, "the late effects")
    lab.note("the server is asked twice, half a minute apart")


@experiment(
    "`on_unconfirmed: resubmit` without a list call",
    "half of the answers are lost, the runs made; the jobs ask to be submitted again",
    jobs=20,
    simulator=("--duration", "1", "--no-list"),
    window=True,
)
def resubmitted(lab: Lab, jobs: int) -> None:
    """A user who asks for this accepts that a run is made twice; `auto` never does so."""
    lab.simulator.faults(
        {
            "match": {"route": "run_task"},
            "action": {"close": True, "committed": True},
            "times": jobs // 2 or 1,
        }
    )
    lab.worker().start()
    lab.submit(jobs, ("titled",), on_unconfirmed="resubmit")
    lab.settle()
    lab.until(lambda: lab.count("unconfirmed") == 0, 90, "the jobs to be submitted again")
    lab.settle()
    lab.note("as asked for")


@experiment(
    "a worker frozen on its way to the server, under `on_unconfirmed: resubmit`",
    "the way takes its connections and holds the first bytes; it is frozen past lease and grace",
    jobs=4,
    simulator=("--duration", "1"),
    window=True,
)
def frozen_on_its_way(lab: Lab, jobs: int) -> None:
    """Its submissions take effect when it wakes, after others have made them again.

    The microseconds between its last look at the lease and its first byte cannot be met from
    outside; to the server, and to the queue, a way that holds that byte is the same.
    """
    frozen = lab.worker()
    frozen.api.hold("up")
    frozen.start()
    lab.submit(jobs, ("titled",), on_unconfirmed="resubmit")
    lab.until_state("submitting", jobs)
    time.sleep(1)
    frozen.signal(signal.SIGSTOP)
    lab.worker().start()
    took = lab.until(
        lambda: lab.simulator.summary()["runs"] >= jobs, 150, "others to submit them again"
    )
    frozen.signal(signal.SIGCONT)
    frozen.api.heal()
    lab.until(lambda: lab.simulator.summary()["runs"] >= 2 * jobs, 30, "the first ones to arrive")
    lab.until(lambda: frozen.words("stray_run") >= jobs, 30, "it to tell of its runs")
    lab.note(f"made again after {took:.0f} s; the late ones are shown as orphan runs")
    lab.settle()
