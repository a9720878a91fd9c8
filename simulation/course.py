"""The course of a simulation: a plan is run in its world, and what came of it is judged."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TextIO, cast

from runqueue.errors import BatchCanceled, BatchNotFound
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls, operator_calls
from runqueue.store.budgets import Budget
from runqueue.store.keys import Keys
from simulation.faults import FaultInjector
from simulation.judges.holders import judge_holders
from simulation.judges.indexes import judge_indexes
from simulation.judges.liveness import LIVE
from simulation.judges.log_rules import LogRules
from simulation.judges.outcomes import OutcomeJudge
from simulation.operators import key_limit, strict_budget
from simulation.plan import FAULT_SHARE, SimulationPlan
from simulation.processes import SimulatedProcess, start_in
from simulation.producers import Producer, answered
from simulation.second_account import SecondAccount
from simulation.server import ValkeyInstance
from simulation.virtual.addresses import QUEUE_URL
from simulation.world import World
from simulator.model.fields import SessionFields
from worker.stages.deliver import EXTRA_SECONDS

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


#: In the reason of a hold: a recovery waits for a person, since no worker began it.
_NOT_LISTED = "no worker has listed the runs"


class Course:
    """The course of one simulation.

    Args:
        plan: its processes, requests and faults.
        valkey: the real server, empty.
        out: receives the history; None = only its digest is kept.
    """

    def __init__(
        self, plan: SimulationPlan, valkey: ValkeyInstance, out: TextIO | None = None
    ) -> None:
        self.world = world = World(plan, valkey, out)
        self._plan, self._loop, self._server = plan, world.loop, world.server
        self._skyvern, self._ledger, self._conduct = world.skyvern, world.ledger, world.conduct
        self.log_rules = LogRules(self.world)
        self._faults = FaultInjector(self.world)
        self._producer = Producer(self.world)
        self._extra_from = 0.0
        #: When the faults are over, simulated seconds.
        self._quiet_from = plan.minutes * 60 * FAULT_SHARE
        #: When each job was seen to be over, simulated seconds.
        self._over: dict[int, float] = {}
        #: When a check after the faults last saw a recovery of Redis, simulated seconds.
        self._recovery_seen_at = 0.0

    def run(self) -> None:
        """Run the plan, and judge."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())

    async def _run(self) -> None:
        plan, world = self._plan, self.world
        self._start()
        watching = start_in(world.new_process("watcher"), self._watch())
        self._start_producers()
        await asyncio.sleep(plan.minutes * 60 * FAULT_SHARE + 1)
        world.record("the faults are over")
        await self._faults.end()
        self._quiet_from = max(self._quiet_from, self._loop.time())
        await asyncio.sleep(max(0.0, plan.minutes * 60 - self._loop.time()))
        reader = world.new_process("reader")
        await self._wait_for_ends(reader)
        watching.cancel()
        judging = start_in(reader, self._judge())
        await asyncio.wait([judging])
        judging.result()
        for producer in world.producers:
            if producer.done() and producer.exception():
                self._ledger.fail(f"a producer failed: {producer.exception()!r}")

    async def _wait_for_ends(self, reader: SimulatedProcess) -> None:
        """Wait until the jobs have ended, or had their time."""
        producers, end = self.world.producers, self._loop.time() + MAX_EXTRA_SECONDS
        while any(not one.done() for one in producers):
            await asyncio.wait(producers)
        while True:
            checking = start_in(reader, self._open_states())
            await asyncio.wait([checking])
            states = checking.result()
            # Where jobs follow one another slowly, the last ones have their time, too.
            is_slow = self._idle_seconds() < SLOWEST_SECONDS and states != {JobState.UNCONFIRMED}
            latest = end + 3 * MAX_EXTRA_SECONDS if is_slow else end
            if not states or self._loop.time() > latest:
                return
            # An unconfirmed job waits until a newer run is listed; others may wait for its keys.
            waits = states == {JobState.UNCONFIRMED} or (
                JobState.UNCONFIRMED in states and self._idle_seconds() > EXTRA_JOB_SECONDS
            )
            if waits and self._loop.time() > self._extra_from:
                self._extra_from = self._loop.time() + EXTRA_JOB_SECONDS
                for kind in ("task", "workflow", "login"):
                    producers.append(start_in(reader, self._producer.enqueue_extra_job(kind)))
            await asyncio.sleep(CHECK_SECONDS)

    def _start_producers(self) -> None:
        """Start what enqueues, and who sets limits and budgets."""
        plan, world = self._plan, self.world
        world.start_producer("producer", self._producer.enqueue_plan())
        for group in plan.caps:
            world.start_producer("person", self._cap(*group))
        for key in plan.key_limits:
            world.start_producer("person", self._limit_key(*key))
        if plan.strict_budget:
            world.start_producer("person", self._set_budgets())
        if plan.schedules:
            world.start_producer("scheduler", self._faults.schedules.run())
        if plan.jobs_beside:
            world.start_producer("beside", SecondAccount(world).run())

    def _idle_seconds(self) -> float:
        """Return for how long nothing was submitted, simulated seconds."""
        return self._loop.time() - max(self._skyvern.submitted, default=0.0)

    def _start(self) -> None:
        """Start the processes, and have the faults come at their times."""
        plan = self._plan
        if plan.has_damaged_account:
            self._server.valkey.client.set(Keys("damaged").meta, "no hash")
        for number in range(plan.gateways):
            self.world.gateways.append(self.world.new_gateway(number))
        for number in range(plan.workers):
            self.world.workers.append(self.world.new_worker(number))
        for fault in plan.faults:
            self._faults.schedule(fault)
        for _ in range(max(request.session for request in plan.requests)):
            self._skyvern.store.sessions.create(SessionFields(), self._skyvern.process.wall())

    async def _cap(self, group: str, most: int) -> None:
        """Cap a group for good; it is not set again if Redis loses it."""
        await answered(partial(AsyncRunQueue(QUEUE_URL).set_group, group, max_concurrent=most))
        self.world.submissions.cap(group, most)

    async def _set_budgets(self) -> None:
        """Set the budgets; they are not set again if Redis loses them, but for the strict one."""
        queue, plan = AsyncRunQueue(QUEUE_URL), self._plan
        budgets = {
            scope: Budget(credits=n * plan.credits_per_step) if plan.credits_per_step else Budget(n)
            for scope, n in plan.budgets
        }
        budgets[plan.budget_scope] = strict_budget(plan, plan.strict_budget)
        await asyncio.sleep(plan.budget_from)
        for scope, budget in budgets.items():
            await answered(partial(queue.set_budget, scope, budget))
        self.world.submissions.set_budget(plan.strict_budget)
        self.world.spending.note_set(budgets)

    async def _limit_key(self, pattern: str, most: int) -> None:
        """Limit a key for good; it is not limited again if Redis loses it."""
        limit = key_limit(self._plan, pattern, most)
        await answered(partial(AsyncRunQueue(QUEUE_URL).set_key_limit, pattern, limit))
        self.world.submissions.limit_key(pattern, most)

    async def _watch(self) -> None:
        """Judge the account's statistics now and then, outside the history."""
        while True:
            await asyncio.sleep(STATS_SECONDS)
            stats = self._server.query(job_calls.stats("default"))
            now = self._loop.time()
            # Processes go on without a broker.
            but = ("a person", "the broker is not reached")
            is_calm = self.world.fault_times.is_calm(now - QUIET_AFTER_SECONDS, now, but)
            jobs = self._read_open() if self.world.tells_jobs_apart or is_calm else {}
            self.world.liveness.note_waits(jobs)
            self.world.judge_others(stats)
            submitted = max(self._skyvern.submitted[-1:], default=0.0)
            if is_calm:
                self._ledger.judge_free_capacity(stats, jobs, submitted)
            else:
                self._ledger.capacity_is_unknown()
            if is_calm and self.world.tells_jobs_apart:
                self.world.liveness.judge(stats, jobs, submitted)
            else:
                self.world.liveness.forget()
            if not self.world.tells_jobs_apart:
                continue
            self._conduct.judge_slots(stats, self.world.live_runs())
            self._conduct.judge_claims(jobs)
            self.world.leases.judge_claims(self._claims(jobs))

    def _read_open(self) -> dict[int, Job | None]:
        """Return the jobs that were not seen to be over, or that were reopened since."""
        accepted = [
            one
            for one in self._ledger.current()
            if self._over.get(one.number, 0.0) <= max(self._conduct.reopened[one.number], default=0)
        ]
        call = job_calls.get_jobs("default", [one.job_id for one in accepted], result=False)
        found = self._server.query(call) if accepted else []
        jobs = {one.number: job for one, job in zip(accepted, found, strict=True)}
        if not self._ledger.lost_writes:  # else a job may be open again
            now = self._loop.time()
            self._over |= {n: now for n, job in jobs.items() if job is not None and job.is_over}
        return {number: job for number, job in jobs.items() if job is None or not job.is_over}

    def _claims(self, jobs: Mapping[int, Job | None]) -> dict[int, str]:
        """Return the name of the process that each claimed job is claimed by."""
        claims: dict[int, str] = {}
        for number, job in jobs.items():
            if job is not None and job.state is JobState.SUBMITTING:
                key = f"{Keys('default').prefix}job:{job.id}"
                process = cast(bytes | None, self._server.valkey.client.hget(key, "process"))
                claims[number] = process.decode() if process else ""
        return claims

    async def _read(self, queue: AsyncRunQueue) -> dict[int, Job | None]:
        accepted = self._ledger.current()
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
        if stats.waits_for_a_person and self._loop.time() > self._quiet_from + PATIENCE_SECONDS:
            self.world.record(f"a person resumes: {stats.hold_reason}")
            is_recovery = stats.hold_kind == "redis" or _NOT_LISTED in (stats.hold_reason or "")
            if is_recovery and not stats.paused and not self._ledger.was_emptied:
                self._ledger.fail(f"I8: a recovery waits for a person: {stats.hold_reason}")
            self.world.submissions.resume("account")
            self._ledger.let_go_on()
            await queue.resume()
        is_reporting = any(
            job is not None and job.webhook.state is DeliveryState.PENDING for job in jobs.values()
        )
        for number, batch in self.world.batches.items():
            # A failover lost it, or it was canceled.
            with contextlib.suppress(BatchNotFound, BatchCanceled):
                found = await queue.get_batch(batch)
                is_reporting |= found.callback is not None and found.callback.pending > 0
                if found.held:  # aborted, or its canaries failed
                    self.world.record("a person resumes a batch")
                    self.world.submissions.resume(("batch", number))
                    await queue.resume_batch(batch)
        open_ = {
            job.state
            for number, job in jobs.items()
            if job is not None
            and not job.is_over
            and not (
                job.state is JobState.UNCONFIRMED and self._ledger.may_stay_unconfirmed(number)
            )
        }
        if stats.hold_kind == "redis":  # some jobs end only after the recovery
            self._recovery_seen_at = self._loop.time()
        self._ledger.judge_waiting(jobs, max(self._quiet_from, self._recovery_seen_at))
        has_firings = bool(self._plan.schedules) and self.world.schedules.is_open()
        endless = sum(run.plan.end == "never" for run in self.world.live_runs())
        if endless and stats.orphans_live:
            self.world.record("a person cancels orphans")
            await self._faults.operator.cancel_orphans(queue)
        may_end = stats.orphans_live > (endless if self._plan.refuses_cancels else 0)
        may_end |= is_reporting or has_firings
        may_end |= stats.hold_kind == "redis"  # a recovery shows lost runs
        return open_ | ({JobState.RUNNING} if may_end else set())

    async def _judge(self) -> None:
        queue = AsyncRunQueue(QUEUE_URL)
        jobs = await self._read(queue)
        missing = self.world.requests.keys() - self._ledger.accepted.keys() - self._ledger.refused
        if missing:
            self._ledger.fail(f"I8: the requests {sorted(missing)} were not accepted")
        stats = (await queue.stats()).get("default")
        orphans: list[str] = []
        cursor = "0"
        while True:
            cursor, found = await queue.send(operator_calls.list_orphans("default", cursor, 100))
            orphans += [one.run_id for one in found]
            if cursor == "0":
                break
        plan = self._plan
        # Each new server and each step of its clock fills the burst allowance once more.
        extra = (6 + self.world.settings.max_burst_size) * (1 + self.world.server_changes)
        ledger, skyvern = self._ledger, self._skyvern
        changes = self.world.server_changes * (plan.max_burst_size + 2)
        seconds = 3.0 if any("redis" in fault.kind for fault in plan.faults) else 0.5
        ledger.judge_submissions(
            *(skyvern.submitted, plan.max_submissions_per_second),
            *(plan.max_burst_size + 2 + changes, seconds),
        )
        # A read whose answer was another's is repeated at once, over a new connection.
        extra += skyvern.faults_met["call: the answer of the call before"]
        # An empty server knows no limits until a worker's next heartbeat.
        rate = 0.0 if ledger.was_emptied else plan.max_requests_per_second
        ledger.judge_rate("calls", skyvern.called, rate, extra)
        # Without a gateway Skyvern sends webhooks to users; our calls for another try may fail.
        tries = len(self.world.settings.webhook_retry_seconds) + 1 if plan.gateways else 0
        receivers, too_late = self.world.receivers, skyvern.process.wall() - EXTRA_SECONDS
        ledger.judge_webhooks(jobs, receivers.taken, receivers.refused, tries, too_late)
        submissions = Counter(one.number for one in self._conduct.submissions)
        ledger.judge_runs(jobs, orphans, skyvern.process.wall())
        ledger.judge_deadlines(jobs, self._quiet_from, skyvern.process.wall())
        ledger.judge_orphans(jobs, orphans, submissions)
        if self.world.tells_jobs_apart:
            self.world.submissions.judge_attempts(jobs)
            OutcomeJudge(
                *(ledger, self.world.requests, self.world.fault_times, self.world),
                self.world.report_lateness(),
            ).judge(jobs, stats)
            self._conduct.judge(jobs, self.world.requests)
            if plan.strict_budget:
                self.world.spending.judge(await queue.list_budgets(), jobs, self.world.requests)
            self._conduct.judge_pace(plan.max_burst_size, asks_to_wait=plan.asks_to_wait)
        self._conduct.judge_deliveries(jobs)
        await self._judge_batches(queue)
        self.world.schedules.judge()
        if stats is not None:
            self.world.marks.note_totals(stats.totals)
            self._judge_slots(jobs, stats, orphans)
        judge_indexes(self._server.valkey.client, "default", self._ledger.fail)
        judge_holders(self._ledger, self._holders(), self._owners())
        states = Counter(job.state.value if job else "gone" for job in jobs.values())
        self.world.record(f"the end: {dict(sorted(states.items()))}, {len(orphans)} orphans")

    async def _judge_batches(self, queue: AsyncRunQueue) -> None:
        """Judge what users were told of their batches."""
        batches: dict[int, Batch | None] = {}
        for number, batch in self.world.batches.items():
            with contextlib.suppress(BatchNotFound):
                batches[number] = await queue.get_batch(batch)
        self._conduct.judge_callbacks(batches, self.world.receivers.taken, self._plan.batch_rules)
        if self._plan.has_notices:
            deaths = self.world.faults_had["a worker is killed"]
            self._conduct.judge_notices(batches, self.world.receivers.batches_told, deaths)

    def _holders(self) -> dict[str, set[str]]:
        """Return what has each key, and what has steps committed to it of each strict budget."""
        client, prefix = self._server.valkey.client, Keys("default").prefix
        held: dict[str, set[str]] = {}
        for kind in ("key:", "max_steps:"):
            for key in cast(Iterable[bytes], client.scan_iter(f"{prefix}{kind}*")):
                of = client.smembers(key) if kind == "key:" else client.hkeys(key)
                members = {one.decode() for one in cast(Iterable[bytes], of)}
                held[key.decode().removeprefix(prefix)] = members - {"sum"}
        return held

    def _owners(self) -> set[str]:
        """Return the jobs and orphan runs that may have keys, and steps of budgets."""
        jobs = self._server.query(
            job_calls.get_jobs(
                *("default", [one.job_id for one in self._ledger.current()]), result=False
            )
        )
        live = {job.id for job in jobs if job is not None and job.state in LIVE}
        return live | {f"orphan {run.decode()}" for run in self.world.read_hash("orphan_takes")}

    def _judge_slots(
        self, jobs: Mapping[int, Job | None], stats: AccountStats, orphans: Sequence[str]
    ) -> None:
        """Judge that every job has ended, and which slots are taken, at the end."""
        key = Keys("default").prefix + "unconfirmed"
        held = cast(list[bytes], self._server.valkey.client.zrange(key, 0, -1))
        self._ledger.judge_end(jobs, stats, [job_id.decode() for job_id in held])
        self._judge_unconfirmed_slots(jobs)
        self._conduct.judge_slots(stats, self.world.live_runs(), seconds=0.0)
        self._conduct.judge_ends(jobs, stats.totals)
        now, found = self._skyvern.process.wall(), map(self._skyvern.store.get, orphans)
        live = sum(
            not run.is_over(now) and not self._conduct.is_overdue(run) for run in found if run
        )
        if live > stats.orphans_live:
            self._ledger.fail(f"I3: {live} orphans go on, and {stats.orphans_live} hold a slot")

    def _judge_unconfirmed_slots(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge that an unconfirmed task holds no slot once any run of it would be over (I8)."""
        if any("clock" in fault.kind or "fails over" in fault.kind for fault in self._plan.faults):
            return
        tasks = {one.number: one.limit for one in self._plan.requests if one.kind == "task"}
        for number, job in jobs.items():
            if job is None or job.state is not JobState.UNCONFIRMED or number not in tasks:
                continue
            most_us = (max(self._plan.max_run_seconds, tasks[number]) + 60) * 1e6
            since = self._server.valkey.client.zscore(
                Keys("default").prefix + "unconfirmed", job.id
            )
            if since is not None and self._server.now_us() - since > most_us:
                self._ledger.fail(f"I8: job {number} is unconfirmed for long, and holds a slot")
