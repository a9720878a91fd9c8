"""The API answers submissions and reads in every way that it should not."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from faults.checks import key_of
from faults.lab import COMPARED, MIXED, Lab
from faults.registry import experiment

_RUNS = ("--duration", "1")
_SUBMISSIONS = ("run_task", "run_workflow")
#: Seconds over which jobs are submitted: failures in a row would open the breaker.
_SPREAD = 10.0


def _meets(lab: Lab, jobs: int, *actions: Mapping[str, Any], most: int | None = None) -> None:
    """Have every other job meet one of the faults, once; all have to end all the same.

    Args:
        lab, jobs: as always.
        actions: what happens to their submissions, in turn.
        most: no more jobs than these; None = half of them.
    """
    parts, each = range(10), max(1, jobs // 10)
    # Odd ones in odd parts, so that jobs of each kind are among them.
    hit = [f"part-{p}-{n}" for p in parts for n in range(each) if (p + n) % 2 == 0][:most]
    rules = [
        {"match": {"contains": f'"{key}"'}, "action": actions[i % len(actions)], "times": 1}
        for i, key in enumerate(hit)
    ]
    _spread(lab, each, rules)
    lab.expect(lab.simulator.hits() == len(hit), f"{lab.simulator.hits()} hit, not {len(hit)}")


def _spread(lab: Lab, each: int, rules: Sequence[Mapping[str, Any]]) -> None:
    """Submit ten parts of so many jobs, a second apart, while the rules stand."""
    lab.worker().start()
    lab.simulator.faults(*rules)
    for part in range(10):
        lab.submit(each, prefix=f"part-{part}", delay=part * _SPREAD / 10)
    lab.settle()
    _tell(lab)


def _tell(lab: Lab) -> None:
    """Tell what met the fault, which has to be met, and what was found and what was not."""
    lab.meets()
    again = lab.total("resubmitted")
    lab.note(f"{lab.simulator.hits()} hit, {again} of them without a run and submitted again")
    made = {key_of(run) for run in lab.simulator.runs()}
    lost = [key for key in lab.accepted.values() if key not in made]
    lab.expect(not lost, f"no run was ever made for {lost[:5]}")


@experiment(
    "30 % of 500, 502 and 504 for a minute",
    "all calls; half of the failed submissions made a run",
    jobs=300,
    simulator=_RUNS,
)
def server_errors(lab: Lab, jobs: int) -> None:
    """Breaker and search together get everything through."""
    lab.simulator.faults(
        *(
            {"action": {"status": status, "committed": committed}, "share": 0.06, "seconds": 60}
            for status in (500, 502, 504)
            for committed in (True, False)
        )
    )
    lab.worker().start()
    lab.worker().start()
    for part in range(20):
        lab.submit(max(1, jobs // 20), prefix=f"part-{part}", delay=part * 3.0)
    lab.settle(300)
    _tell(lab)


@experiment(
    "503 'No run was created'", "half of the submissions for 30 s", jobs=60, simulator=_RUNS
)
def unavailable_no_run(lab: Lab, jobs: int) -> None:
    """It says so, and is believed: the jobs go back to their places."""
    _meets(lab, jobs, {"unavailable": "no_run"})
    lab.expect(not lab.doubts.seen, f"{len(lab.doubts.seen)} submissions were in doubt")


@experiment(
    "503 'Database temporarily unavailable'",
    "half of the submissions; the run was made, or was not",
    jobs=60,
    simulator=_RUNS,
)
def unavailable_database(lab: Lab, jobs: int) -> None:
    """It may mean either."""
    _meets(lab, jobs, {"unavailable": "database"}, {"unavailable": "database", "committed": True})


@experiment(
    "503 from the web server",
    "half of the submissions; the run was made, or was not",
    jobs=60,
    simulator=_RUNS,
)
def unavailable_plain(lab: Lab, jobs: int) -> None:
    """Plain text instead of JSON."""
    _meets(lab, jobs, {"unavailable": "plain"}, {"unavailable": "plain", "committed": True})


@experiment(
    "reset before the body was read",
    "half of the submissions: RST, no run",
    jobs=60,
    simulator=_RUNS,
)
def reset_before(lab: Lab, jobs: int) -> None:
    """Not proof of anything, so it is looked for."""
    # Which job it is cannot be told before its body was read.
    action = {"action": {"reset": "before"}, "share": 0.5, "seconds": 30}
    _spread(lab, jobs // 10, [{"match": {"route": route}, **action} for route in _SUBMISSIONS])


@experiment(
    "reset after the body was read",
    "half of the submissions: RST or FIN; a run, or none",
    jobs=60,
    simulator=_RUNS,
)
def reset_after(lab: Lab, jobs: int) -> None:
    """The server took it, or did not."""
    _meets(
        lab,
        jobs,
        {"reset": "after_body", "committed": True},
        {"reset": "after_body"},
        {"close": True, "committed": True},
        {"close": True},
    )


@experiment("reset in mid-answer", "half of the submissions", jobs=60, simulator=_RUNS)
def reset_mid(lab: Lab, jobs: int) -> None:
    """The run id was on its way."""
    _meets(lab, jobs, {"reset": "mid_answer"})


@experiment(
    "answers that cannot be read",
    "truncated JSON, a length that is not kept, HTML 200, empty 200, no status line at all",
    jobs=100,
    simulator=_RUNS,
)
def unreadable(lab: Lab, jobs: int) -> None:
    """A run was made behind each."""
    _meets(
        lab,
        jobs,
        {"truncate": "json"},
        {"truncate": "length"},
        {"html200": True, "committed": True},
        {"empty200": True, "committed": True},
        {"garbage": True, "committed": True},
    )


@experiment(
    "1 byte a second",
    "the true answers to four submissions come so slowly",
    jobs=40,
    simulator=_RUNS,
)
def drip(lab: Lab, jobs: int) -> None:
    """They outlast a submission's 60 s; their runs are found meanwhile or after."""
    _meets(lab, jobs, {"drip": 1}, most=4)


