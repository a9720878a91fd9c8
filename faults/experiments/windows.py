"""What is known not to be covered: where the edge is."""

import signal
import time
from hashlib import sha1
from itertools import count, islice

from faults.lab import Lab, line
from faults.registry import experiment
from runqueue.ids import job_id_for


def _goes_again_at_once(key: str) -> bool:
    """Say whether a job goes again in the first second of the minute (jobs.lua, `after_crash`)."""
    attempt = f"{job_id_for('default', '', key)}1"
    return int(sha1(attempt.encode(), usedforsecurity=False).hexdigest()[:8], 16) < 2**32 / 60


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
    outside; to the server, and to the queue, a way that holds that byte is the same. Its calls
    end 60 s after they began, so the jobs are ones that others submit again before that.
    """
    keys = islice(filter(_goes_again_at_once, (f"job-{number}" for number in count())), jobs)
    frozen = lab.worker()
    frozen.api.hold("up")
    frozen.start()
    lab.take([line(key, on_unconfirmed="resubmit") for key in keys])
    lab.until_state("submitting", jobs)
    time.sleep(1)
    frozen.signal(signal.SIGSTOP)
    lab.worker().start()
    took = lab.until(lambda: lab.simulator.summary()["runs"] >= jobs, 60, "others' submissions")
    frozen.signal(signal.SIGCONT)
    frozen.api.heal()
    lab.until(lambda: lab.simulator.summary()["runs"] >= 2 * jobs, 30, "the first ones to arrive")
    lab.until(lambda: frozen.words("orphan_run") >= jobs, 30, "it to tell of its runs")
    lab.note(f"made again after {took:.0f} s; the late ones are shown as orphan runs")
    lab.settle()
