"""A simulated world: it is built from a plan, runs it, and is judged."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from hashlib import sha1
from random import Random
from typing import Any, TextIO

from pydantic import SecretStr

from config.settings import Account, Settings
from runqueue.errors import BatchCanceled, BatchNotFound
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls, operator_calls
from runqueue.store.keys import Keys
from simulation.addresses import API_KEY, OTHERS_KEY, PUBLIC_URL, QUEUE_URL, SKYVERN_URL
from simulation.faults import FaultInjector
from simulation.history import EventHistory
from simulation.ledger import InvariantLedger
from simulation.log_rules import LogRules
from simulation.loop import VirtualLoop
from simulation.plan import FAULT_SHARE, SimulationPlan
from simulation.processes import SimulatedProcess, start_in
from simulation.producers import Producer
from simulation.programs import Broker, Receivers, SimulatedGateway, SimulatedWorker, router
from simulation.server import SimulatedRedis, ValkeyInstance
from simulation.skyvern import SimulatedSkyvern
from simulation.strangers import Strangers
from simulator.model.options import Options
from simulator.model.workflows import JsonDefinition

#: Seconds that jobs get to end after the simulated minutes, and between two checks for it.
MAX_EXTRA_SECONDS, CHECK_SECONDS = 2400.0, 10.0
#: Seconds between two extra jobs while an unconfirmed job waits for a newer run.
EXTRA_JOB_SECONDS = 90.0
#: Seconds for which an operator lets a recovery go on that waits for one.
PATIENCE_SECONDS = 240.0
#: Seconds between two reads of the statistics, and from the last fault until I8 is judged.
STATS_SECONDS, QUIET_AFTER_SECONDS = 5.0, 60.0


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
        self._extra_from, self._quiet_from = 0.0, float("inf")
        self.server = SimulatedRedis(valkey, self.loop, self.chance("redis"), self.history)
        self.broker = Broker(self.chance("broker"))
        self.receivers = Receivers(self.chance("receivers"))
        alike = Counter(request.body for request in plan.requests)
        self.ledger = InvariantLedger(self.loop.time, self._max_live_runs, alike)
        self.ledger.refuses_cancels = plan.refuses_cancels
        self.settings = self._settings()
        self.gateways: list[SimulatedGateway] = []
        self.workers: list[SimulatedWorker] = []
        post = router(
            *(self.gateways, self.receivers, PUBLIC_URL, self.chance("router")),
            *(self.history, self.ledger.fail),
        )
        process = self.new_process("skyvern")
        self.skyvern = process.call(
            SimulatedSkyvern, self._options(), process, self.chance("network"), post, self.history
        )
        self.skyvern.on_created = self._on_run_created
        self.skyvern.faults.no_cancels = plan.refuses_cancels
        self.skyvern.api.workflows.create(_UNREADABLE, 0.0)
        #: The limits of live runs, and since when each was in force; simulated seconds.
        self.limits: list[tuple[float, float]] = [(0.0, plan.max_concurrent_runs)]
        #: The sealed batches, by their numbers in the plan.
        self.batches: dict[int, str] = {}
        self._producer = Producer(self)
        self.strangers = Strangers(self)
        self.fault_injector = FaultInjector(self)
        self.log_rules = LogRules(self)

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
            *(self.settings, self.server, self.skyvern, self.broker, self.receivers),
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
        if plan.has_damaged_account:
            self.server.valkey.client.set(Keys("damaged").meta, "no hash")
        for number in range(plan.gateways):
            self.gateways.append(self.new_gateway(number))
        for number in range(plan.workers):
            self.workers.append(self.new_worker(number))
        for fault in plan.faults:
            self.fault_injector.schedule(fault)
        watching = start_in(self.new_process("watcher"), self._watch())
        producers = [start_in(self.new_process("producer"), self._producer.enqueue_plan())]
        await asyncio.sleep(plan.minutes * 60 * FAULT_SHARE + 1)
        self.note("the faults are over")
        await self.fault_injector.end()
        self._quiet_from = self.loop.time() + QUIET_AFTER_SECONDS
        await asyncio.sleep(max(0.0, plan.minutes * 60 - self.loop.time()))
        end = self.loop.time() + MAX_EXTRA_SECONDS
        reader = self.new_process("reader")
        await asyncio.wait(producers)
        while self.loop.time() < end:
            checking = start_in(reader, self._open_states())
            await asyncio.wait([checking])
            states = checking.result()
            if not states:
                break
            # An unconfirmed job waits until a newer run is in the list.
            if states == {JobState.UNCONFIRMED} and self.loop.time() > self._extra_from:
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

    def note(self, text: str) -> None:
        """Record an event of the simulation itself."""
        self.history.note("-", text)

    def _on_run_created(self, run: Any) -> None:
        now = self.skyvern.process.wall()
        if run.api_key != API_KEY:
            return  # others made it
        live = sum(
            not one.is_over(now) and one.api_key == API_KEY
            for one in self.skyvern.store.live_newest_first()
        )
        self.ledger.judge_new_run(run, live)

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
            if self.loop.time() > self._quiet_from or self.fault_injector.only_broker_is_away():
                stats = self.server.query(job_calls.stats("default"))
                self.ledger.judge_free_capacity(
                    stats, self.skyvern.submitted[-1] if self.skyvern.submitted else 0.0
                )

    async def _read(self, queue: AsyncRunQueue) -> dict[int, Job | None]:
        accepted = list(self.ledger.accepted.values())
        jobs = await queue.get_many([one.job_id for one in accepted], result=False)
        return {one.number: job for one, job in zip(accepted, jobs, strict=True)}

    async def _open_states(self) -> set[JobState]:
        """Return the states of jobs that should still end; resume what waits for an operator."""
        queue = AsyncRunQueue(QUEUE_URL)
        jobs = await self._read(queue)
        stats = (await queue.stats()).get("default")
        if stats is None:
            return set()
        # Until then a recovery may yet succeed, for which nobody has to vouch.
        if stats.waits_for_a_person and self.loop.time() > self._quiet_from + PATIENCE_SECONDS:
            self.note(f"a person resumes: {stats.hold_reason}")
            await queue.resume()
        for batch in self.batches.values():
            # A failover lost it, or it was canceled.
            with contextlib.suppress(BatchNotFound, BatchCanceled):
                if (await queue.get_batch(batch)).held:  # aborted, or its canaries failed
                    self.note("a person resumes a batch")
                    await queue.resume_batch(batch)
        open_ = {
            job.state
            for number, job in jobs.items()
            if job is not None
            and not job.is_over
            and not (job.state is JobState.UNCONFIRMED and self.ledger.may_stay_unconfirmed(number))
        }
        self.ledger.judge_waiting(jobs, self.plan.minutes * 60 * FAULT_SHARE)
        endless = sum(run.plan.end == "never" for run in self.skyvern.store.live_newest_first())
        if endless and stats.strays_live:
            self.note("a person cancels orphans")
            await self.fault_injector.operator.cancel_orphans(queue)
        may_end = stats.strays_live > (endless if self.plan.refuses_cancels else 0)
        return open_ | ({JobState.RUNNING} if may_end else set())

    async def _judge(self) -> None:
        queue = AsyncRunQueue(QUEUE_URL)
        jobs = await self._read(queue)
        missing = {one.number for one in self.plan.requests} - self.ledger.accepted.keys()
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
        ledger.judge_rate("calls", skyvern.called, plan.max_requests_per_second, spare)
        tries = len(self.settings.webhook_retry_seconds) + 1
        ledger.judge_webhooks(jobs, self.receivers.taken, self.receivers.refused, tries)
        ledger.judge_runs(jobs, orphans, skyvern.process.wall())
        ledger.judge_deadlines(plan.minutes * 60 * FAULT_SHARE, skyvern.process.wall())
        self.ledger.judge_orphans(jobs, orphans, self._is_owned)
        if stats is not None:
            self.ledger.judge_end(jobs, stats, self._count("unconfirmed"))
            self._judge_slots_in_doubt(jobs)
            live = sum(
                not run.is_over(skyvern.process.wall())
                for run in map(skyvern.store.get, orphans)
                if run
            )
            if live > stats.strays_live:
                ledger.fail(f"I3: {live} orphans go on, and {stats.strays_live} hold a slot")
        states = Counter(job.state.value if job else "gone" for job in jobs.values())
        self.note(f"the end: {dict(sorted(states.items()))}, {len(orphans)} orphans")

    def _judge_slots_in_doubt(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge that a task in doubt holds no slot once any run of it would be over (I8)."""
        if any("clock" in fault.kind or "fails over" in fault.kind for fault in self.plan.faults):
            return
        tasks = {request.number for request in self.plan.requests if request.kind == "task"}
        most_us = (self.plan.max_run_seconds + 60) * 1e6
        for number, job in jobs.items():
            if job is None or job.state is not JobState.UNCONFIRMED or number not in tasks:
                continue
            since = self.server.valkey.client.zscore(Keys("default").prefix + "unconfirmed", job.id)
            if since is not None and self.server.now_us() - since > most_us:
                self.ledger.fail(f"I8: job {number} is in doubt for long, and holds a slot")

    def _count(self, index: str) -> int:
        return int(self.server.valkey.client.zcard(Keys("default").prefix + index))

    def _is_owned(self, run_id: str) -> bool:
        bucket = sha1(run_id.encode(), usedforsecurity=False).hexdigest()[:4]
        key = f"{Keys('default').prefix}runs:{bucket}"
        return self.server.valkey.client.hget(key, run_id) is not None

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
            correlation=plan.correlation,
            run_tags=plan.run_tags,
            drain_seconds=plan.drain_seconds,
            max_burst_size=plan.max_burst_size,
            shared_account=any(fault.kind.startswith("others") for fault in plan.faults),
            accounts={"damaged": Account(api_key=SecretStr("other-key"), base_url=SKYVERN_URL)}
            if plan.has_damaged_account
            else {},
        )

    def _options(self) -> Options:
        plan = self.plan
        return Options(
            api_keys=(API_KEY, OTHERS_KEY),
            version=plan.version,
            duration=plan.run_seconds,
            duration_spread=0.8,
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
