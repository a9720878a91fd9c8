"""A simulated world, built from a plan: its processes, and the judges of what they do."""

from __future__ import annotations

import asyncio
import math
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import wraps
from hashlib import sha1
from random import Random
from typing import Any, TextIO, TypeVar, cast

import orjson
from pydantic import SecretStr

from config.notices import NotifyUrl
from config.settings import Account, Settings
from runqueue.ids import TAG_KEY, account_tag
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.account import AccountStats
from runqueue.store import job_calls, worker_calls
from runqueue.store.keys import Keys
from simulation import processes
from simulation.fault_times import FaultTimes
from simulation.history import EventHistory
from simulation.judges.conduct_ledger import ConductLedger
from simulation.judges.leases import LeaseJudge
from simulation.judges.ledger import JOB_NUMBER, InvariantLedger
from simulation.judges.liveness import LivenessJudge
from simulation.judges.schedule_histories import ScheduleJudge
from simulation.judges.spending import SpendingJudge
from simulation.judges.submissions import SubmissionJudge
from simulation.marks import MAKES_OR_ENDS_ORPHANS, Marks
from simulation.observer import Observer, SentSubmission
from simulation.plan import ANSWERS_NO_CALL, KILLS_WORKERS, SimulationPlan
from simulation.processes import SimulatedProcess, start_in
from simulation.programs import Broker, Receivers, SimulatedGateway, SimulatedWorker, router
from simulation.server import SimulatedRedis, ValkeyInstance
from simulation.skyvern import SimulatedSkyvern
from simulation.virtual.addresses import (
    API_KEY,
    OTHERS_KEY,
    PUBLIC_URL,
    SECOND_ACCOUNT,
    SECOND_KEY,
    SKYVERN_URL,
    TIMED_ACCOUNT,
    TIMED_KEY,
)
from simulation.virtual.loop import VirtualLoop
from simulator.model.options import Options
from simulator.model.releases import RELEASES
from simulator.model.runs import Run
from simulator.model.workflows import JsonDefinition

T = TypeVar("T")

#: Seconds before each further try of a webhook; the product's own would take days.
WEBHOOK_RETRY_SECONDS = (5.0, 20.0, 60.0)
#: Seconds that a slow Redis adds each way at most.
SLOWNESS = 6.0
#: Seconds for which a list of runs of others may be believed, and some more; one that counts ours.
OTHERS_SECONDS, OURS_SECONDS = 30.0, 20.0
#: Seconds until a worker starts in place of one that a submission killed.
RESTART_SECONDS = 5.0

#: Whom batches are told to that are over; nothing is sent to the URL itself.
_NOTIFIED = (NotifyUrl(SecretStr("json://notified.test"), frozenset({"batch_over"})),)

#: Its runs cannot be read back if `count` is no whole number.
_UNREADABLE = JsonDefinition.model_validate(
    {
        "title": "unreadable",
        "workflow_definition": {
            "parameters": [
                {"parameter_type": "workflow", "key": key, "workflow_parameter_type": kind}
                for key, kind in (("name", "string"), ("count", "integer"))
            ],
            "blocks": [],
        },
    }
)


def _shows_errors(judge: Callable[..., T]) -> Callable[..., T | None]:
    """Return a judge whose errors become violations; else the product would handle them."""

    @wraps(judge)
    def judged(world: World, *arguments: Any) -> T | None:
        try:
            return judge(world, *arguments)
        except Exception:  # noqa: BLE001 - whatever it is, the seed shows it again
            world.ledger.fail(traceback.format_exc())
            return None

    return judged


