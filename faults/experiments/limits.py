"""Too many requests: how much of what the server allows is used while it refuses the rest."""

from faults.lab import Lab
from faults.registry import experiment

RATE = 20
#: Share of the allowed rate that has to be used.
GOODPUT = 0.9
_STORM = {
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "200",
    "RUNQUEUE_MAX_BURST_SIZE": "5",
}
_LIMITED = ("--duration", "0.5", "--max-requests-per-second", str(RATE))


def _storm(lab: Lab, jobs: int, *, named: bool) -> None:
    for _ in range(2):
        worker = lab.worker()
        if not named:
            # As long as what it replaces, and no rate that could be read out of it.
            worker.api.down.rewrite = (b"requests per", b"too much for")
        worker.start()
    lab.submit(jobs)
    lab.settle(jobs / RATE * 3 + 60)
    times = sorted(run["created"] for run in lab.simulator.runs())
    # The last second is not full, and the first is the burst that teaches the pace.
    used = len(times) / (times[-1] - times[0]) / RATE
    refused = lab.simulator.summary()["submissions"] - len(times)
    lab.note(f"goodput {used:.0%} of {RATE}/s, {refused} refused")
    lab.expect(refused > 0, "nothing was refused")
    lab.expect(used >= GOODPUT, f"goodput was {used:.1%}")


@experiment(
    "429 storm without Retry-After, the rate named",
    "the plan allows a tenth of what the workers try, and says so in words",
    jobs=1200,
    simulator=_LIMITED,
    settings=_STORM,
)
def named_storm(lab: Lab, jobs: int) -> None:
    """The rate in the message is kept to."""
    _storm(lab, jobs, named=True)


@experiment(
    "429 storm without Retry-After, no rate named",
    "the same, and the message tells no rate",
    jobs=1200,
    simulator=_LIMITED,
    settings=_STORM,
)
def unnamed_storm(lab: Lab, jobs: int) -> None:
    """The pace is found by halving and creeping."""
    _storm(lab, jobs, named=False)
