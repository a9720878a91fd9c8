"""A simulated world: it is built from a plan, lives through it, and is judged."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from hashlib import sha1
from random import Random
from typing import Any, TextIO

import orjson
from pydantic import SecretStr
from redis.exceptions import RedisError

from config.settings import Settings
from runqueue import RunQueueError
from runqueue.errors import BatchCanceled, BatchExpired, BatchNotFound
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import Enqueued, EnqueueStatus, Job, JobState
from runqueue.store import job_calls, operator_calls
from runqueue.store.keys import Keys
from simulation.history import History
from simulation.ledger import AcceptedJob, Ledger
from simulation.loop import VirtualLoop
from simulation.plan import Plan, Request
from simulation.processes import CURRENT, Process, start_in
from simulation.programs import Broker, Gateway, Receivers, Worker, router
from simulation.server import Client, Server, Valkey
from simulation.skyvern import Skyvern
from simulation.troubles import Troubles
from simulator.model.options import Options

KEY = "simulated-key"
PUBLIC_URL = "https://queue.test"
#: Seconds that what has not settled in its time gets; and between two looks whether it has.
PATIENCE, LOOK_EVERY = 2400.0, 10.0
#: Seconds between two further jobs, where something in doubt waits for one.
MORE_EVERY = 90.0
#: Seconds between two looks at the account; and after the last fault until waiting counts.
WATCH_EVERY, SETTLING = 5.0, 60.0
#: Seconds after which lines that made no jobs are pushed to the inbox once more.
PUSHED_AGAIN = 120.0
#: Seconds by which a job may be submitted before its time, and after its deadline: an effect that
#: comes late was sent in time.
EARLY, LATE = 0.5, 20.0
#: Requests that come after the plan's have numbers above this one.
_MORE = 10_000
#: Stands for the queue's Redis, where the product takes a URL.
URL = "redis://simulated.invalid"


class World:
    """One simulation.

    Args:
        plan: what it is made of.
        valkey: the real server, cleared.
        out: where the history is written; None = only its digest is kept.
    """

    def __init__(self, plan: Plan, valkey: Valkey, out: TextIO | None = None) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.history = History(self.loop, out)
        self._made = self._more = 0
        self._more_from, self._quiet_from = 0.0, float("inf")
        self.server = Server(valkey, self.loop, self.chance("redis"), self.history)
        self.broker = Broker(self.chance("broker"))
        self.receivers = Receivers(self.chance("receivers"))
        self.ledger = Ledger(self.loop.time, self._live_most)
        self.settings = self._settings()
        self.gateways: list[Gateway] = []
        self.workers: list[Worker] = []
        post = router(
            self.gateways, self.receivers, PUBLIC_URL, self.chance("router"), self.history
        )
        process = self.new_process("skyvern")
        self.skyvern = process.call(
            Skyvern, self._options(), process, self.chance("network"), post, self.history
        )
        self.skyvern.created = self._created
        #: The limits of live runs that were in force, and since when.
        self.limits: list[tuple[float, float]] = [(0.0, plan.max_concurrent_runs)]
        #: The sealed batches, by their numbers in the plan.
        self.batches: dict[int, str] = {}
        self.troubles = Troubles(self)

    def chance(self, name: str) -> Random:
        """Return a source of random numbers of its own."""
        return Random(f"{self.plan.seed} {name}")

    def new_process(self, name: str) -> Process:
        """Return a process that begins now."""
        self._made += 1
        return Process(name, self.loop, self.chance(f"{name} {self._made}"))

    def new_worker(self, number: int) -> Worker:
        """Begin a worker process."""
        worker = Worker(
            self.new_process(f"worker{number}"),
            *(self.settings, self.server, self.skyvern, self.broker, self.receivers),
        )
        worker.start()
        return worker

    def new_gateway(self, number: int) -> Gateway:
        """Begin a gateway process."""
        process = self.new_process(f"gateway{number}")
        return process.call(Gateway, process, self.settings, self.server)

    def run(self) -> None:
        """Live through the plan, and judge."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._run())

    async def _run(self) -> None:
        plan = self.plan
        for number in range(plan.gateways):
            self.gateways.append(self.new_gateway(number))
        for number in range(plan.workers):
            self.workers.append(self.new_worker(number))
        for fault in plan.faults:
            self.troubles.schedule(fault)
        watching = start_in(self.new_process("watcher"), self._watch())
        producers = [start_in(self.new_process("producer"), self._produce())]
        await asyncio.sleep(plan.minutes * 60 * 0.6 + 1)
        self.note("the faults are over")
        await self.troubles.end()
        self._quiet_from = self.loop.time() + SETTLING
        await asyncio.sleep(max(0.0, plan.minutes * 60 - self.loop.time()))
        end = self.loop.time() + PATIENCE
        reader = self.new_process("reader")
        await asyncio.wait(producers)
        while self.loop.time() < end:
            looking = start_in(reader, self._unsettled())
            await asyncio.wait([looking])
            left = looking.result()
            if not left:
                break
            # Jobs go on coming: what is in doubt waits for something newer in the list.
            if left == {JobState.UNCONFIRMED} and self.loop.time() > self._more_from:
                self._more_from = self.loop.time() + MORE_EVERY
                kinds = ("task", "workflow", "login")
                producers += [start_in(reader, self._enqueue_one_more(kind)) for kind in kinds]
            await asyncio.sleep(LOOK_EVERY)
        watching.cancel()
        judging = start_in(reader, self._judge())
        await asyncio.wait([judging])
        judging.result()
        for producer in producers:
            if producer.done() and producer.exception():
                self.ledger.fail(f"a producer failed: {producer.exception()!r}")

    def note(self, words: str) -> None:
        """Note what the simulation itself does."""
        self.history.note("-", words)

    # What is enqueued.

    async def _produce(self) -> None:
        queue = AsyncRunQueue(URL)
        by_batch: dict[int, list[Request]] = {}
        tasks = []
        for request in self.plan.requests:
            by_batch.setdefault(request.batch, []).append(request)
        for number, requests in by_batch.items():
            await asyncio.sleep(max(0.0, requests[0].at - self.loop.time()))
            tasks.append(start_in(CURRENT.get(), self._hand_in(queue, number, requests)))
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    async def _enqueue_one_more(self, kind: str) -> None:
        self._more += 1
        request = Request(
            *(_MORE + self._more, self.loop.time(), kind, "alone", 0, 2, "default"),
            *(0.0, None, "auto", 1),
            has_webhook=False,
        )
        await self._hand_in(AsyncRunQueue(URL), 0, [request])

    async def _hand_in(
        self, queue: AsyncRunQueue, number: int, requests: Sequence[Request]
    ) -> None:
        lines = [_line(request) for request in requests]
        batch: str | None = None
        began = self.loop.time()
        is_batch, rules = requests[0].way == "batch", self.plan.rules.get(number, {})
        while True:
            try:
                if requests[0].way == "inbox":
                    await self._push(lines)
                    answers = await self._found(queue, lines)
                    break
                if is_batch and batch is None:
                    batch = await queue.open_batch(f"batch {number}", **rules)
                answers = await queue.enqueue_many(lines, batch=batch)
                if batch is not None:
                    await queue.seal_batch(batch)
                    self.batches[number] = batch
                break
            except (BatchNotFound, BatchExpired):
                batch = None  # lost with a Redis server: its jobs come again by their keys
            except (RunQueueError, RedisError, OSError):
                pass
            await asyncio.sleep(1)
        for request, answer in zip(requests, answers, strict=True):
            self.ledger.accepted[request.number] = AcceptedJob(
                request.number,
                answer.job_id,
                self.loop.time(),
                request.runs,
                began + request.delay - EARLY,
                self.loop.time() + (request.deadline or float("inf")) + LATE,
                request.on_unconfirmed == "park",
                f"https://user.test/{request.number}" if request.has_webhook else "",
            )
        self.note(f"accepted {[request.number for request in requests]}")

    async def _push(self, lines: Sequence[dict[str, Any]]) -> None:
        """Push lines to the inbox; a client that has no answer pushes them again."""
        client = Client(self.server, CURRENT.get())
        await client.rpush(Keys("default").prefix + "inbox", *map(orjson.dumps, lines))

    async def _found(self, queue: AsyncRunQueue, lines: Sequence[dict[str, Any]]) -> list[Enqueued]:
        """Wait until the lines that were pushed are jobs; what a server lost is pushed again."""
        until = self.loop.time() + PUSHED_AGAIN
        while True:
            found = await queue.look_up(lines)
            if all(one.status is not EnqueueStatus.NEW for one in found):
                return found
            if self.loop.time() > until:
                raise OSError("the lines are not jobs yet")
            await asyncio.sleep(1)

    # What the server sees.

    def _created(self, run: Any) -> None:
        now = self.skyvern.process.wall()
        live = sum(1 for one in self.skyvern.store.live_newest_first() if not one.is_over(now))
        self.ledger.created(run, live)

    def _live_most(self) -> float:
        """Return the highest limit that was in force of late: what was live then may still be."""
        now, most, after = self.loop.time(), 0.0, float("inf")
        for since, value in reversed(self.limits):
            if after >= now - 900:
                most = max(most, value or float("inf"))
            after = since
        return most

    # What is seen at the end.

    async def _watch(self) -> None:
        """Look at the account now and then, by calls that nobody else sees."""
        while True:
            await asyncio.sleep(WATCH_EVERY)
            if self.loop.time() > self._quiet_from:
                stats = self.server.look(job_calls.stats("default"))
                self.ledger.watch(
                    stats, self.skyvern.submitted[-1] if self.skyvern.submitted else 0.0
                )

    async def _read(self, queue: AsyncRunQueue) -> dict[int, Job | None]:
        accepted = list(self.ledger.accepted.values())
        jobs = await queue.get_many([one.job_id for one in accepted], result=False)
        return {one.number: job for one, job in zip(accepted, jobs, strict=True)}

    async def _unsettled(self) -> set[JobState]:
        """Return the states of what has not ended yet, those included that are left to people."""
        queue = AsyncRunQueue(URL)
        jobs = await self._read(queue)
        stats = (await queue.stats()).get("default")
        if stats is None:
            return set()
        if stats.waits_for_a_person:
            self.note(f"a person resumes: {stats.hold_reason}")
            await queue.resume()
        for batch in self.batches.values():
            # Lost with a server, or canceled.
            with contextlib.suppress(BatchNotFound, BatchCanceled):
                if (await queue.get_batch(batch)).held:  # aborted, or its canaries failed
                    self.note("a person resumes a batch")
                    await queue.resume_batch(batch)
        open_ = {
            job.state
            for number, job in jobs.items()
            if job is not None
            and not job.is_over
            and not (job.state is JobState.UNCONFIRMED and self.ledger.accepted[number].parks)
        }
        return open_ | ({JobState.RUNNING} if stats.strays_live else set())

    async def _judge(self) -> None:
        queue = AsyncRunQueue(URL)
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
        # A clock that is set, and a server that comes new, fill the allowance once more.
        spare = (6 + self.settings.max_burst_size) * (1 + self.troubles.fresh_servers)
        ledger, skyvern = self.ledger, self.skyvern
        ledger.judge_rate("submissions", skyvern.submitted, plan.max_dispatches_per_second, spare)
        ledger.judge_rate("calls", skyvern.called, plan.max_requests_per_second, spare)
        ledger.judge_webhooks(jobs, self.receivers.taken)
        self.ledger.judge_runs(jobs)
        self.ledger.judge_orphans(jobs, orphans, self._is_owned)
        if stats is not None:
            self.ledger.judge_rest(jobs, stats, self._count("unconfirmed"))
        states = Counter(job.state.value if job else "gone" for job in jobs.values())
        self.note(f"the end: {dict(sorted(states.items()))}, {len(orphans)} orphans")

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
            SKYVERN_API_KEY=SecretStr(KEY),
            SKYVERN_BASE_URL="http://skyvern.test",
            max_concurrent_runs=plan.max_concurrent_runs,
            max_dispatches_per_second=plan.max_dispatches_per_second,
            max_requests_per_second=plan.max_requests_per_second,
            max_run_seconds=plan.max_run_seconds,
            public_url=PUBLIC_URL if plan.gateways else None,
            allow_private_webhook_targets=True,
        )

    def _options(self) -> Options:
        plan = self.plan
        return Options(
            api_keys=(KEY,),
            duration=plan.run_seconds,
            duration_spread=0.8,
            failed=plan.bad / 2,
            timed_out=plan.bad / 2,
            seed=plan.seed,
        )

    def met(self) -> Counter[str]:
        """Return how often each kind of fault was met."""
        return (
            self.server.met
            + self.broker.met
            + self.receivers.met
            + self.skyvern.met
            + self.troubles.met
        )


def _line(request: Request) -> dict[str, Any]:
    """Return a request as a line of a batch file."""
    name = f"sim-job-{request.number}."
    bodies: dict[str, dict[str, Any]] = {
        "task": {"prompt": f"Do {name}", "url": "https://site.test/"},
        "workflow": {"workflow_id": "wpid_1", "parameters": {"name": name}},
        "login": {
            "url": "https://site.test/",
            "credential_type": "skyvern",
            "credential_id": "cred_1",
            "prompt": f"Log in for {name}",
        },
    }
    body = bodies[request.kind]
    if request.has_webhook:
        body["webhook_url"] = f"https://user.test/{request.number}"
    line: dict[str, Any] = {
        "kind": request.kind,
        "body": body,
        "custom_id": f"job-{request.number}",
        "priority": request.priority,
        "group": request.group,
        "on_unconfirmed": request.on_unconfirmed,
    }
    if request.delay:
        line["run_at"] = request.delay
    if request.deadline:
        line["deadline"] = request.deadline
    if request.runs > 1:
        line["retry"] = {"max_attempts": request.runs}
    return line
