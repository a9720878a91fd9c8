"""A simulated world: it is built from a plan, runs it, and is judged."""

from __future__ import annotations

import asyncio
import contextlib
import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from hashlib import sha1
from random import Random
from typing import Any, TextIO, TypeVar, cast

import orjson
from pydantic import SecretStr
from redis.exceptions import RedisError

from config.settings import Account, Settings
from runqueue.errors import BatchCanceled, BatchNotFound, RunQueueError
from runqueue.ids import TAG_KEY, account_tag
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls, operator_calls, worker_calls
from runqueue.store.budgets import Budget
from runqueue.store.keys import Keys
from simulation import second_account
from simulation.fault_times import FaultTimes
from simulation.faults import SLOWNESS, FaultInjector
from simulation.history import EventHistory
from simulation.judges.conduct_ledger import ConductLedger, SentSubmission
from simulation.judges.holders import judge_holders
from simulation.judges.indexes import judge_indexes
from simulation.judges.leases import LeaseJudge
from simulation.judges.ledger import JOB_NUMBER, InvariantLedger
from simulation.judges.liveness import LIVE, LivenessJudge
from simulation.judges.log_rules import LogRules
from simulation.judges.outcomes import OutcomeJudge
from simulation.judges.spending import SpendingJudge
from simulation.judges.submissions import SubmissionJudge
from simulation.marks import MAKES_OR_ENDS_ORPHANS, Marks
from simulation.operators import key_limit, strict_budget
from simulation.plan import (
    ANSWERS_NO_CALL,
    FAULT_SHARE,
    KILLS_WORKERS,
    SimulationPlan,
)
from simulation.processes import EPOCH, SimulatedProcess, start_in
from simulation.producers import Producer
from simulation.programs import Broker, Receivers, SimulatedGateway, SimulatedWorker, router
from simulation.server import SimulatedRedis, ValkeyInstance
from simulation.skyvern import SimulatedSkyvern
from simulation.strangers import Strangers
from simulation.virtual.addresses import API_KEY, OTHERS_KEY, PUBLIC_URL, QUEUE_URL, SKYVERN_URL
from simulation.virtual.loop import VirtualLoop
from simulator.model.fields import SessionFields
from simulator.model.options import Options
from simulator.model.releases import RELEASES
from simulator.model.runs import Run
from simulator.model.workflows import JsonDefinition

T = TypeVar("T")

#: Seconds that jobs get to end after the simulated minutes, and between two checks for it.
MAX_EXTRA_SECONDS, CHECK_SECONDS = 2400.0, 10.0
#: Seconds in which the slowest run ends, one that no cancel reaches: while jobs follow one another
#: within them, the extra time goes on, up to four times as long.
SLOWEST_SECONDS = 700.0
#: Seconds between two extra jobs while an unconfirmed job waits for a newer run.
EXTRA_JOB_SECONDS = 90.0
#: Seconds for which an operator lets a recovery go on that waits for one.
PATIENCE_SECONDS = 240.0
#: Seconds between two reads of the statistics, and from the last fault until I8 is judged.
STATS_SECONDS, QUIET_AFTER_SECONDS = 5.0, 60.0
#: Seconds before each further try of a webhook; the product's own would take days.
WEBHOOK_RETRY_SECONDS = (5.0, 20.0, 60.0)
#: Seconds until a worker starts in place of one that a submission killed.
RESTART_SECONDS = 5.0


#: In the reason of a hold: a recovery waits for a person, since no worker began it.
_NOT_LISTED = "no worker has listed the runs"

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