@experiment(
    "200 MB body",
    "three answers to submissions and three to reads are that large",
    jobs=30,
    simulator=_RUNS,
)
def huge(lab: Lab, jobs: int) -> None:
    """They are not read to their ends."""
    lab.simulator.faults(
        {"match": {"route": "run_task"}, "action": {"huge": 200_000_000}, "times": 3},
        {"match": {"route": "get_run"}, "action": {"huge": 200_000_000}, "times": 3},
    )
    lab.worker().start()
    lab.submit(jobs)
    lab.settle()
    _tell(lab)
    lab.expect(lab.simulator.hits() == 6, f"{lab.simulator.hits()} answers were that large, not 6")


@experiment(
    "keep-alive closed at the idle edge",
    "connections close when idle for 2.1 s; submissions come 2 to 2.2 s after the last call",
    jobs=21,
    simulator=("--duration", "0.3", "--keepalive-timeout", "2.1"),
)
def idle_edge(lab: Lab, jobs: int) -> None:
    """A submission does not use a connection that may be about to be closed."""
    worker = lab.worker().start()
    last, idle = [0.0], list[float]()

    def note_answer() -> None:
        last[0] = time.monotonic()

    def note_submission() -> None:
        idle.append(time.monotonic() - last[0])

    worker.api.trap("up", b"POST /v1/run", hold=False, times=0, act=note_submission)
    worker.api.trap("down", b"HTTP/1.1 ", hold=False, times=0, act=note_answer)
    for number in range(jobs):
        lab.submit(1, (MIXED[number % 4],), prefix=f"edge-{number}")
        lab.until_state("completed", number + 1)
        time.sleep(max(0.0, last[0] + 1.99 + 0.2 * number / jobs - time.monotonic()))
    lab.settle()
    met = [seconds for seconds in idle if 2.0 <= seconds <= 2.2]
    lab.note(f"{len(met)} submissions at the edge, {len(lab.doubts.seen)} met the closing")
    lab.expect(len(met) >= jobs // 2, f"only {len(met)} of {jobs} came at the edge: {idle}")
    lab.expect(not lab.doubts.seen, f"{len(lab.doubts.seen)} submissions met the closing")


@experiment(
    "no list call",
    "a server without the list of runs: half of the answers are lost",
    jobs=40,
    simulator=("--duration", "1", "--no-list"),
)
def no_list(lab: Lab, jobs: int) -> None:
    """What is in doubt stays visible as unconfirmed, and is not submitted again."""
    _unsearchable(lab, jobs)


@experiment(
    "`RUNQUEUE_CORRELATION=off`",
    "submissions carry no marker: half of the answers are lost",
    jobs=40,
    simulator=_RUNS,
    settings={"RUNQUEUE_CORRELATION": "off"},
)
def no_markers(lab: Lab, jobs: int) -> None:
    """As without a list call: visible as unconfirmed, for people."""
    lab.searches = False
    _unsearchable(lab, jobs)
    named = [run for run in lab.simulator.runs() if "rq" in f"{run['title']}{run['webhook_url']}"]
    lab.expect(not named, f"{len(named)} runs carry a marker")


def _unsearchable(lab: Lab, jobs: int) -> None:
    lab.simulator.faults(
        {
            "match": {"route": "run_task"},
            "action": {"close": True, "committed": True},
            "share": 0.5,
        },
        {"match": {"route": "run_workflow"}, "action": {"close": True}, "share": 0.5},
    )
    lab.worker().start()
    for part in range(10):
        lab.submit(jobs // 10, prefix=f"part-{part}", delay=part)
    lab.settle()
    hits, left = lab.simulator.hits(), lab.count("unconfirmed")
    lab.note(f"{hits} answers lost, {left} visible as unconfirmed")
    lab.meets()
    lab.expect(hits == left, f"{hits} answers were lost, {left} jobs stand in unconfirmed")


@experiment(
    "equal requests without a marker",
    "half of the answers to tasks and workflows that only their fields tell apart are lost",
    jobs=100,
    simulator=_RUNS,
)
def unmarked(lab: Lab, jobs: int) -> None:
    """Compared with the runs that no job owns, they are found too."""
    lab.simulator.faults(
        *(
            {
                "match": {"route": route},
                "action": {"close": True, "committed": committed},
                "share": 0.25,
            }
            for route in _SUBMISSIONS
            for committed in (True, False)
        )
    )
    lab.worker().start()
    for part in range(10):
        lab.submit(jobs // 10, COMPARED, prefix=f"part-{part}", delay=part)
    lab.settle()
    _tell(lab)
