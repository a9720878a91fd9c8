"""What is known not to be covered: where the edge is."""

import signal
import time

from faults.lab import Lab
from faults.registry import experiment


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
    lab.until(lambda: frozen.words("orphan_run") >= jobs, 30, "it to tell of its runs")
    lab.note(f"made again after {took:.0f} s; the late ones are shown as orphan runs")
    lab.settle()