class World:
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
        self._extra_from = 0.0
        #: When the faults are over, simulated seconds.
        self._quiet_from = plan.minutes * 60 * FAULT_SHARE
        self.server = SimulatedRedis(valkey, self.loop, self.chance("redis"), self.history)
        self.broker = Broker(self.chance("broker"))
        self.receivers = Receivers(self.chance("receivers"), plan.failing_receivers)
        self.fault_times = FaultTimes(self.loop.time)
        self.ledger = InvariantLedger(
            *(self.loop.time, self._max_live_runs, plan.max_run_seconds),
            lambda: self.server.uncounted,
            lambda: self.server.unwitnessed + self._report_lateness(),
            lambda: self.skyvern.faults_met["call: an effect that comes after the client's limit"],
            plan.alike,
        )
        self._set_up_ledger()
        self.conduct = ConductLedger(self.ledger, self.fault_times, plan.max_run_seconds)
        self.ledger.first_lost_answer = self.conduct.first_lost_answer
        self.server.on_spinning = self._on_spinning
        self.marks = Marks()
        self.leases = LeaseJudge(self.ledger, self.fault_times)
        self.server.on_reply = self._with_errors_shown(self._on_reply)
        self.settings = self._settings()
        self.gateways: list[SimulatedGateway] = []
        self.workers: list[SimulatedWorker] = []
        #: When each job was seen to be over, simulated seconds.
        self._over: dict[int, float] = {}
        self.spending = SpendingJudge(
            self.ledger, self.fault_times, {plan.budget_scope: plan.budget_window}
        )
        #: When a check after the faults last saw a recovery of Redis, simulated seconds.
        self._recovery_seen_at = 0.0
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
        if plan.jobs_beside:
            process, chance = self.new_process("beside"), self.chance("beside")
            self.servers[second_account.KEY] = process.call(
                SimulatedSkyvern, self._options_beside(), process, chance, post, self.history
            )
        self.killed_workers = False
        self._killers = {one.number for one in plan.requests if one.run == KILLS_WORKERS}
        self._set_up_skyvern()
        #: The limits of live runs, and since when each was in force; simulated seconds.
        self.limits: list[tuple[float, float]] = [(0.0, plan.max_concurrent_runs)]
        #: The sealed batches, by their numbers in the plan.
        self.batches: dict[int, str] = {}
        self._producer = Producer(self)
        self._producers: list[asyncio.Task[None]] = []
        #: All requests, by their numbers.
        self.requests = {one.number: one for one in plan.requests}
        self.fault_injector = FaultInjector(self)
        self._set_up_judges()
        #: Whether each run shows by its request alone which job's it is.
        self._tells_jobs_apart = not plan.alike
        if self._tells_jobs_apart:
            self.skyvern.on_arrived = self._with_errors_shown(self.submissions.judge)
        self.skyvern.on_limited = self.submissions.ask_to_wait
        self.strangers = Strangers(self)
        self.log_rules = LogRules(self)

    def _set_up_judges(self) -> None:
        plan = self.plan
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
            has_rates=bool(plan.max_dispatches_per_second or plan.max_requests_per_second),
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
        """Have the server do what the plan says, and tell the judges."""
        plan = self.plan
        self.skyvern.on_created = self._with_errors_shown(self._on_run_created)
        self.skyvern.on_submitted = self._with_errors_shown(self._on_submitted)
        self.skyvern.faults.asks_to_wait = plan.asks_to_wait
        self.skyvern.kills = self._kill_by_submission
        self.skyvern.stuck_jobs |= {
            one.number for one in plan.requests if one.run == ANSWERS_NO_CALL
        }
        self.skyvern.lists_workflows_from = EPOCH + plan.lists_workflows_from
        self.skyvern.faults.no_cancels = plan.refuses_cancels
        self.skyvern.api.workflows.create(_UNREADABLE, 0.0)

    def _with_errors_shown(self, judge: Callable[..., T]) -> Callable[..., T | None]:
        """Return a judge whose errors become violations; else the product would handle them."""

        def judged(*arguments: Any) -> T | None:
            try:
                return judge(*arguments)
            except Exception:  # noqa: BLE001 - whatever it is, the seed shows it again
                self.ledger.fail(traceback.format_exc())
                return None

        return judged

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

    def run(self) -> None:
        """Run the plan, and judge."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._run())

    async def _run(self) -> None:
        plan = self.plan
        self._start()
        watching = start_in(self.new_process("watcher"), self._watch())
        producers = self._producers
        producers.append(start_in(self.new_process("producer"), self._producer.enqueue_plan()))
        producers += [start_in(self.new_process("person"), self._cap(*one)) for one in plan.caps]
        producers += [
            start_in(self.new_process("person"), self._limit_key(*one)) for one in plan.key_limits
        ]
        if plan.strict_budget:
            producers.append(start_in(self.new_process("person"), self._set_budgets()))
        if plan.jobs_beside:
            second = second_account.SecondAccount(self).run()
            producers.append(start_in(self.new_process("beside"), second))
        await asyncio.sleep(plan.minutes * 60 * FAULT_SHARE + 1)
        self.note("the faults are over")
        await self.fault_injector.end()
        self._quiet_from = max(self._quiet_from, self.loop.time())
        await asyncio.sleep(max(0.0, plan.minutes * 60 - self.loop.time()))
        end = self.loop.time() + MAX_EXTRA_SECONDS
        reader = self.new_process("reader")
        while any(not one.done() for one in producers):
            await asyncio.wait(producers)
        while True:
            checking = start_in(reader, self._open_states())
            await asyncio.wait([checking])
            states = checking.result()
            # Where jobs follow one another slowly, the last ones have their time, too.
            is_slow = self._idle_seconds() < SLOWEST_SECONDS and states != {JobState.UNCONFIRMED}
            latest = end + 3 * MAX_EXTRA_SECONDS if is_slow else end
            if not states or self.loop.time() > latest:
                break
            # An unconfirmed job waits until a newer run is listed; others may wait for its keys.
            waits = states == {JobState.UNCONFIRMED} or (
                JobState.UNCONFIRMED in states and self._idle_seconds() > EXTRA_JOB_SECONDS
            )
            if waits and self.loop.time() > self._extra_from:
                self._extra_from = self.loop.time() + EXTRA_JOB_SECONDS
                kinds = ("task", "workflow", "login")
                producers += [
                    start_in(reader, self._producer.enqueue_extra_job(kind)) for kind in kinds
                ]
            await asyncio.sleep(CHECK_SECONDS)
        watching.cancel()
        judging = start_in(reader, self._judge())
        await asyncio.wait([judging])
        judging.result()
        for producer in producers:
            if producer.done() and producer.exception():
                self.ledger.fail(f"a producer failed: {producer.exception()!r}")

    def _idle_seconds(self) -> float:
        """Return for how long nothing was submitted, simulated seconds."""
        return self.loop.time() - max(self.skyvern.submitted, default=0.0)

    def _start(self) -> None:
        """Start the processes, and have the faults come at their times."""
        plan = self.plan
        if plan.has_damaged_account:
            self.server.valkey.client.set(Keys("damaged").meta, "no hash")
        for number in range(plan.gateways):
            self.gateways.append(self.new_gateway(number))
        for number in range(plan.workers):
            self.workers.append(self.new_worker(number))
        for fault in plan.faults:
            self.fault_injector.schedule(fault)
        for _ in range(max(request.session for request in plan.requests)):
            self.skyvern.store.sessions.create(SessionFields(), self.skyvern.process.wall())

    def start_again(self, wait: float) -> None:
        """Have the producers enqueue all requests again after some seconds: Redis is empty."""
        again = self._producer.enqueue_again(wait)
        self._producers.append(start_in(self.new_process("producer"), again))

    def start_other(self, number: int) -> None:
        """Have a producer enqueue another request with the key of a discarded job."""
        other = self._producer.enqueue_other(number)
        self._producers.append(start_in(self.new_process("producer"), other))

    async def _cap(self, group: str, most: int) -> None:
        """Cap a group for good; it is not set again if Redis loses it."""
        queue = AsyncRunQueue(QUEUE_URL)
        while True:
            try:
                await queue.set_group(group, max_concurrent=most)
            except (RunQueueError, RedisError, OSError):
                await asyncio.sleep(1)
            else:
                break
        self.submissions.cap(group, most)

    async def _set_budgets(self) -> None:
        """Set the budgets; they are not set again if Redis loses them, but for the strict one."""
        queue, plan = AsyncRunQueue(QUEUE_URL), self.plan
        budgets = {scope: Budget(steps) for scope, steps in plan.budgets}
        budgets[plan.budget_scope] = strict_budget(plan, plan.strict_budget)
        await asyncio.sleep(plan.budget_from)
        for scope, budget in budgets.items():
            while True:
                try:
                    await queue.set_budget(scope, budget)
                except (RunQueueError, RedisError, OSError):
                    await asyncio.sleep(1)
                else:
                    break
        self.submissions.set_budget(plan.strict_budget)
        self.spending.note_set(budgets)

    async def _limit_key(self, pattern: str, most: int) -> None:
        """Limit a key for good; it is not limited again if Redis loses it."""
        queue = AsyncRunQueue(QUEUE_URL)
        while True:
            try:
                await queue.set_key_limit(pattern, key_limit(self.plan, pattern, most))
            except (RunQueueError, RedisError, OSError):
                await asyncio.sleep(1)
            else:
                break
        self.submissions.limit_key(pattern, most)

    def note(self, text: str) -> None:
        """Record an event of the simulation itself."""
        self.history.note("-", text)

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

    def _kill_by_submission(self, process: SimulatedProcess, content: bytes) -> bool:
        """Kill a worker that sends a submission of which workers die; say whether it died."""
        found = JOB_NUMBER.search(content) if self._killers else None
        if found is None or int(found[1]) not in self._killers:
            return False
        number = next(at for at, one in enumerate(self.workers) if one.process is process)
        self.killed_workers = True
        self.note(f"job {int(found[1])} kills {process.name}")
        process.kill()
        self.conduct.judge_death(int(found[1]))
        self.loop.call_later(RESTART_SECONDS, self._replace_worker, number, context=Context())
        return True

    def _on_submitted(self, process: SimulatedProcess, content: bytes) -> SentSubmission | None:
        self.leases.judge_submission(process)
        return self.conduct.note_submission(content, process.frozen_at)

    def _on_reply(
        self, process: SimulatedProcess, script: str, arguments: list[Any], reply: Any
    ) -> None:
        self.marks.note_reply(script, arguments, reply)
        self.leases.note_reply(process, script, arguments, reply)
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
            self.marks.note_orphans(self._read_hash("stray_takes"))

    def _on_spinning(self, process: str, script: str) -> None:
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
        strays = Keys("default").prefix + "strays"
        if self.ledger.lost_writes and self.server.valkey.client.hexists(strays, run_id):
            return  # a failover lost the claim: the job has this run from its next claim on
        if status < 300:
            is_occupied = run is not None and run.occupied is not None
            self.conduct.judge_webhook(job, int(attempt), run_id, is_occupied=is_occupied)
        else:
            self.conduct.judge_refused_webhook(job, run_id)

    def _replace_worker(self, number: int) -> None:
        if self.workers[number].process.is_dead:
            self.workers[number] = self.new_worker(number)

    def _live_runs(self) -> list[Run]:
        now = self.skyvern.process.wall()
        return [
            one
            for one in self.skyvern.store.live_newest_first()
            if one.api_key == API_KEY and not one.is_over(now)
        ]

    def _on_run_created(self, run: Run) -> None:
        if run.api_key != API_KEY:
            return  # others made it
        live = sum(not self.conduct.is_overdue(one) for one in self._live_runs())
        self.ledger.judge_new_run(run, live)
        self.submissions.judge_occupied(run)
        if self._tells_jobs_apart and self.plan.correlation:
            self.submissions.judge_markers(run)

    def _max_live_runs(self) -> float:
        """Return the highest limit of the last 900 s, whose runs may still be live."""
        now, most, after = self.loop.time(), 0.0, float("inf")
        for since, value in reversed(self.limits):
            if after >= now - 900:
                most = max(most, value or float("inf"))
            after = since
        return most

    async def _watch(self) -> None:
        """Judge the account's statistics now and then, outside the history."""
        while True:
            await asyncio.sleep(STATS_SECONDS)
            stats = self.server.query(job_calls.stats("default"))
            now = self.loop.time()
            # Processes go on without a broker.
            but = ("a person", "the broker is not reached")
            is_calm = self.fault_times.is_calm(now - QUIET_AFTER_SECONDS, now, but)
            jobs = self._read_open() if self._tells_jobs_apart or is_calm else {}
            self.liveness.note_waits(jobs)
            submitted = max(self.skyvern.submitted[-1:], default=0.0)
            if is_calm:
                self.ledger.judge_free_capacity(stats, jobs, submitted)
            else:
                self.ledger.capacity_is_unknown()
            if is_calm and self._tells_jobs_apart:
                self.liveness.judge(stats, jobs, submitted)
            else:
                self.liveness.forget()
            if not self._tells_jobs_apart:
                continue
            self.conduct.judge_slots(stats, self._live_runs())
            self.conduct.judge_claims(jobs)
            self.leases.judge_claims(self._claims(jobs))

    def _read_open(self) -> dict[int, Job | None]:
        """Return the jobs that were not seen to be over, or that were reopened since."""
        accepted = [
            one
            for one in self.ledger.current()
            if self._over.get(one.number, 0.0) <= max(self.conduct.reopened[one.number], default=0)
        ]
        call = job_calls.get_jobs("default", [one.job_id for one in accepted], result=False)
        found = self.server.query(call) if accepted else []
        jobs = {one.number: job for one, job in zip(accepted, found, strict=True)}
        if not self.ledger.lost_writes:  # else a job may be open again
            now = self.loop.time()
            self._over |= {n: now for n, job in jobs.items() if job is not None and job.is_over}
        return {number: job for number, job in jobs.items() if job is None or not job.is_over}

    def _claims(self, jobs: Mapping[int, Job | None]) -> dict[int, str]:
        """Return the name of the process that each claimed job is claimed by."""
        claims: dict[int, str] = {}
        for number, job in jobs.items():
            if job is not None and job.state is JobState.SUBMITTING:
                key = f"{Keys('default').prefix}job:{job.id}"
                process = cast(bytes | None, self.server.valkey.client.hget(key, "process"))
                claims[number] = process.decode() if process else ""
        return claims

    def _read_hash(self, name: str) -> dict[bytes, bytes]:
        found = self.server.valkey.client.hgetall(Keys("default").prefix + name)
        return cast(dict[bytes, bytes], found)

    async def _read(self, queue: AsyncRunQueue) -> dict[int, Job | None]:
        accepted = self.ledger.current()
        jobs = await queue.get_many([one.job_id for one in accepted], result=False)
        return {one.number: job for one, job in zip(accepted, jobs, strict=True)}

    async def _open_states(self) -> set[JobState]:
        """Return the states of jobs that should still end; resume what waits for an operator."""
        queue = AsyncRunQueue(QUEUE_URL)
        jobs = await self._read(queue)
        stats = (await queue.stats()).get("default")
        if stats is None:
            return set()
        # Before that a recovery may still succeed without an operator.
        if stats.waits_for_a_person and self.loop.time() > self._quiet_from + PATIENCE_SECONDS:
            self.note(f"a person resumes: {stats.hold_reason}")
            is_recovery = stats.hold_kind == "redis" or _NOT_LISTED in (stats.hold_reason or "")
            if is_recovery and not stats.paused and not self.ledger.was_emptied:
                self.ledger.fail(f"I8: a recovery waits for a person: {stats.hold_reason}")
            self.submissions.resume("account")
            self.ledger.let_go_on()
            await queue.resume()
        is_reporting = any(
            job is not None and job.webhook.state is DeliveryState.PENDING for job in jobs.values()
        )
        for number, batch in self.batches.items():
            # A failover lost it, or it was canceled.
            with contextlib.suppress(BatchNotFound, BatchCanceled):
                found = await queue.get_batch(batch)
                is_reporting |= found.callback is not None and found.callback.pending > 0
                if found.held:  # aborted, or its canaries failed
                    self.note("a person resumes a batch")
                    self.submissions.resume(("batch", number))
                    await queue.resume_batch(batch)
        open_ = {
            job.state
            for number, job in jobs.items()
            if job is not None
            and not job.is_over
            and not (job.state is JobState.UNCONFIRMED and self.ledger.may_stay_unconfirmed(number))
        }
        if stats.hold_kind == "redis":  # some jobs end only after the recovery
            self._recovery_seen_at = self.loop.time()
        self.ledger.judge_waiting(jobs, max(self._quiet_from, self._recovery_seen_at))
        endless = sum(run.plan.end == "never" for run in self._live_runs())
        if endless and stats.strays_live:
            self.note("a person cancels orphans")
            await self.fault_injector.operator.cancel_orphans(queue)
        may_end = stats.strays_live > (endless if self.plan.refuses_cancels else 0)
        may_end |= stats.hold_kind == "redis" or is_reporting  # a recovery shows lost runs
        return open_ | ({JobState.RUNNING} if may_end else set())

    async def _judge(self) -> None:
        queue = AsyncRunQueue(QUEUE_URL)
        jobs = await self._read(queue)
        missing = self.requests.keys() - self.ledger.accepted.keys() - self.ledger.refused
        if missing:
            self.ledger.fail(f"I8: the requests {sorted(missing)} were not accepted")
        stats = (await queue.stats()).get("default")
        orphans: list[str] = []
        cursor = "0"
        while True:
            cursor, found = await queue.send(operator_calls.list_strays("default", cursor, 100))
            orphans += [one.run_id for one in found]
            if cursor == "0":
                break
        plan = self.plan
        # Each new server and each step of its clock fills the burst allowance once more.
        spare = (6 + self.settings.max_burst_size) * (1 + self.fault_injector.server_changes)
        ledger, skyvern = self.ledger, self.skyvern
        changes = self.fault_injector.server_changes * (plan.max_burst_size + 2)
        seconds = 3.0 if any("redis" in fault.kind for fault in plan.faults) else 0.5
        ledger.judge_submissions(
            *(skyvern.submitted, plan.max_dispatches_per_second),
            *(plan.max_burst_size + 2 + changes, seconds),
        )
        # A read whose answer was another's is repeated at once, over a new connection.
        spare += skyvern.faults_met["call: the answer of the call before"]
        # An empty server knows no limits until a worker's next heartbeat.
        rate = 0.0 if ledger.was_emptied else plan.max_requests_per_second
        ledger.judge_rate("calls", skyvern.called, rate, spare)
        # Without a gateway Skyvern sends webhooks to users; our calls for another try may fail.
        tries = len(self.settings.webhook_retry_seconds) + 1 if plan.gateways else 0
        ledger.judge_webhooks(jobs, self.receivers.taken, self.receivers.refused, tries)
        submissions = Counter(one.number for one in self.conduct.submissions)
        ledger.judge_runs(jobs, orphans, skyvern.process.wall())
        ledger.judge_deadlines(jobs, self._quiet_from, skyvern.process.wall())
        ledger.judge_orphans(jobs, orphans, submissions)
        if self._tells_jobs_apart:
            self.submissions.judge_attempts(jobs)
            OutcomeJudge(
                *(ledger, self.requests, self.fault_times, self.fault_injector),
                self._report_lateness(),
            ).judge(jobs, stats)
            self.conduct.judge(jobs, self.requests)
            if plan.strict_budget:
                self.spending.judge(await queue.list_budgets(), jobs, self.requests)
            self.conduct.judge_pace(plan.max_burst_size, asks_to_wait=plan.asks_to_wait)
        self.conduct.judge_deliveries(jobs)
        batches: dict[int, Batch | None] = {}
        for number, batch in self.batches.items():
            with contextlib.suppress(BatchNotFound):
                batches[number] = await queue.get_batch(batch)
        self.conduct.judge_callbacks(batches, self.receivers.taken, self.plan.batch_rules)
        if stats is not None:
            self.marks.note_totals(stats.totals)
            self._judge_slots(jobs, stats, orphans)
        judge_indexes(self.server.valkey.client, "default", self.ledger.fail)
        judge_holders(self.ledger, self._holders(), self._owners())
        states = Counter(job.state.value if job else "gone" for job in jobs.values())
        self.note(f"the end: {dict(sorted(states.items()))}, {len(orphans)} orphans")

    def _holders(self) -> dict[str, set[str]]:
        """Return what has each key, and what has steps committed to it of each strict budget."""
        client, prefix = self.server.valkey.client, Keys("default").prefix
        held: dict[str, set[str]] = {}
        for kind in ("key:", "max_steps:"):
            for key in cast(Iterable[bytes], client.scan_iter(f"{prefix}{kind}*")):
                of = client.smembers(key) if kind == "key:" else client.hkeys(key)
                members = {one.decode() for one in cast(Iterable[bytes], of)}
                held[key.decode().removeprefix(prefix)] = members - {"sum"}
        return held

    def _owners(self) -> set[str]:
        """Return the jobs and orphan runs that may have keys, and steps of budgets."""
        jobs = self.server.query(
            job_calls.get_jobs(
                *("default", [one.job_id for one in self.ledger.current()]), result=False
            )
        )
        live = {job.id for job in jobs if job is not None and job.state in LIVE}
        return live | {f"stray {run.decode()}" for run in self._read_hash("stray_takes")}

    def _judge_slots(
        self, jobs: Mapping[int, Job | None], stats: AccountStats, orphans: Sequence[str]
    ) -> None:
        """Judge that every job has ended, and which slots are taken, at the end."""
        key = Keys("default").prefix + "unconfirmed"
        held = cast(list[bytes], self.server.valkey.client.zrange(key, 0, -1))
        self.ledger.judge_end(jobs, stats, [job_id.decode() for job_id in held])
        self._judge_slots_in_doubt(jobs)
        self.conduct.judge_slots(stats, self._live_runs(), seconds=0.0)
        self.conduct.judge_ends(jobs, stats.totals)
        now, found = self.skyvern.process.wall(), map(self.skyvern.store.get, orphans)
        live = sum(
            not run.is_over(now) and not self.conduct.is_overdue(run) for run in found if run
        )
        if live > stats.strays_live:
            self.ledger.fail(f"I3: {live} orphans go on, and {stats.strays_live} hold a slot")

    def _report_lateness(self) -> float:
        """Return by how many seconds reports of time may have been late, which look like a step."""
        is_met = self.fault_times.hindered(0.0, self.loop.time(), "redis is slow")
        return SLOWNESS if is_met else 0.0

    def _judge_slots_in_doubt(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge that a task in doubt holds no slot once any run of it would be over (I8)."""
        if any("clock" in fault.kind or "fails over" in fault.kind for fault in self.plan.faults):
            return
        tasks = {one.number: one.limit for one in self.plan.requests if one.kind == "task"}
        for number, job in jobs.items():
            if job is None or job.state is not JobState.UNCONFIRMED or number not in tasks:
                continue
            most_us = (max(self.plan.max_run_seconds, tasks[number]) + 60) * 1e6
            since = self.server.valkey.client.zscore(Keys("default").prefix + "unconfirmed", job.id)
            if since is not None and self.server.now_us() - since > most_us:
                self.ledger.fail(f"I8: job {number} is in doubt for long, and holds a slot")

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
            max_dispatches_per_second=plan.max_dispatches_per_second,
            max_requests_per_second=plan.max_requests_per_second,
            max_run_seconds=plan.max_run_seconds,
            public_url=PUBLIC_URL if plan.gateways else None,
            allow_private_webhook_targets=True,
            webhook_retry_seconds=WEBHOOK_RETRY_SECONDS,
            correlation=plan.correlation,
            run_tags=plan.run_tags,
            drain_seconds=plan.drain_seconds,
            max_burst_size=plan.max_burst_size,
            shared_account=self.ledger.is_shared and plan.is_declared_shared,
            accounts={
                name: Account(api_key=SecretStr(key), base_url=SKYVERN_URL, max_concurrent_runs=4)
                for name, key, is_served in (
                    ("damaged", "other-key", plan.has_damaged_account),
                    (second_account.NAME, second_account.KEY, plan.jobs_beside > 0),
                )
                if is_served
            },
        )

    @staticmethod
    def _options_beside() -> Options:
        return Options(api_keys=(second_account.KEY,), duration=3, duration_spread=0.5)

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
        )

    def faults_met(self) -> Counter[str]:
        """Return how often each kind of fault was met."""
        return (
            self.server.faults_met
            + self.broker.faults_met
            + self.receivers.faults_met
            + self.skyvern.faults_met
            + self.fault_injector.faults_met
        )