class World(Observer):
    """One simulation.

    Args:
        plan: its processes, requests and faults.
        valkey: the real server, empty.
        out: receives the history; None = only its digest is kept.
    """

    def __init__(
        self, plan: SimulationPlan, valkey: ValkeyInstance, out: TextIO | None = None
    ) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.history = EventHistory(self.loop, out)
        self._process_count = 0
        self.server = SimulatedRedis(valkey, self.loop, self.chance("redis"), self.history)
        self.broker = Broker(self.chance("broker"))
        self.receivers = Receivers(self.chance("receivers"), plan.failing_receivers)
        self.fault_times = FaultTimes(self.loop.time)
        self.ledger = InvariantLedger(
            *(self.loop.time, self._max_live_runs, plan.max_run_seconds),
            lambda: self.server.uncounted,
            lambda since: self.server.unwitnessed(since) + self.report_lateness(),
            lambda: self.skyvern.faults_met["call: an effect that comes after the client's limit"],
            plan.alike,
        )
        self._set_up_ledger()
        self.conduct = ConductLedger(self.ledger, self.fault_times, plan.max_run_seconds)
        self.ledger.first_lost_answer = self.conduct.first_lost_answer
        self.ledger.last_submission = self.conduct.last_submission
        spoils = ("answers are lost", "another answer comes instead")
        self.ledger.spoils_reads = lambda: any(self.faults_had[kind] for kind in spoils)
        self.marks = Marks()
        self.leases = LeaseJudge(self.ledger, self.fault_times)
        self.settings = self._settings()
        self.gateways: list[SimulatedGateway] = []
        self.workers: list[SimulatedWorker] = []
        self.spending = SpendingJudge(
            *(self.ledger, self.fault_times, plan.credits_per_step),
            {plan.budget_scope: plan.budget_window},
        )
        post = router(
            *(self.gateways, self.receivers, PUBLIC_URL, self.chance("router")),
            *(self.history, self.server.named, self.ledger.fail, self._on_webhook_answered),
        )
        process = self.new_process("skyvern")
        self.skyvern = process.call(
            SimulatedSkyvern, self._options(), process, self.chance("network"), post, self.history
        )
        #: The servers of other accounts, by API key; and whether a submission killed a worker.
        self.servers: dict[str, SimulatedSkyvern] = {}
        for name, key, is_served in self._accounts_beside():
            if is_served:
                process, chance = self.new_process(name), self.chance(name)
                options = Options(api_keys=(key,), duration=3, duration_spread=0.5)
                self.servers[key] = process.call(
                    SimulatedSkyvern, options, process, chance, post, self.history
                )
        self.killed_workers = False
        self._killers = {one.number for one in plan.requests if one.run == KILLS_WORKERS}
        self._set_up_skyvern()
        #: The limits of live runs, and since when each was in force; simulated seconds.
        self.limits: list[tuple[float, float]] = [(0.0, plan.max_concurrent_runs)]
        #: The sealed batches, by their numbers in the plan.
        self.batches: dict[int, str] = {}
        #: What enqueues, each in its process.
        self.producers: list[asyncio.Task[None]] = []
        #: All requests, by their numbers.
        self.requests = {one.number: one for one in plan.requests}
        #: Faults with an effect; how often Redis or its clock changed; who waits for a claim.
        self.faults_had: Counter[str] = Counter()
        self.server_changes = 0
        self.await_firing: list[tuple[int, asyncio.Future[SimulatedProcess]]] = []
        self.await_claim: list[asyncio.Future[SimulatedProcess]] = []
        self._set_up_judges()
        #: Whether each run shows by its request alone which job's it is.
        self.tells_jobs_apart = not plan.alike
        self.server.observer = self.skyvern.observer = self

    def _set_up_judges(self) -> None:
        plan = self.plan
        self.schedules = ScheduleJudge(
            *(plan, self.ledger, self.server, self.fault_times, self.marks.reached)
        )
        if plan.schedules:
            self.servers[TIMED_KEY].observer = self.schedules
        self.submissions = SubmissionJudge(
            self.ledger,
            self.requests,
            {number: rules.get("canary", 0) for number, rules in plan.batch_rules.items()},
            self.fault_times.is_calm,
            lambda: self.server.slowness,
            key_rates=dict(plan.key_rates),
            budget_window=plan.budget_window,
        )
        self.liveness = LivenessJudge(
            *(self.ledger, self.requests, plan.batch_rules, self.submissions, self.marks.reached),
            has_rates=bool(plan.max_submissions_per_second or plan.max_requests_per_second),
        )

    def _set_up_ledger(self) -> None:
        """Tell the ledger what the plan allows."""
        plan = self.plan
        self.ledger.refuses_cancels = plan.refuses_cancels
        self.ledger.has_markers = plan.correlation
        self.ledger.caps.update(plan.caps)
        self.ledger.key_limits.update({"session:*": 1}, **dict(plan.key_limits))
        self.ledger.shows_tags = RELEASES[plan.version].has_tags
        self.ledger.is_hidden = self._is_hidden
        self.ledger.is_owned = self._is_owned
        self.ledger.is_shared = any(fault.kind.startswith("others") for fault in plan.faults)

    def _set_up_skyvern(self) -> None:
        """Have the server do what the plan says."""
        plan = self.plan
        self.skyvern.faults.asks_to_wait = plan.asks_to_wait
        self.skyvern.stuck_jobs |= {
            one.number for one in plan.requests if one.run == ANSWERS_NO_CALL
        }
        self.skyvern.lists_workflows_from = processes.EPOCH + plan.lists_workflows_from
        self.skyvern.faults.no_cancels = plan.refuses_cancels
        self.skyvern.api.workflows.create(_UNREADABLE, 0.0)

    def chance(self, name: str) -> Random:
        """Return the random source of a name."""
        return Random(f"{self.plan.seed} {name}")

    def new_process(self, name: str) -> SimulatedProcess:
        """Return a new process."""
        self._process_count += 1
        return SimulatedProcess(name, self.loop, self.chance(f"{name} {self._process_count}"))

    def new_worker(self, number: int) -> SimulatedWorker:
        """Start a worker process."""
        worker = SimulatedWorker(
            self.new_process(f"worker{number}"),
            *(self.settings, self.server, self.skyvern, self.servers, self.broker, self.receivers),
        )
        worker.start()
        return worker

    def new_gateway(self, number: int) -> SimulatedGateway:
        """Start a gateway process."""
        process = self.new_process(f"gateway{number}")
        return process.call(SimulatedGateway, process, self.settings, self.server)

    def start_producer(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Begin what enqueues, in a process of that name."""
        self.producers.append(start_in(self.new_process(name), coroutine))

    def record(self, text: str) -> None:
        """Record an event of the simulation itself."""
        self.history.record("-", text)

    async def cancel(self, queue: AsyncRunQueue, number: int) -> None:
        """Cancel an accepted job, and have the ledger know."""
        self.note_cancels([number])
        await queue.cancel(self.ledger.accepted[number].job_id)
        self.note_canceled([number])

    def note_cancels(self, numbers: Sequence[int]) -> None:
        """Note that the cancel of jobs is asked for, which may be answered or not."""
        self.conduct.maybe_canceled.update(numbers)
        for number in numbers:
            self.ledger.cancels.setdefault(number, math.inf)

    def note_canceled(self, numbers: Sequence[int]) -> None:
        """Note that the cancel of jobs is answered."""
        self.conduct.note_canceled(numbers)
        for number in numbers:
            self.ledger.cancels[number] = self.loop.time()

    def kills(self, process: SimulatedProcess, content: bytes) -> bool:
        """Kill a worker that sends a submission of which workers die; say whether it died."""
        found = JOB_NUMBER.search(content) if self._killers else None
        if found is None or int(found[1]) not in self._killers:
            return False
        number = next(at for at, one in enumerate(self.workers) if one.process is process)
        self.killed_workers = True
        self.record(f"job {int(found[1])} kills {process.name}")
        process.kill()
        self.conduct.judge_death(int(found[1]))
        self.loop.call_later(RESTART_SECONDS, self._replace_worker, number, context=Context())
        return True

    @_shows_errors
    def on_submitted(self, process: SimulatedProcess, content: bytes) -> SentSubmission | None:
        self.leases.judge_submission(process)
        return self.conduct.note_submission(content, process.frozen_at)

    @_shows_errors
    def on_reply(
        self, process: SimulatedProcess, script: str, arguments: list[Any], reply: Any
    ) -> None:
        self.marks.note_reply(script, arguments, reply)
        self.leases.note_reply(process, script, arguments, reply)
        self.schedules.note_reply(script, arguments, reply)
        if self.await_firing and self._is_of_a_firing(process, script, arguments, reply):
            process.kill()
            self.await_firing.pop(0)[1].set_result(process)
        if script == "lists_end":
            self.conduct.judge_lists_end()
        if script in {"give_back", "mark_dead"}:
            self.conduct.judge_fence(script, arguments, reply)
        if script == "record_search":
            self.conduct.judge_searches(arguments, reply)
        if script == "claim" and reply[0] == b"ok" and len(reply) > 5:
            call = worker_calls.claim("default", "", "", 1, 0)
            attempts = {item.job_id: item.attempt for item in call.parse(reply).items}
            if next(iter(attempts)).startswith(account_tag("default")):
                stats = self.server.query(job_calls.stats("default"))
                self.conduct.judge_claim(str(arguments[1]), attempts, stats)
        if script in MAKES_OR_ENDS_ORPHANS:
            self.marks.note_orphans(self.read_hash("orphan_takes"))

    def _is_of_a_firing(
        self, process: SimulatedProcess, script: str, arguments: list[Any], reply: Any
    ) -> bool:
        """Say whether a call is the moment of a firing that somebody waits for."""
        moment, is_first = self.await_firing[0][0] % 4, bool(arguments)
        if moment == 0:
            return script == "schedule_claim" and len(reply) > 4
        if moment == 1:
            return script == "record_schedule" and process.name.startswith("worker")
        wanted = "enqueue" if moment == 2 else "seal_batch"
        return is_first and script == wanted and str(arguments[0]) in self.schedules.batches()

    @_shows_errors
    def on_arrived(self, content: bytes) -> None:
        if self.tells_jobs_apart:
            self.submissions.judge(content)

    def on_limited(self, seconds: float) -> None:
        self.submissions.ask_to_wait(seconds)

    def on_claim(self, process: SimulatedProcess) -> None:
        if self.await_claim:
            process.freeze()
            self.await_claim.pop(0).set_result(process)

    def on_spinning(self, process: str, script: str) -> None:
        """Fail, and end the simulation, which would take very long."""
        self.ledger.fail(f"I7: {process} calls {script} without a pause")
        self.loop.stop()

    def _on_webhook_answered(self, status: int, path: str, body: bytes) -> None:
        if self.server.is_down:
            return
        account, job_id, attempt = path.split("/")[-4:-1]
        if account != "default":
            return
        (job,) = self.server.query(job_calls.get_jobs("default", [job_id], result=False))
        run_id = orjson.loads(body)["run_id"]
        run = self.skyvern.store.get(run_id)
        orphans = Keys("default").prefix + "orphans"
        if self.ledger.lost_writes and self.server.valkey.client.hexists(orphans, run_id):
            return  # a failover lost the claim: the job has this run from its next claim on
        if status < 300:
            is_occupied = run is not None and run.occupied is not None
            self.conduct.judge_webhook(job, int(attempt), run_id, is_occupied=is_occupied)
        else:
            self.conduct.judge_refused_webhook(job, run_id)

    def _replace_worker(self, number: int) -> None:
        if self.workers[number].process.is_dead:
            self.workers[number] = self.new_worker(number)

    def live_runs(self) -> list[Run]:
        now = self.skyvern.process.wall()
        return [
            one
            for one in self.skyvern.store.live_newest_first()
            if one.api_key == API_KEY and not one.is_over(now)
        ]

    def judge_others(self, stats: AccountStats) -> None:
        """Judge that no run of ours counts as another's (I3), but for new ones in a list."""
        now = self.skyvern.process.wall()
        since, newer = now - OTHERS_SECONDS, now - OURS_SECONDS
        theirs = sum(
            one.ended > since and (one.api_key != API_KEY or one.created > newer)
            for one in self.skyvern.store.oldest_first()
        )
        if (stats.others or 0) > theirs and not self.ledger.lost_writes:
            self.ledger.fail(f"I3: {stats.others} runs count as others', who have {theirs}")

    @_shows_errors
    def on_run_created(self, run: Run) -> None:
        if run.api_key != API_KEY:
            return  # others made it
        live = sum(not self.conduct.is_overdue(one) for one in self.live_runs())
        self.ledger.judge_new_run(run, live)
        self.submissions.judge_occupied(run)
        if self.tells_jobs_apart and self.plan.correlation:
            self.submissions.judge_markers(run)

    def _max_live_runs(self) -> float:
        """Return the highest limit of the last 900 s, whose runs may still be live."""
        now, most, after = self.loop.time(), 0.0, float("inf")
        for since, value in reversed(self.limits):
            if after >= now - 900:
                most = max(most, value or float("inf"))
            after = since
        return most

    def read_hash(self, name: str) -> dict[bytes, bytes]:
        found = self.server.valkey.client.hgetall(Keys("default").prefix + name)
        return cast(dict[bytes, bytes], found)

    def report_lateness(self) -> float:
        """Return by how many seconds reports of time may have been late, which look like a step."""
        is_met = self.fault_times.hindered(0.0, self.loop.time(), "redis is slow")
        return SLOWNESS if is_met else 0.0

    def _is_owned(self, run_id: str) -> bool:
        bucket = sha1(run_id.encode(), usedforsecurity=False).hexdigest()[:4]
        key = f"{Keys('default').prefix}runs:{bucket}"
        return self.server.valkey.client.hget(key, run_id) is not None

    def _is_hidden(self, run: Run) -> bool:
        """Say whether the queue cannot know whose a run is: no job owns it, and it shows no marker.

        Runs that cannot be read show a tag at most, in a release that has tags.
        """
        submission = run.submission
        is_tagged = self.ledger.shows_tags and TAG_KEY in (submission.tags or {})
        is_marked = self.plan.correlation and (submission.unreadable is None or is_tagged)
        return not is_marked and not self._is_owned(run.run_id)

    def _settings(self) -> Settings:
        plan = self.plan
        return Settings(
            _env_file=None,
            SKYVERN_API_KEY=SecretStr(API_KEY),
            SKYVERN_BASE_URL=SKYVERN_URL,
            max_concurrent_runs=plan.max_concurrent_runs,
            max_submissions_per_second=plan.max_submissions_per_second,
            max_requests_per_second=plan.max_requests_per_second,
            max_run_seconds=plan.max_run_seconds,
            public_url=PUBLIC_URL if plan.gateways else None,
            allow_private_webhook_targets=True,
            notify_urls=_NOTIFIED if plan.has_notices else (),
            webhook_retry_seconds=WEBHOOK_RETRY_SECONDS,
            correlation=plan.correlation,
            run_tags=plan.run_tags,
            drain_seconds=plan.drain_seconds,
            max_burst_size=plan.max_burst_size,
            credits_per_step=plan.credits_per_step or None,
            run_details="all" if plan.credits_per_step else "never",
            share_capacity=plan.shares_capacity,
            shared_account=self.ledger.is_shared and plan.is_declared_shared,
            accounts={
                name: Account(api_key=SecretStr(key), base_url=SKYVERN_URL, max_concurrent_runs=4)
                for name, key, is_served in (
                    ("damaged", "other-key", plan.has_damaged_account),
                    *self._accounts_beside(),
                )
                if is_served
            },
        )

    def _accounts_beside(self) -> tuple[tuple[str, str, bool], ...]:
        """Return accounts with Skyvern servers of their own: names, keys, and whether they are."""
        return (
            (SECOND_ACCOUNT, SECOND_KEY, self.plan.jobs_beside > 0),
            (TIMED_ACCOUNT, TIMED_KEY, bool(self.plan.schedules)),
        )

    def _options(self) -> Options:
        plan = self.plan
        return Options(
            api_keys=(API_KEY, OTHERS_KEY),
            version=plan.version,
            duration=plan.run_seconds,
            duration_spread=0.8,
            session_release=plan.session_release,
            failed=plan.bad_run_share / 2,
            timed_out=plan.bad_run_share / 2,
            seed=plan.seed,
            credits_per_step=plan.credits_per_step,
        )

    def faults_met(self) -> Counter[str]:
        """Return how often each kind of fault was met."""
        return (
            self.server.faults_met
            + self.broker.faults_met
            + self.receivers.faults_met
            + self.skyvern.faults_met
            + self.faults_had
        )
