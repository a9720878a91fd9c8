"""What goes wrong in a world, and what people do in it: each fault begins and ends here."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from runqueue import RunQueueError
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import JobState
from runqueue.store import operator_calls
from simulation import server
from simulation.ledger import AcceptedJob
from simulation.plan import Fault
from simulation.processes import Process, start_in

if TYPE_CHECKING:
    from simulation.world import World

#: Shares of what meets a fault that are switched on: the object's name in the world, and the field.
_SHARES = {
    "calls are not sent": ("skyvern.faults", "refused"),
    "calls are lost": ("skyvern.faults", "lost"),
    "answers are lost": ("skyvern.faults", "unanswered"),
    "effects come late": ("skyvern.faults", "late"),
    "answers are garbled": ("skyvern.faults", "garbled"),
    "the server fails": ("skyvern.faults", "failing"),
    "the server is unavailable": ("skyvern.faults", "unavailable"),
    "the server limits": ("skyvern.faults", "limited"),
    "redis loses calls": ("server", "lost"),
    "redis loses answers": ("server", "unanswered"),
    "messages are lost": ("broker", "lost"),
    "messages come twice": ("broker", "doubled"),
    "messages are late": ("broker", "late"),
    "webhooks are dropped": ("skyvern.faults", "dropped"),
    "webhooks come twice": ("skyvern.faults", "doubled"),
    "a receiver fails": ("receivers", "failing"),
    "a receiver's answers are lost": ("receivers", "unanswered"),
}
#: The same for what is on or off.
_SWITCHES = {
    "the key is refused": ("skyvern.faults", "no_key"),
    "redis is not reached": ("server", "is_down"),
    "the broker is not reached": ("broker", "is_down"),
}
_REFUSALS = {
    "redis is read-only": server.read_only,
    "redis has no disk": server.no_disk,
    "redis is busy": server.busy,
}
_SETTINGS = {
    "redis is full": ("maxmemory", 1, 0),
    "redis has no replica": ("min-replicas-to-write", 1, 0),
}
#: Seconds by which a clock is set at most; and by which a slow answer is late at most.
_FAR, _SLOW_CALL, _SLOW_REDIS = 20_000.0, 90.0, 6.0
_URL = "redis://simulated.invalid"
#: Seconds of writes that a failover loses at most.
_LAG = 3.0


#: What a person does.
Act = Callable[[], Coroutine[Any, Any, object]]


class Troubles:
    """Begins and ends the faults of a plan.

    Args:
        world: where.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: set[asyncio.Task[Any]] = set()
        self._people = world.new_process("person")
        #: When the copies were made that failovers go back to.
        self._copies: dict[Fault, float] = {}
        #: How often a server with other data, or another clock, took over.
        self.fresh_servers = 0
        #: Begun faults, by kind.
        self.met: Counter[str] = Counter()

        self._others: dict[str, Callable[[Fault], Coroutine[Any, Any, None]]] = {
            "redis restarts": self._restart,
            "redis fails over": self._restart,
            "redis's clock is set": self._set_server_clock,
            "a worker is killed": self._kill_worker,
            "a worker is stopped": self._stop_worker,
            "a worker is frozen": self._freeze,
            "a worker's clock is set": self._set_worker_clock,
            "a gateway is killed": self._kill_gateway,
            "a gateway is frozen": self._freeze,
            "webhooks are forged": self._forge,
        }

    def schedule(self, fault: Fault) -> None:
        """Have a fault begin at its time."""
        loop = asyncio.get_running_loop()
        loop.call_at(fault.at, self._begin, fault)
        if fault.kind == "redis fails over":
            loop.call_at(max(0.0, fault.at - _LAG * fault.share), self._copy, fault)

    async def end(self) -> None:
        """Let every fault come to its end, and undo what people did."""
        while self._running:
            await asyncio.wait(self._running)
        start = start_in(self._people, self._undo())
        await asyncio.wait([start])

    def _begin(self, fault: Fault) -> None:
        self._world.note(f"begins: {fault}")
        self.met[fault.kind] += 1
        task = asyncio.get_running_loop().create_task(self._run(fault))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, fault: Fault) -> None:
        kind = fault.kind
        if kind in _SHARES:
            await self._for_a_while(fault, *_SHARES[kind], fault.share)
        elif kind in _SWITCHES:
            await self._for_a_while(fault, *_SWITCHES[kind], True)
        elif kind in _REFUSALS:
            await self._for_a_while(fault, "server", "refusal", _REFUSALS[kind])
        elif kind in _SETTINGS:
            await self._set(fault)
        elif kind == "the server is slow":
            await self._for_a_while(fault, "skyvern.faults", "slowness", _SLOW_CALL * fault.share)
        elif kind == "redis is slow":
            await self._for_a_while(fault, "server", "slowness", _SLOW_REDIS * fault.share)
        elif kind.startswith("a person"):
            await asyncio.wait([start_in(self._people, self._act(fault))])
        else:
            await self._others[kind](fault)
        self._world.note(f"ends: {kind}")

    async def _for_a_while(self, fault: Fault, where: str, name: str, value: Any) -> None:
        thing: Any = self._world
        for part in where.split("."):
            thing = getattr(thing, part)
        setattr(thing, name, value)
        await asyncio.sleep(fault.seconds)
        setattr(thing, name, None if name == "refusal" else type(value)())

    async def _set(self, fault: Fault) -> None:
        name, on, off = _SETTINGS[fault.kind]
        client = self._world.server.valkey.client
        client.config_set(name, on)
        await asyncio.sleep(fault.seconds)
        self._world.server.valkey.client.config_set(name, off)

    # Servers.

    def _copy(self, fault: Fault) -> None:
        if not self._world.server.is_down:
            self._world.server.valkey.copy(f"copy{fault.at}")
            self._copies[fault] = asyncio.get_running_loop().time()

    async def _restart(self, fault: Fault) -> None:
        """Replace the server by another, with all data or with an older copy."""
        world = self._world
        if world.server.is_down:
            return
        name, since = "restart", None
        if fault.kind == "redis fails over":
            if fault not in self._copies:
                return
            name, since = f"copy{fault.at}", self._copies[fault]
        else:
            world.server.valkey.copy(name)
        world.server.is_down = True
        if since is not None:
            world.ledger.lost.append((since, asyncio.get_running_loop().time()))
        await asyncio.sleep(fault.seconds)
        self.fresh_servers += 1
        world.server.valkey.restart(name)
        world.server.is_down = False

    async def _set_server_clock(self, fault: Fault) -> None:
        self.fresh_servers += 1
        self._world.server.ahead += _FAR * (fault.share - 0.5)

    # Processes.

    async def _kill_worker(self, fault: Fault) -> None:
        workers = self._world.workers
        number = fault.number % len(workers)
        workers[number].process.kill()
        await asyncio.sleep(fault.seconds)
        if workers[number].process.is_dead:
            workers[number] = self._world.new_worker(number)

    async def _stop_worker(self, fault: Fault) -> None:
        workers = self._world.workers
        number = fault.number % len(workers)
        worker = workers[number]
        if worker.process.is_dead or worker.process.is_frozen or not worker.is_started:
            return
        start_in(worker.process, worker.stop())
        await asyncio.sleep(fault.seconds + 40)
        if workers[number] is worker:
            worker.process.kill()
            workers[number] = self._world.new_worker(number)

    async def _kill_gateway(self, fault: Fault) -> None:
        gateways = self._world.gateways
        if not gateways:
            return
        number = fault.number % len(gateways)
        gateways[number].process.kill()
        await asyncio.sleep(fault.seconds)
        gateways[number] = self._world.new_gateway(number)

    async def _freeze(self, fault: Fault) -> None:
        programs: list[Any] = (
            self._world.workers if fault.kind == "a worker is frozen" else self._world.gateways
        )
        if not programs:
            return
        process: Process = programs[fault.number % len(programs)].process
        process.freeze()
        await asyncio.sleep(fault.seconds)
        process.thaw()

    async def _set_worker_clock(self, fault: Fault) -> None:
        workers = self._world.workers
        workers[fault.number % len(workers)].process.ahead += _FAR * (fault.share - 0.5)

    async def _forge(self, fault: Fault) -> None:
        """Send webhooks that Skyvern did not: with a wrong signature, or to a wrong address."""
        world = self._world
        while world.gateways and fault.seconds > 0:
            await asyncio.sleep(1)
            fault = _shorter(fault, 1)
            runs = list(world.skyvern.store.oldest_first())
            if not runs:
                continue
            run = runs[fault.number % len(runs)]
            url = run.submission.webhook_url
            if url is None or not url.startswith("https://queue.test"):
                continue
            body = b'{"run_id":"%s","status":"completed","output":"forged"}' % run.run_id.encode()
            path = url.removeprefix("https://queue.test").partition("?")[0]
            headers = {"x-skyvern-signature": "0" * 64, "content-type": "application/json"}
            status = await world.gateways[0].take(path, body, headers)
            self.met["webhook: forged"] += 1
            if status is not None and status < 300:
                world.ledger.fail(f"I6: a forged webhook of {run.run_id} was taken")

    # People.

    async def _act(self, fault: Fault) -> None:
        queue = AsyncRunQueue(_URL)
        with contextlib.suppress(RunQueueError, OSError, LookupError):
            await self._deed(queue, fault)

    async def _deed(self, queue: AsyncRunQueue, fault: Fault) -> None:
        world, what = self._world, fault.kind.removeprefix("a person ")
        jobs = list(world.ledger.accepted.values())
        batches = list(world.batches.values())
        batch = batches[fault.number % len(batches)] if batches else None
        for_a_while: dict[str, tuple[Act, Act]] = {
            "pauses the account": (partial(queue.pause, reason="simulated"), queue.resume),
            "caps a group": (
                partial(queue.set_group, "a", max_concurrent=1 + fault.number % 2),
                partial(queue.set_group, "a", max_concurrent=None),
            ),
            "pauses a group": (
                partial(queue.set_group, "b", paused=True),
                partial(queue.set_group, "b", paused=False),
            ),
            "changes the limits": (
                partial(self._limit, queue, 1 + fault.number % 12),
                partial(self._limit, queue, None),
            ),
        }
        if batch is not None:
            for_a_while["pauses a batch"] = (
                partial(queue.pause_batch, batch),
                partial(queue.resume_batch, batch),
            )
        if what in for_a_while:
            begin, end = for_a_while[what]
            await begin()
            await asyncio.sleep(fault.seconds)
            await end()
        elif what == "resumes the account":
            await self._resume(queue)
        elif what == "cancels orphans":
            await self._cancel_orphans(queue)
        elif what == "cancels a batch" and batch is not None:
            await queue.cancel_batch(batch)
        elif jobs:
            await self._deed_on_jobs(queue, fault, what, jobs)

    async def _deed_on_jobs(
        self, queue: AsyncRunQueue, fault: Fault, what: str, jobs: list[AcceptedJob]
    ) -> None:
        if what == "cancels a job":
            await queue.cancel(jobs[fault.number % len(jobs)].job_id)
        elif what == "replays dead jobs":
            await self._replay(queue)
        elif what == "settles what is in doubt":
            await self._settle(queue, "resubmit" if fault.number % 2 else "fail")

    async def _limit(self, queue: AsyncRunQueue, value: int | None) -> None:
        """Set the limit of runs at once; None = as the environment has it."""
        world = self._world
        now = asyncio.get_running_loop().time()
        world.limits.append((now, value or world.plan.max_concurrent_runs))
        await queue.set_limits({"concurrent_runs": value})

    @staticmethod
    async def _resume(queue: AsyncRunQueue) -> None:
        """End what holds the account, but no recovery: who does answers for what follows."""
        stats = (await queue.stats()).get("default")
        if stats is not None and (stats.paused or stats.hold_kind != "redis"):
            await queue.resume()

    async def _cancel_orphans(self, queue: AsyncRunQueue) -> None:
        _, found = await queue.send(operator_calls.list_strays("default", "0", 100))
        await queue.send(operator_calls.cancel_strays("default", [one.run_id for one in found]))

    async def _settle(self, queue: AsyncRunQueue, what: str) -> None:
        """Decide on the jobs in doubt; who says that they have no run answers for a second one."""
        accepted = list(self._world.ledger.accepted.values())
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is not None and job.state is JobState.UNCONFIRMED:
                one.runs += what == "resubmit"
                one.is_answered_for = True
                await queue.send(
                    operator_calls.settle("default", [(job.id, job.attempts, 0)], what)
                )

    async def _replay(self, queue: AsyncRunQueue) -> None:
        world = self._world
        accepted = list(world.ledger.accepted.values())
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is None or job.state.value not in {"dead", "failed"} or job.ended_at is None:
                continue
            seen = (job.id, job.attempts, int(job.ended_at.timestamp() * 1e6))
            # Before the answer, which may be lost: whatever follows was asked for.
            one.not_after = math.inf  # its deadline is over, and was seen to be
            one.runs += next(r.runs for r in world.plan.requests if r.number == one.number)
            await queue.send(operator_calls.replay("default", [seen]))

    async def _undo(self) -> None:
        queue = AsyncRunQueue(_URL)
        acts: list[Act] = [
            partial(self._resume, queue),
            partial(queue.set_limits, {"concurrent_runs": None}),
            partial(queue.set_group, "a", max_concurrent=None),
            partial(queue.set_group, "b", paused=False),
            *(partial(queue.resume_batch, batch) for batch in self._world.batches.values()),
        ]
        for act in acts:
            for _ in range(20):
                try:
                    await act()
                    break
                except (RunQueueError, OSError):
                    await asyncio.sleep(1)


def _shorter(fault: Fault, seconds: float) -> Fault:
    return Fault(fault.kind, fault.at, fault.seconds - seconds, fault.share, fault.number + 1)
