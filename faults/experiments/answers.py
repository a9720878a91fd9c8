"""Runs that do not behave, and accounts and requests that are at fault themselves."""

import time

from faults.lab import MIXED, Lab
from faults.registry import experiment
from runqueue.store.keys import Keys

_RUNS = ("--duration", "1")


@experiment("404 right after the run was made", "the first reads for 5 s", jobs=40, simulator=_RUNS)
def not_found_yet(lab: Lab, jobs: int) -> None:
    """Not being there yet is no end."""
    lab.worker().start()
    lab.simulator.faults(
        {
            "match": {"route": "get_run"},
            "action": {"status": 404, "body": {"detail": "Run not found"}},
            "seconds": 5,
        }
    )
    lab.submit(jobs)
    lab.settle()
    lab.meets(jobs)
    lab.note(f"{lab.simulator.hits()} reads were told so")


@experiment("failed, then running again", "runs flap under one id", jobs=40, simulator=_RUNS)
def flapping(lab: Lab, jobs: int) -> None:
    """A run is over only when no retry of it is pending."""
    lab.worker().start()
    lab.submit(jobs, plan={"sim_end": "flap", "sim_seconds": 4})
    lab.settle()
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


@experiment(
    "a status that nobody knows",
    "`created` and `running` are spelled otherwise",
    jobs=40,
    simulator=("--duration", "3"),
)
def unknown_status(lab: Lab, jobs: int) -> None:
    """What is not known to be an end is none."""
    worker = lab.worker()
    worker.api.down.rewrite = (b'"running"', b'"musing."')
    worker.start()
    lab.submit(jobs)
    lab.settle()
    lab.note(f"{worker.api.down.met} answers told it")
    lab.expect(worker.api.down.met > 0, "no answer told it")
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


