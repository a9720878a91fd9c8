"""What becomes of jobs when the API fails now and then: runs made twice, and jobs lost."""

from dataclasses import dataclass

import httpx

from bench.others.contenders import Contender, Told
from bench.others.cost import bodies
from bench.others.ledger import Quiet, calls, runs_by_job
from bench.stack import running, until

#: Route, share and fault; a committed submission has made its run although it tells of a failure.
_RULES = (
    ("run_task", 0.02, {"status": 500}),
    ("run_task", 0.02, {"status": 500, "committed": True}),
    ("run_task", 0.03, {"close": True, "committed": True}),
    ("run_task", 0.02, {"reset": "after_body"}),
    ("run_task", 0.02, {"unavailable": "no_run"}),
    ("run_task", 0.03, {"status": 429, "headers": {"Retry-After": "1"}}),
    ("get_run", 0.05, {"status": 500}),
    ("get_run", 0.03, {"close": True}),
)

#: Seconds without a call after which nothing more will come; more where jobs are missing still,
#: since ours waits for half a minute before it believes that a run does not exist.
_QUIET, _QUIET_MISSING = 15, 75


@dataclass(frozen=True, slots=True)
class Faulty:
    """What the ledger says.

    Attributes:
        doubled: runs beyond the first of their job.
        lost: jobs without a run.
        seconds: until the last call.
    """

    doubled: int
    lost: int
    seconds: float


def measure(contender: Contender, count: int = 1000) -> Faulty:
    """Submit jobs of a URL each, and count their runs once nobody calls any more."""
    quiet = Quiet()
    told = Told(look_seconds=0.5, least_seconds=0.5)
    with running("--duration", "0.3") as stack:
        rules = [
            {"match": {"route": route}, "share": share, "action": action}
            for route, share, action in _RULES
        ]
        httpx.post(f"{stack.base_url}/_faults", json=rules).raise_for_status()
        contender.hand_in(stack, bodies(count))
        with contender.workers(stack, 1, told):
            until(lambda: calls(stack.base_url).posts > 0, 60, "the first submission")

            def is_over() -> bool:
                still = quiet.seconds(calls(stack.base_url))
                if still < _QUIET:
                    return False
                return still > _QUIET_MISSING or len(runs_by_job(stack.base_url)) == count

            until(is_over, 420, "the last call", every=0.5)
            made = runs_by_job(stack.base_url)
    return Faulty(made.total() - len(made), count - len(made), quiet.since_first)
