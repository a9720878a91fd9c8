"""What the ledger of the simulation excuses: judged in an interpreter of its own."""

import subprocess
import sys

from tests.simulation.simulated import ROOT


def _output(script: str) -> str:
    """Run a script in an interpreter of its own, and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


#: A job with a deadline waits for a slot. Redis' clock is set back while no worker runs, for 42 s.
_CLOCK_SET_BACK_WITHOUT_A_WORKER = """
from simulation.virtual import seams
seams.install()
from simulation.plan import Fault, PlannedJob, SimulationPlan
from simulation.runs import simulate

def job(number, at, seconds=None):
    rules = 2, "default", 0, seconds, "auto", 1, False
    return PlannedJob(number, at, "task", "alone", number, *rules)

stopped = Fault("a worker is stopped", 12.0, 2.0, 0.5, 0)
back = Fault("redis's clock is set", 15.0, 0.0, 0.3, 0)
def result(*faults):
    return simulate(SimulationPlan(
        seed=3, minutes=3, workers=1, gateways=0, max_concurrent_runs=1,
        max_dispatches_per_second=0, max_requests_per_second=0, max_run_seconds=600,
        run_seconds=85, bad_run_share=0, requests=(job(1, 10.0), job(2, 11.0, 60.0)),
        batch_rules={}, faults=faults,
    ))
print([(one.runs, one.violations) for one in (result(stopped), result(stopped, back))])
"""


def test_time_that_no_process_counted_while_the_clock_was_set_back_extends_a_deadline() -> None:
    assert _output(_CLOCK_SET_BACK_WITHOUT_A_WORKER) == "[(1, []), (2, [])]"


#: A failover loses the claim of a job, whose run carries no marker and never ends. The time
#: of the job ends while the runs are listed.
_UNMARKED_RUN_OF_A_LOST_CLAIM = """
from simulation.virtual import seams
seams.install()
from simulation.plan import NEVER_ENDS, Fault, PlannedJob, SimulationPlan
from simulation.runs import simulate

def job(number, delay, seconds, **rules):
    return PlannedJob(
        number, 1.0, "task", "alone", number, 2, "c", delay, seconds, "auto", 1, False, **rules
    )

result = simulate(SimulationPlan(
    seed=0, minutes=3, workers=2, gateways=0, max_concurrent_runs=1,
    max_dispatches_per_second=0, max_requests_per_second=0, max_run_seconds=600,
    run_seconds=2, bad_run_share=0, batch_rules={}, correlation=False,
    faults=(Fault("redis fails over", 12.0, 1.0, 0.5, 0),),
    requests=(job(1, 10, 40, run=NEVER_ENDS), job(2, 30, None)),
))
print(result.runs, result.violations)
"""


def test_a_run_without_a_marker_whose_claim_is_lost_is_left_to_a_person() -> None:
    assert _output(_UNMARKED_RUN_OF_A_LOST_CLAIM) == "2 []"


#: Of a group with a cap of one, the first job's run ends by no call, and is canceled in vain.
_STUCK_RUN_IN_A_CAPPED_GROUP = """
from simulation.virtual import seams
seams.install()
from simulation.plan import ANSWERS_NO_CALL, PlannedJob, SimulationPlan
from simulation.runs import simulate

def job(number, **rules):
    return PlannedJob(
        number, 1.0, "task", "alone", number, 2, "c", 0, None, "auto", 1, False, **rules
    )

