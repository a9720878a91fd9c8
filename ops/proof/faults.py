"""The faults: for each alert what is done, and how it is mended.

A fault is provoked, its alert has to fire; it is mended, and the alert has to clear.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from faults.lab import line
from ops.proof.stage import Stage
from ops.proof.watching import seconds_until
from runqueue.ids import job_id_for
from runqueue.operator.rejected_lines import RejectedLines
from runqueue.records.claim_items import RunAccepted
from runqueue.store import worker_calls
from runqueue.store.budgets import Budget
from runqueue.store.keys import Keys

#: Does the fault and yields; what comes after mends it.
Body = Callable[[Stage], Iterator[None]]
_NEVER = {"sim_end": "never"}
_RECEIVES = {
    "RUNQUEUE_PUBLIC_URL": "receives",
    "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS": "true",
    "RUNQUEUE_WEBHOOK_RETRY_SECONDS": "1",
}


@dataclass(frozen=True, slots=True)
class ProofFault:
    """One fault.

    Args:
        alert: what it is to set off.
        done, mended: what is done, in a line each.
        simulator, settings: as for `staged`.
    """

    alert: str
    done: str
    mended: str
    body: Body
    simulator: tuple[str, ...] = ("--duration", "1")
    settings: Mapping[str, str] = field(default_factory=dict)


FAULTS: dict[str, ProofFault] = {}


def _fault(
    alert: str,
    done: str,
    mended: str,
    simulator: tuple[str, ...] = ("--duration", "1"),
    settings: Mapping[str, str] | None = None,
) -> Callable[[Body], Body]:
    def declare(body: Body) -> Body:
        FAULTS[alert] = ProofFault(alert, done, mended, body, simulator, settings or {})
        return body

    return declare


@_fault("RunqueueNotScraped", "kill -9 of the gateway", "it is started again")
def _gateway_dies(stage: Stage) -> Iterator[None]:
    stage.gateway.kill()
    yield
    stage.gateway.start()


@_fault("RunqueueUnreadable", "kill -9 of Redis", "it is started again, on its file")
def _redis_dies(stage: Stage) -> Iterator[None]:
    stage.lab.valkey.stop(signal.SIGKILL)
    yield
    stage.lab.valkey.start()


@_fault("RunqueueNoWorkers", "kill -9 of the only worker", "another is started")
def _worker_dies(stage: Stage) -> Iterator[None]:
    stage.worker.kill()
    yield
    stage.lab.worker().start()


@_fault(
    "RunqueueAccountHeld", "the key is refused: 403 to every call", "taken back; `runqueue resume`"
)
def _key_is_refused(stage: Stage) -> Iterator[None]:
    body = {"detail": "Could not validate credentials"}
    stage.lab.simulator.faults({"action": {"status": 403, "body": body}})
    stage.lab.submit(3)
    yield
    stage.lab.simulator.no_faults()
    stage.lab.queue.resume()


@_fault("RunqueueBreakerOpen", "500 to every submission", "they are answered again")
def _server_fails(stage: Stage) -> Iterator[None]:
    stage.lab.simulator.faults({"match": {"method": "POST"}, "action": {"status": 500}})
    stage.lab.submit(30, ("titled",))
    yield
    stage.lab.simulator.no_faults()


@_fault(
    "RunqueueReadsFail",
    "503 to every read while runs are live",
    "they are answered again",
    simulator=("--duration", "600"),
)
def _reads_fail(stage: Stage) -> Iterator[None]:
    stage.lab.submit(3, ("titled",))
    seconds_until(lambda: len(stage.lab.simulator.runs()) == 3, 30.0, "the runs")
    stage.lab.simulator.faults({"match": {"method": "GET"}, "action": {"status": 503}})
    yield
    stage.lab.simulator.no_faults()


@_fault(
    "RunqueueOldestJobWaits",
    "20 jobs against a limit of one in 100 s",
    "the limit is raised live",
    settings={"RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "0.01", "RUNQUEUE_MAX_BURST_SIZE": "1"},
)
def _limit_is_low(stage: Stage) -> Iterator[None]:
    stage.lab.submit(20)
    yield
    stage.limit(dispatches_per_second=100, burst_size=20)


@_fault("RunqueueBudgetNearlySpent", "runs take four fifths of a budget", "the budget is cleared")
def _budget_is_nearly_spent(stage: Stage) -> Iterator[None]:
    yield from _spending(stage, steps=10, jobs=9)


@_fault("RunqueueBudgetSpent", "runs take all of a budget", "the budget is cleared")
def _budget_is_spent(stage: Stage) -> Iterator[None]:
    yield from _spending(stage, steps=10, jobs=10)


def _spending(stage: Stage, steps: int, jobs: int) -> Iterator[None]:
    """Run jobs of one step each under a budget, and clear it."""
    stage.lab.queue.set_budget("account", Budget(steps, expected=1))
    stage.lab.submit(jobs, ("titled",))
    yield
    stage.lab.queue.set_budget("account", None)


@_fault(
    "RunqueueUnconfirmed",
    "answers are lost, and the server has no list of runs",
    "a person settles them: `runqueue unconfirmed fail`",
    simulator=("--duration", "1", "--no-list"),
)
def _answers_are_lost(stage: Stage) -> Iterator[None]:
    lost = {"match": {"route": "run_task"}, "action": {"close": True, "committed": True}}
    stage.lab.simulator.faults(lost)
    jobs = stage.lab.submit(2, ("titled",))
    yield
    stage.lab.operations.fail(jobs)


@_fault("RunqueueDeadGrowing", "422 to five submissions", "no more are refused")
def _requests_are_refused(stage: Stage) -> Iterator[None]:
    fault = {"type": "enum", "loc": ["body", "engine"], "msg": "no such engine"}
    refused = {"status": 422, "body": {"detail": [fault]}}
    rule = {"match": {"route": "run_task"}, "action": refused, "times": 5}
    stage.lab.simulator.faults(rule)
    stage.lab.submit(5, ("titled",))
    yield


@_fault("RunqueueFailureRatio", "12 runs fail at Skyvern", "50 runs are completed")
def _runs_fail(stage: Stage) -> Iterator[None]:
    stage.lab.submit(12, ("titled",), plan={"sim_end": "failed"})
    yield
    stage.lab.submit(50, ("titled",), prefix="later")


@_fault("RunqueueLinesRefused", "a line of no kind is pushed", "`runqueue inbox discard`")
def _line_is_refused(stage: Stage) -> Iterator[None]:
    with stage.lab.valkey.client() as client:
        client.rpush(f"{Keys('default').prefix}inbox", '{"kind": "nothing"}')
    yield
    refused = RejectedLines(stage.lab.queue)
    refused.discard(list(refused.find()))


@_fault(
    "RunqueueQuarantinedJobs",
    "a waiting job's record becomes a text",
    "the job is discarded",
)
def _record_is_damaged(stage: Stage) -> Iterator[None]:
    queue = stage.lab.queue
    queue.pause("default", "its record is about to be damaged")
    (job,) = queue.enqueue_many([line("damaged", "titled")])
    with stage.lab.valkey.client() as client:
        client.set(f"{Keys('default').prefix}job:{job.job_id}", "a typo")
    queue.resume("default")
    yield
    stage.lab.operations.discard([job.job_id])


@_fault(
    "RunqueueStrays",
    "a worker says late that a job which is gone has a run",
    "`runqueue strays cancel`",
)
def _run_is_nobody_s(stage: Stage) -> Iterator[None]:
    body = line("stray", "titled", _NEVER)["body"]
    answer = httpx.post(
        f"{stage.lab.simulator.url}/v1/run/tasks",
        json=body,
        headers={"x-api-key": "simulator-key"},
        timeout=10,
        trust_env=False,
    )
    gone = job_id_for("default", "gone", "stray")
    late = RunAccepted(gone, 1, str(answer.json()["run_id"]), "created", 1_000_000)
    assert stage.lab.queue.send(worker_calls.mark_running("default", [late])) == [2]
    yield
    stage.lab.operations.cancel_strays(stage.lab.operations.strays())


@_fault(
    "RunqueueWebhooksMissed",
    "none of Skyvern's webhooks leaves it",
    "they do again, and jobs go on",
    settings=_RECEIVES,
)
def _webhooks_are_dropped(stage: Stage) -> Iterator[None]:
    stage.lab.simulator.faults({"match": {"route": "webhook"}, "action": {"drop": True}})
    stage.lab.submit(30, ("titled",))
    yield
    stage.lab.simulator.no_faults()
    stage.lab.submit(40, ("titled",), prefix="later")


@_fault(
    "RunqueueDeliveryGaveUp",
    "a receiver is away for longer than it is tried",
    "no more are given up",
    settings=_RECEIVES,
)
def _receiver_is_away(stage: Stage) -> Iterator[None]:
    stage.lab.submit(3, ("hooked",))
    yield


@_fault(
    "RunqueueTokensRefused",
    "30 wrong tokens are sent",
    "no more are",
    settings={"RUNQUEUE_API_TOKENS": f"reader:read:{'0' * 64}"},
)
def _tokens_are_guessed(stage: Stage) -> Iterator[None]:
    def send(n: int) -> None:
        wrong = {"authorization": f"Bearer guess-{n}"}
        httpx.get(f"{stage.gateway.url}/v1/stats", headers=wrong, timeout=10, trust_env=False)

    with ThreadPoolExecutor(30) as guessers:
        list(guessers.map(send, range(30)))
    yield


@_fault(
    "RunqueueLimitUnused",
    "the only worker is frozen (SIGSTOP) while jobs wait",
    "it goes on (SIGCONT)",
    settings={"RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "20", "RUNQUEUE_MAX_BURST_SIZE": "20"},
)
def _worker_is_frozen(stage: Stage) -> Iterator[None]:
    stage.worker.signal(signal.SIGSTOP)
    stage.lab.submit(50)
    yield
    stage.worker.signal(signal.SIGCONT)


@_fault("RunqueueRedisEvicts", "maxmemory-policy is set to allkeys-lru", "it is set to noeviction")
def _policy_is_changed(stage: Stage) -> Iterator[None]:
    stage.config(maxmemory_policy="allkeys-lru")
    yield
    stage.config(maxmemory_policy="noeviction")


@_fault("RunqueueRedisAofFails", "the append-only file is switched off", "it is switched on")
def _file_is_off(stage: Stage) -> Iterator[None]:
    stage.config(appendonly="no")
    yield
    stage.config(appendonly="yes")


@_fault("RunqueueRedisFillsUp", "maxmemory is set just above what is used", "it is doubled")
def _memory_is_full(stage: Stage) -> Iterator[None]:
    with stage.lab.valkey.client() as client:
        used = int(client.info("memory")["used_memory"])
    stage.config(maxmemory=int(used * 1.08))
    yield
    stage.config(maxmemory=used * 4)
