"""What the ledger of the simulation excuses: judged in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

from tests.simulation.simulated import ROOT

#: What each script begins with: jobs and plans with fields of their own beside common ones.
_HEAD = """
from simulation.virtual import seams

seams.install()
from simulation import second_account
from simulation.plan import ANSWERS_NO_CALL, NEVER_ENDS, UNREADABLE, Fault
from simulation.planting.directed_plans import _job, _plan
from simulation.runs import simulate


def job(number, at=1.0, **rules):
    return _job(number, at, group="c", **rules)


def result(*requests, faults=(), **fields):
    fields = {"workers": 1, "max_concurrent_runs": 1, "run_seconds": 2, **fields}
    return simulate(_plan(requests, faults, **fields))


"""


def _output(script: str) -> str:
    """Run a script in an interpreter of its own, and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-c", _HEAD + script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


#: A job with a deadline waits for a slot. Redis' clock is set back while no worker runs, for 42 s.
_CLOCK_SET_BACK_WITHOUT_A_WORKER = """
stopped = Fault("a worker is stopped", 12.0, 2.0, 0.5, 0)
back = Fault("redis's clock is set", 15.0, 0.0, 0.3, 0)
jobs = job(1, 10.0), job(2, 11.0, deadline=60.0)
some = [
    result(*jobs, faults=faults, seed=3, minutes=3, gateways=0, run_seconds=85)
    for faults in ([stopped], [stopped, back])
]
print([(one.runs, one.violations) for one in some])
"""


def test_time_that_no_process_counted_while_the_clock_was_set_back_extends_a_deadline() -> None:
    assert _output(_CLOCK_SET_BACK_WITHOUT_A_WORKER) == "[(1, []), (2, [])]"


#: A failover loses the claim of a job, whose run carries no marker and never ends. The time
#: of the job ends while the runs are listed.
_RUN_WITHOUT_A_MARKER_OF_A_LOST_CLAIM = """
one = result(
    job(1, delay=10, deadline=40, run=NEVER_ENDS),
    job(2, delay=30),
    faults=[Fault("redis fails over", 12.0, 1.0, 0.5, 0)],
    minutes=3,
    workers=2,
    gateways=0,
    correlation=False,
)
print(one.runs, one.violations)
"""


def test_a_run_without_a_marker_whose_claim_is_lost_is_left_to_a_person() -> None:
    assert _output(_RUN_WITHOUT_A_MARKER_OF_A_LOST_CLAIM) == "2 []"


#: Of a group with a cap of one, the first job's run ends by no call, and is canceled in vain.
_STUCK_RUN_IN_A_CAPPED_GROUP = """
stuck = job(1, run=ANSWERS_NO_CALL, cancel_after=5)
one = result(stuck, job(2), max_concurrent_runs=4, max_run_seconds=60, caps=(("c", 1),))
print(one.runs, one.violations)
"""


def test_a_run_that_was_given_up_takes_no_slot_of_its_capped_group() -> None:
    assert _output(_STUCK_RUN_IN_A_CAPPED_GROUP) == "2 []"


#: The answers to two workflows whose runs cannot be read are lost; one of the jobs is canceled. A
#: release without tags shows of these runs which workflow they run, and nothing that tells them
#: apart; they end by a cancel alone.
_UNREADABLE_RUNS_OF_LOST_ANSWERS = """
rules = {"kind": "workflow", "run": UNREADABLE, "limit": 60}
some = [
    result(
        job(1, cancel_after=3, **rules),
        job(2, **rules),
        faults=[Fault("answers are lost", 0.5, 5.0, 1.0, 0)],
        minutes=2,
        gateways=0,
        max_concurrent_runs=4,
        max_run_seconds=60,
        version=version,
    )
    for version in ("1.0.40", "1.0.56")
]
print([(one.runs, one.violations) for one in some])
"""


def test_jobs_whose_unreadable_runs_show_no_tag_stay_unconfirmed_and_their_runs_go_on() -> None:
    assert _output(_UNREADABLE_RUNS_OF_LOST_ANSWERS) == "[(2, []), (2, [])]"


#: Another user of the account has the browser session of a job.
_OCCUPIED_SESSION = """
faults = [Fault("others run what a job asks for", 0.9, 0.0, 1.0, 0)]
fields = {"minutes": 2, "max_concurrent_runs": 20, "run_seconds": 20}
some = [
    result(job(1, kind=kind, session=1), faults=faults, **fields) for kind in ("task", "workflow")
]
print([(one.runs > 3, one.violations) for one in some])
"""


def test_the_webhook_of_a_run_that_found_its_session_occupied_leaves_its_job_without_a_run() -> (
    None
):
    assert _output(_OCCUPIED_SESSION) == "[(True, []), (True, [])]"


#: The first account's key is refused, and a second account has jobs.
_TWO_ACCOUNTS = """
refused = [Fault("the key is refused", 0.5, 70.0, 1.0, 0)]
fields = {"minutes": 2, "max_concurrent_runs": 4, "jobs_beside": 3}
print(result(job(1), faults=refused, **fields).violations)
second_account.END_SECONDS, second_account._LOOK_SECONDS = 0.5, 1.0
print(result(job(1), faults=refused, **fields).violations[0].partition(": ")[2])
"""


def test_the_jobs_of_a_second_account_end_on_time_whatever_happens_to_the_first() -> None:
    held, judged = _output(_TWO_ACCOUNTS).splitlines()
    assert held == "[]"
    assert judged == "second account: job 1 is running after 1 s"