result = simulate(SimulationPlan(
    seed=0, minutes=1, workers=1, gateways=1, max_concurrent_runs=4,
    max_dispatches_per_second=0, max_requests_per_second=0, max_run_seconds=60,
    run_seconds=2, bad_run_share=0, batch_rules={}, faults=(), caps=(("c", 1),),
    requests=(job(1, run=ANSWERS_NO_CALL, cancel_after=5), job(2)),
))
print(result.runs, result.violations)
"""


def test_a_run_that_was_given_up_takes_no_slot_of_its_capped_group() -> None:
    assert _output(_STUCK_RUN_IN_A_CAPPED_GROUP) == "2 []"


#: The answers to two workflows whose runs cannot be read are lost; one of the jobs is canceled. A
#: release without tags shows of these runs which workflow they run, and nothing that tells them
#: apart; they end by a cancel alone.
_UNREADABLE_RUNS_IN_DOUBT = """
from simulation.virtual import seams
seams.install()
from simulation.plan import UNREADABLE, Fault, PlannedJob, SimulationPlan
from simulation.runs import simulate

def job(number, **rules):
    return PlannedJob(
        number, 1.0, "workflow", "alone", number, 2, "a", 0, None, "auto", 1, False,
        run=UNREADABLE, limit=60, **rules
    )

def result(version):
    return simulate(SimulationPlan(
        seed=0, minutes=2, workers=1, gateways=0, max_concurrent_runs=4,
        max_dispatches_per_second=0, max_requests_per_second=0, max_run_seconds=60,
        run_seconds=2, bad_run_share=0, batch_rules={}, version=version,
        faults=(Fault("answers are lost", 0.5, 5.0, 1.0, 0),),
        requests=(job(1, cancel_after=3), job(2)),
    ))
print([(one.runs, one.violations) for one in map(result, ("1.0.40", "1.0.56"))])
"""


def test_jobs_whose_unreadable_runs_show_no_tag_stay_in_doubt_and_their_runs_go_on() -> None:
    assert _output(_UNREADABLE_RUNS_IN_DOUBT) == "[(2, []), (2, [])]"


#: Another user of the account has the browser session of a job.
_OCCUPIED_SESSION = """
from simulation.virtual import seams
seams.install()
from simulation.plan import Fault, PlannedJob, SimulationPlan
from simulation.runs import simulate

def result(kind):
    rules = "alone", 1, 2, "a", 0, None, "auto", 1, False
    return simulate(SimulationPlan(
        seed=0, minutes=2, workers=1, gateways=1, max_concurrent_runs=20,
        max_dispatches_per_second=0, max_requests_per_second=0, max_run_seconds=600,
        run_seconds=20, bad_run_share=0, batch_rules={},
        faults=(Fault("others run what a job asks for", 0.9, 0.0, 1.0, 0),),
        requests=(PlannedJob(1, 1.0, kind, *rules, session=1),),
    ))
print([(one.runs > 3, one.violations) for one in map(result, ("task", "workflow"))])
"""


def test_the_webhook_of_a_run_that_found_its_session_occupied_leaves_its_job_without_a_run() -> (
    None
):
    assert _output(_OCCUPIED_SESSION) == "[(True, []), (True, [])]"


#: The first account's key is refused, and a second account has jobs.
_TWO_ACCOUNTS = """
from simulation.virtual import seams
seams.install()
from simulation import second_account
from simulation.plan import Fault, PlannedJob, SimulationPlan
from simulation.runs import simulate

def result():
    rules = "task", "alone", 1, 2, "a", 0, None, "auto", 1, False
    return simulate(SimulationPlan(
        seed=0, minutes=2, workers=1, gateways=1, max_concurrent_runs=4,
        max_dispatches_per_second=0, max_requests_per_second=0, max_run_seconds=600,
        run_seconds=2, bad_run_share=0, batch_rules={}, jobs_beside=3,
        faults=(Fault("the key is refused", 0.5, 70.0, 1.0, 0),),
        requests=(PlannedJob(1, 1.0, *rules),),
    ))
print(result().violations)
second_account.END_SECONDS, second_account._LOOK_SECONDS = 0.5, 1.0
print(result().violations[0].partition(": ")[2])
"""


def test_the_jobs_of_a_second_account_end_on_time_whatever_happens_to_the_first() -> None:
    held, judged = _output(_TWO_ACCOUNTS).splitlines()
    assert held == "[]"
    assert judged == "second account: job 1 is running after 1 s"