@experiment(
    "a run that never ends",
    "half of the runs hang; they may take 8 s",
    jobs=20,
    simulator=_RUNS,
)
def never_ends(lab: Lab, jobs: int) -> None:
    """It is canceled, its end confirmed, and its job failed."""
    lab.worker().start()
    hung = lab.submit(jobs // 2, prefix="hung", plan={"sim_end": "never"}, max_run_seconds=8)
    lab.submit(jobs - jobs // 2)
    lab.settle()
    reasons = [job.reason or "" for job in lab.queue.get_many(hung) if job]
    lab.expect(all("time limit" in reason for reason in reasons), f"reasons: {set(reasons)}")
    live = lab.simulator.summary()["live"]
    lab.expect(live == 0, f"{live} runs were left live")


@experiment(
    "a parked job and a hung run on a plan of 1",
    "one run at a time; the first answer is lost on a server without a list, the second run hangs",
    jobs=10,
    simulator=("--duration", "0.5", "--no-list"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "1", "RUNQUEUE_MAX_RUN_SECONDS": "8"},
)
def plan_of_one(lab: Lab, jobs: int) -> None:
    """Neither keeps the only slot for good."""
    lab.simulator.faults({"match": {"route": "run_task"}, "action": {"close": True}, "times": 1})
    lab.worker().start()
    start = time.monotonic()
    lab.submit(1, ("titled",), prefix="parked")
    lab.until_state("unconfirmed", 1)
    lab.submit(1, ("titled",), prefix="hung", plan={"sim_end": "never"})
    lab.submit(jobs - 2)
    lab.parked = 1
    lab.settle()
    lab.note(f"all others over after {time.monotonic() - start:.0f} s")
    lab.expect(lab.count("completed") == jobs - 2, f"not all others completed: {lab.states()}")


@experiment(
    "a run that cannot be read, on a plan of 1",
    "one run at a time; each GET of the first is a 400: the server cannot read its parameter back",
    jobs=6,
    simulator=("--duration", "0.5"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "1", "RUNQUEUE_POLL_MAX_SECONDS": "2"},
)
def unreadable(lab: Lab, jobs: int) -> None:
    """It is canceled when its time is up, and its slot is free a minute later."""
    key = "unreadable"
    parameter = {"parameter_type": "workflow", "key": "n", "workflow_parameter_type": "integer"}
    wait = {"block_type": "wait", "label": "w", "wait_sec": 1}
    workflow = lab.simulator.workflow(key, [parameter], [wait])
    body = {"workflow_id": workflow, "title": key, "parameters": {"n": 7.0}}
    lab.worker().start()
    line = {"custom_id": key, "kind": "workflow", "body": body, "max_run_seconds": 5}
    [job_id] = lab.take([line])
    lab.until_state("running", 1)
    lab.submit(jobs - 1)
    took = lab.settle()
    job = lab.queue.get(job_id)
    lab.note(f"all over after {took:.0f} s")
    lab.expect("cannot be read" in (job.reason or ""), f"it is {job.state}: {job.reason}")
    lab.expect(lab.count("completed") == jobs - 1, f"not all others completed: {lab.states()}")
    lab.expect(lab.simulator.summary()["live"] == 0, "its run was left live")


@experiment(
    "a cancel that is never confirmed, on a plan of 1",
    "one run at a time; each cancel of the first is a 500; its ten minutes are cut short by hand",
    jobs=6,
    simulator=("--duration", "0.5"),
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "1", "RUNQUEUE_POLL_MAX_SECONDS": "2"},
)
def unconfirmed_cancel(lab: Lab, jobs: int) -> None:
    """Its run keeps its slot, so that the plan holds, until it is seen to be over."""
    lab.worker().start()
    lab.simulator.faults({"match": {"route": "cancel_run"}, "action": {"status": 500}})
    [hung] = lab.submit(1, ("titled",), prefix="hung", plan={"sim_end": "never"})
    lab.until_state("running", 1)
    lab.queue.cancel(hung)
    lab.submit(jobs - 1)
    record, tries = f"{Keys('default').prefix}job:{hung}", f"{Keys('default').prefix}cancels"
    with lab.valkey.client() as client:
        lab.until(lambda: bool(client.hexists(record, "cancel_since")), 30, "the first try")
        client.hset(record, "cancel_since", 1)
        client.zadd(tries, {hung: int(time.time() * 1e6)}, xx=True)
    lab.until_state("failed", 1)
    time.sleep(5)
    alone = lab.simulator.summary()["runs"]
    lab.expect(alone == 1, f"{alone} runs were made beside it")
    lab.simulator.no_faults()
    lab.operations.cancel_strays(lab.operations.strays())
    lab.mend()
    lab.goes_on(20)
    lab.settle()
    lab.expect(lab.count("completed") == jobs - 1, f"not all others completed: {lab.states()}")
    most = lab.simulator.summary()["max_live"]
    lab.expect(most == 1, f"{most} runs at once on a plan of 1")


@experiment(
    "a 403 of one's own",
    "two requests are forbidden, their account is not",
    jobs=40,
    simulator=_RUNS,
)
def own_403(lab: Lab, jobs: int) -> None:
    """They are refused; the account goes on."""
    lab.simulator.faults(
        {
            "match": {"route": "run_task", "contains": "forbidden"},
            "action": {"status": 403, "body": {"detail": "Not allowed"}},
        }
    )
    lab.worker().start()
    lab.submit(2, ("titled",), prefix="forbidden")
    lab.submit(jobs - 2)
    took = lab.settle()
    lab.dead = 2
    lab.note(f"the others over after {took:.1f} s")
    lab.expect(took < 30, "the account was held")


@experiment(
    "a wrong base URL",
    "every request meets 404 Not Found, until the setting is mended",
    jobs=60,
    simulator=_RUNS,
)
def wrong_url(lab: Lab, jobs: int) -> None:
    """No job is burned."""
    wrong = lab.worker(base_url=f"{lab.simulator.url}/nowhere").start()
    lab.submit(jobs)
    lab.until(lambda: bool((stats := lab.stats()) and stats.hold_reason), 30, "the account's hold")
    time.sleep(3)
    sent = lab.simulator.summary()["requests"]
    lab.note(f"held after {sent} calls")
    lab.expect(lab.count("dead") == 0, f"burned: {lab.states()}")
    wrong.stop()
    lab.worker().start()
    lab.queue.resume()
    lab.mend()
    lab.goes_on(10)
    lab.settle()


@experiment(
    "a wrong key", "every call meets 403, until the setting is mended", jobs=60, simulator=_RUNS
)
def wrong_key(lab: Lab, jobs: int) -> None:
    """No job is burned."""
    wrong = lab.worker()
    wrong.environ["SKYVERN_API_KEY"] = "not-the-key"
    wrong.start()
    lab.submit(jobs)
    lab.until(lambda: bool((stats := lab.stats()) and stats.hold_reason), 30, "the account's hold")
    time.sleep(3)
    lab.note(f"held after {lab.simulator.summary()['submissions']} submissions")
    lab.expect(lab.count("dead") == 0, f"burned: {lab.states()}")
    wrong.stop()
    lab.worker().start()
    lab.queue.resume()
    lab.mend()
    lab.goes_on(10)
    lab.settle()


@experiment(
    "a mistake that has every request refused",
    "400 to each submission, until the 21st; then the mistake is mended",
    jobs=100,
    simulator=_RUNS,
    settings={"RUNQUEUE_MAX_CONCURRENT_RUNS": "5"},
)
def all_refused(lab: Lab, jobs: int) -> None:
    """After 20 refusals in a row the account is held: the queue is not burned."""
    lab.simulator.faults(
        *(
            {"match": {"route": route}, "action": {"status": 400, "body": {"detail": "No such"}}}
            for route in ("run_task", "run_workflow")
        )
    )
    lab.worker().start()
    lab.submit(jobs, MIXED)
    lab.until(lambda: bool((stats := lab.stats()) and stats.hold_reason), 60, "the account's hold")
    time.sleep(2)
    lab.dead = lab.count("dead")
    lab.note(f"held after {lab.dead} refusals")
    lab.expect(lab.dead <= 40, f"{lab.dead} jobs were burned")
    lab.simulator.no_faults()
    lab.queue.resume()
    lab.mend()
    lab.goes_on(10)
    lab.settle()
