"""Switches the faults of a plan on and off in a simulated world."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import orjson
from redis.exceptions import ResponseError

from runqueue.records.job import JobState
from runqueue.store import job_calls
from runqueue.store.keys import Keys
from simulation import server
from simulation.judges.ledger import job_number
from simulation.operators import Operator
from simulation.other_users import OtherUsers
from simulation.plan import MAX_STEPS, OF_SKYVERN, Fault
from simulation.processes import SimulatedProcess, start_in
from simulation.producers import Producer
from simulation.schedules.person import ScheduleOwner
from simulation.virtual.addresses import API_KEY, PUBLIC_URL
from simulation.world import SLOWNESS, World
from simulator.delivery import signed_headers
from simulator.model.runs import Run
from simulator.records import webhook_content

#: Faults that set a share: the object in the world, and its field.
_SHARES = {
    "calls are not sent": ("skyvern.faults", "refused"),
    "calls are lost": ("skyvern.faults", "lost"),
    "answers are lost": ("skyvern.faults", "unanswered"),
    "effects come late": ("skyvern.faults", "late"),
    "answers are garbled": ("skyvern.faults", "garbled"),
    "the server fails": ("skyvern.faults", "failing"),
    "the server is unavailable": ("skyvern.faults", "unavailable"),
    "the server limits": ("skyvern.faults", "limited"),
    "another answer comes instead": ("skyvern.faults", "spoiled"),
    "answers are mixed up": ("skyvern.faults", "mixed"),
    "runs cannot be read": ("skyvern.faults", "unreadable"),
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
#: Faults that make something slow: the object and its field, and the most seconds.
_SLOWNESS = {
    "the server is slow": ("skyvern.faults", "slowness", 90.0),
    "the server begins late": ("skyvern.faults", "delay", 50.0),
    "the model is slow": ("skyvern.faults", "model_delay", 850.0),
    "redis is slow": ("server", "slowness", SLOWNESS),
    # The sender waits for 15 s.
    "a receiver is slow": ("receivers", "slowness", 14.0),
}
#: Faults that set a flag, likewise.
_SWITCHES = {
    "lists come from a cache": ("skyvern.faults", "cached"),
    "the key is refused": ("skyvern.faults", "no_key"),
    "redis is not reached": ("server", "is_down"),
    "the broker is not reached": ("broker", "is_down"),
}
#: Faults in which Redis answers each script with an error.
_REFUSALS = {
    "redis is read-only": server.read_only,
    "redis has no disk": server.no_disk,
    "redis is busy": server.busy,
}
#: Faults that change a setting of Valkey: its name, its value during the fault and after it.
_SETTINGS = {
    "redis is full": ("maxmemory", 1, 0),
    "redis has no replica": ("min-replicas-to-write", 1, 0),
}
#: The counters of faults that have an effect only if something is sent meanwhile.
_EFFECTS = {
    "calls are not sent": "call: not sent",
    "calls are lost": "call: lost",
    "answers are lost": "call: an answer lost",
    "effects come late": "call: a late effect",
    "answers are garbled": "call: an answer garbled",
    "the server fails": "call: 500",
    "the server is unavailable": "call: 503",
    "the server limits": "call: 429",
    "the key is refused": "call: a refused key",
    "the list fails": "call: a list that fails",
    "the model is slow": "call: a model that is slow",
    "another answer comes instead": "call: another answer in its place",
    "answers are mixed up": "call: the answer of the call before",
    "runs cannot be read": "call: a read that fails",
    "lists stand still": "call: a list that stands still",
    "lists come from a cache": "call: a list from a cache",
    "redis loses calls": "redis: a call lost",
    "redis loses answers": "redis: an answer lost",
    "redis is not reached": "redis: not reached",
    "redis is full": "redis: OOM",
    "redis is read-only": "redis: READONLY",
    "redis has no disk": "redis: MISCONF",
    "redis is busy": "redis: BUSY",
    "redis has no replica": "redis: NOREPLICAS",
    "messages are lost": "message: lost",
    "messages come twice": "message: doubled",
    "messages are late": "message: late",
    "the broker is not reached": "message: refused",
    "webhooks are dropped": "webhook: dropped",
    "webhooks come twice": "webhook: doubled",
    "webhooks are forged": "webhook: forged",
    "a receiver fails": "receiver: fails",
    "a receiver's answers are lost": "receiver: an answer lost",
}
#: The range of a clock step; seconds.
_CLOCK_STEP = 20_000.0
#: Seconds in which every worker sends a heartbeat.
_HEARTBEATS_SECONDS = 20.0
#: What has a key or steps of a budget, and is neither a job nor a run.
_ENDED = "ended"
#: Runs on a short page of the list.
_SHORT_PAGE = 5
#: Seconds of writes that a failover loses at most.
_MAX_LOST_SECONDS = 3.0


class FaultInjector:
    """Starts and ends the faults of a plan.

    Args:
        world: its parts are changed.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: set[asyncio.Task[Any]] = set()
        self._operator_process = world.new_process("person")
        self.operator = Operator(world)
        self.schedules = ScheduleOwner(world)
        #: When the data of each failover's new server was copied; simulated seconds.
        self._copied_at: dict[Fault, float] = {}
        #: The values of each field that faults set: its own, then those of the faults under way.
        self._values: dict[tuple[str, str], list[Any]] = {}
        self._strangers = OtherUsers(world)
        #: Whether something that has ended keeps a key: one at a time does.
        self._is_kept = False

        self._handlers: dict[str, Callable[[Fault], Coroutine[Any, Any, bool]]] = {
            "redis restarts": self._restart,
            "redis fails over": self._restart,
            "redis comes back empty": self._empty,
            "redis keeps what has ended": self._keep_ended,
            "redis is suspended": self._suspend,
            "redis's clock is set": self._set_server_clock,
            "a worker is killed": self._kill_worker,
            "a worker is stopped": self._stop_worker,
            "a worker is frozen": self._freeze,
            "a worker's clock is set": self._set_worker_clock,
            "a gateway is killed": self._kill_gateway,
            "a gateway is frozen": self._freeze,
            "webhooks are forged": self._forge,
            "a worker is frozen at a claim": self._freeze_at_claim,
            "the list fails": self._fail_lists,
            "lists have short pages": self._shorten_pages,
            "lists stand still": self._stop_lists,
            "others run much": self._run_much,
            "a worker is killed at a firing": self._kill_at_a_firing,
            "a schedule is paused": self._pause_schedule,
            "a schedule fires by hand": self._fire_schedule,
            "others run what a job asks for": self._run_a_jobs_request,
        }

    def schedule(self, fault: Fault) -> None:
        """Start a fault at its time."""
        loop = asyncio.get_running_loop()
        loop.call_at(fault.at, self._begin, fault)
        if fault.kind == "redis fails over":
            loop.call_at(max(0.0, fault.at - _MAX_LOST_SECONDS * fault.share), self._copy, fault)

    async def end(self) -> None:
        """Wait for the end of every fault, and undo what operators did."""
        while self._running:
            await asyncio.wait(self._running)
        undoing = start_in(self._operator_process, self.operator.undo())
        await asyncio.wait([undoing])

    def _begin(self, fault: Fault) -> None:
        self._world.record(f"begins: {fault}")
        times = self._world.fault_times
        fault_time = times.begin(fault.kind, fault.share)
        task = asyncio.get_running_loop().create_task(self._run(fault))
        task.add_done_callback(lambda _: times.end(fault_time))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if error := task.exception():
            self._world.ledger.fail(f"a fault failed: {error!r}")

    async def _run(self, fault: Fault) -> None:
        kind, has_effect = fault.kind, True
        before = self._effects(kind)
        if kind in _SHARES:
            await self._set_for_its_time(fault, *_SHARES[kind], fault.share)
        elif kind in _SWITCHES:
            await self._set_for_its_time(fault, *_SWITCHES[kind], True)
        elif kind in _REFUSALS:
            await self._set_for_its_time(fault, "server", "refusal", _REFUSALS[kind])
        elif kind in _SETTINGS:
            await self._change_setting(fault)
        elif kind in _SLOWNESS:
            where, name, most = _SLOWNESS[kind]
            await self._set_for_its_time(fault, where, name, most * fault.share)
        elif kind.startswith("a person"):
            await asyncio.wait([start_in(self._operator_process, self.operator.act(fault))])
        else:
            has_effect = await self._handlers[kind](fault)
        if has_effect and (kind not in _EFFECTS or self._effects(kind) > before):
            self._world.faults_had[kind] += 1
        self._world.record(f"ends: {kind}")

    def _effects(self, kind: str) -> int:
        return self._world.faults_met()[_EFFECTS.get(kind, "")]

    async def _set_for_its_time(self, fault: Fault, where: str, name: str, value: Any) -> None:
        with self._set(where, name, value):
            await asyncio.sleep(fault.seconds)

    @contextlib.contextmanager
    def _set(self, where: str, name: str, value: Any) -> Iterator[None]:
        """Set a field of the world; at the end it gets the value of the last fault under way."""
        target: Any = self._world
        for part in where.split("."):
            target = getattr(target, part)
        values = self._values.setdefault((where, name), [getattr(target, name)])
        values.append(value)
        setattr(target, name, value)
        try:
            yield
        finally:
            values.remove(value)
            setattr(target, name, values[-1])

    async def _change_setting(self, fault: Fault) -> None:
        name, on, off = _SETTINGS[fault.kind]
        client = self._world.server.valkey.client
        client.config_set(name, on)
        await asyncio.sleep(fault.seconds)
        self._world.server.valkey.client.config_set(name, off)

    def _copy(self, fault: Fault) -> None:
        if not self._world.server.is_down:
            self._world.server.valkey.copy(f"copy{fault.at}")
            self._copied_at[fault] = asyncio.get_running_loop().time()

    async def _restart(self, fault: Fault) -> bool:
        """Replace the Redis server: a restart keeps all data, a failover has an older copy."""
        world = self._world
        if world.server.is_down:
            return False
        name, since = "restart", None
        if fault.kind == "redis fails over":
            if fault not in self._copied_at:
                return False
            name, since = f"copy{fault.at}", self._copied_at[fault]
        else:
            world.server.valkey.copy(name)
        with self._set("server", "is_down", True):
            if since is not None:
                world.ledger.lost_writes.append((since, asyncio.get_running_loop().time()))
            await asyncio.sleep(fault.seconds)
            self._world.server_changes += 1
            world.server.valkey.restart(name)
            if since is not None:
                world.submissions.forget()
        return True

    async def _empty(self, fault: Fault) -> bool:
        """Replace the Redis server by an empty one; producers enqueue all their requests again."""
        world, loop = self._world, asyncio.get_running_loop()
        if world.server.is_down:
            return False
        with self._set("server", "is_down", True):
            emptied = loop.time()
            world.ledger.lost_writes.append((0.0, emptied))
            await asyncio.sleep(fault.seconds)
            self._world.server_changes += 1
            world.server.valkey.restart(None)
            world.server.forget_clock()
            world.submissions.forget()
            if all(one.process.is_dead for one in world.workers):
                world.ledger.forget()  # the next worker takes the empty server for a new one
            self._forget_unless_calm(fault.kind, emptied)
        again = Producer(world).enqueue_again(1.0 + fault.number % 30)  # Redis is empty
        world.start_producer("producer", again)
        await asyncio.sleep(_HEARTBEATS_SECONDS)
        self._forget_unless_calm(fault.kind, emptied)
        return True

    def _forget_unless_calm(self, kind: str, emptied: float) -> None:
        """Have the ledger forget if a worker may have started before a survivor's heartbeat.

        That worker takes the server for a new one. An empty server does not know how far its clock
        was set.
        """
        world, now = self._world, asyncio.get_running_loop().time()
        but = (*OF_SKYVERN, kind)
        is_calm = world.fault_times.is_calm(emptied - _HEARTBEATS_SECONDS, now, but)
        if not is_calm or world.server.clock_offset:
            world.ledger.forget()

    async def _keep_ended(self, fault: Fault) -> bool:
        """Have a key and a strict budget keep what no job owns, until a person frees them."""
        world = self._world
        keys = sorted({key for one in world.plan.requests for key in one.all_keys})
        if not keys or world.server.is_down or self._is_kept:
            return False
        client, prefix = world.server.valkey.client, Keys("default").prefix
        kept = [f"key:{keys[fault.number % len(keys)]}"]
        try:
            client.sadd(prefix + kept[0], _ENDED)
        except ResponseError:  # it takes no writes now
            return False
        self._is_kept = True
        if world.plan.strict_budget:
            scope = world.plan.budget_scope
            kept.append(f"max_steps:{scope}")
            for member in (_ENDED, "sum"):
                client.hincrby(prefix + kept[1], member, MAX_STEPS)
            client.sadd(f"{prefix}commits", scope)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(fault.seconds)
        freeing = start_in(self._operator_process, self.operator.free(_ENDED, kept, since))
        await asyncio.wait([freeing])
        freeing.result()
        self._is_kept = False
        return True

    async def _suspend(self, fault: Fault) -> bool:
        server = self._world.server
        if server.suspension is not None:
            return False
        server.suspension = asyncio.get_running_loop().create_future()
        await asyncio.sleep(fault.seconds)
        server.suspension.set_result(None)
        server.suspension = None
        return True

    async def _set_server_clock(self, fault: Fault) -> bool:
        self._world.server_changes += 1
        self._world.ledger.let_go_on()
        self._world.server.set_clock(_CLOCK_STEP * (fault.share - 0.5))
        return True

    async def _kill_worker(self, fault: Fault) -> bool:
        workers = self._world.workers
        number = fault.number % len(workers)
        workers[number].process.kill()
        await asyncio.sleep(fault.seconds)
        if workers[number].process.is_dead:
            workers[number] = self._world.new_worker(number)
        return True

    async def _kill_at_a_firing(self, fault: Fault) -> bool:
        """Kill the next worker that claims, begins, uploads or accepts a firing, by the number."""
        world = self._world
        fired: asyncio.Future[SimulatedProcess] = asyncio.get_running_loop().create_future()
        world.await_firing.append((fault.number, fired))
        await asyncio.wait([fired], timeout=90)
        if not fired.done():
            world.await_firing = [one for one in world.await_firing if one[1] is not fired]
            return False
        await asyncio.sleep(fault.seconds)
        for number, worker in enumerate(world.workers):
            if worker.process is fired.result():
                world.workers[number] = world.new_worker(number)
        return True

    async def _pause_schedule(self, fault: Fault) -> bool:
        pausing = start_in(self._operator_process, self.schedules.pause(fault))
        await asyncio.wait([pausing])
        return True

    async def _fire_schedule(self, fault: Fault) -> bool:
        firing = start_in(self._operator_process, self.schedules.fire(fault))
        await asyncio.wait([firing])
        return True

    async def _stop_worker(self, fault: Fault) -> bool:
        workers = self._world.workers
        number = fault.number % len(workers)
        worker = workers[number]
        if worker.process.is_dead or worker.process.is_frozen or not worker.is_started:
            return False
        start_in(worker.process, worker.stop())
        await asyncio.sleep(fault.seconds + 40)
        if workers[number] is worker:
            worker.process.kill()
            workers[number] = self._world.new_worker(number)
        return True

    async def _kill_gateway(self, fault: Fault) -> bool:
        gateways = self._world.gateways
        if not gateways:
            return False
        number = fault.number % len(gateways)
        gateways[number].process.kill()
        await asyncio.sleep(fault.seconds)
        gateways[number] = self._world.new_gateway(number)
        return True

    async def _freeze(self, fault: Fault) -> bool:
        programs: list[Any] = (
            self._world.workers if fault.kind == "a worker is frozen" else self._world.gateways
        )
        if not programs:
            return False
        process: SimulatedProcess = programs[fault.number % len(programs)].process
        process.freeze()
        await asyncio.sleep(fault.seconds)
        process.thaw()
        return True

    async def _freeze_at_claim(self, fault: Fault) -> bool:
        """Freeze the next worker that claims jobs, before it has the answer."""
        claimed: asyncio.Future[SimulatedProcess] = asyncio.get_running_loop().create_future()
        self._world.await_claim.append(claimed)
        await asyncio.wait([claimed], timeout=30)
        if not claimed.done():
            self._world.await_claim.remove(claimed)
            return False
        await asyncio.sleep(fault.seconds)
        claimed.result().thaw()
        return True

    async def _fail_lists(self, fault: Fault) -> bool:
        """Have lists fail, or only the pages after the first one, which take longer to find."""
        with self._set("skyvern.faults", "unlistable_from", 1 + fault.number % 2):
            await self._set_for_its_time(fault, "skyvern.faults", "unlistable", fault.share)
        return True

    async def _shorten_pages(self, fault: Fault) -> bool:
        await self._set_for_its_time(fault, "skyvern.faults", "page_size", _SHORT_PAGE)
        return True

    async def _stop_lists(self, fault: Fault) -> bool:
        """Let lists show the runs as they are now, as long as runs of jobs are live.

        Without a live run nothing would show that the lists are behind.
        """
        world, until = self._world, asyncio.get_running_loop().time() + fault.seconds
        with self._set("skyvern.faults", "listed_at", world.skyvern.process.wall()):
            while asyncio.get_running_loop().time() < until:
                stats = world.server.query(job_calls.stats("default"))
                if not stats.states[JobState.RUNNING]:
                    break
                await asyncio.sleep(0.5)
        return True

    async def _run_much(self, fault: Fault) -> bool:
        """Make runs of another queue, more than a page of the list holds."""
        await self._strangers.run_much(100 + fault.number)
        return True

    async def _run_a_jobs_request(self, fault: Fault) -> bool:
        """Make more runs than there are jobs with a request."""
        at = asyncio.get_running_loop().time()
        jobs = sorted(self._world.plan.requests, key=lambda job: abs(job.at - at))[:5]
        await self._strangers.run_as(jobs[fault.number % len(jobs)])
        return True

    async def _set_worker_clock(self, fault: Fault) -> bool:
        workers = self._world.workers
        workers[fault.number % len(workers)].process.clock_offset += _CLOCK_STEP * (
            fault.share - 0.5
        )
        return True

    async def _forge(self, fault: Fault) -> bool:
        """Send webhooks in the name of runs: wrongly signed, or to another address."""
        world = self._world
        while world.gateways and fault.seconds > 0:
            await asyncio.sleep(1)
            fault = _shorter(fault, 1)
            runs = list(world.skyvern.store.oldest_first())
            if not runs:
                continue
            run = runs[fault.number % len(runs)]
            url = run.submission.webhook_url
            if url is None or not url.startswith(PUBLIC_URL):
                continue
            body = b'{"run_id":"%s","status":"completed","output":"forged"}' % run.run_id.encode()
            path = url.removeprefix(PUBLIC_URL).partition("?")[0]
            headers = {"x-skyvern-signature": "0" * 64, "content-type": "application/json"}
            if fault.number % 4 == 0:
                del headers["x-skyvern-signature"]
            elif fault.number % 4 == 1:
                headers |= signed_headers(body, API_KEY)
                path = path[:-1] + ("0" if path[-1] != "0" else "1")
            elif fault.number % 4 == 2:
                other = runs[(fault.number + 1) % len(runs)]
                body = self._own_webhook(other)
                if job_number(other) == job_number(run) or not body:
                    continue
                headers = signed_headers(body, API_KEY)
            status = await world.gateways[0].take(path, body, headers)
            self._world.faults_had["webhook: forged"] += 1
            if status is not None and status < 300:
                world.ledger.fail(f"I6: a forged webhook of {run.run_id} was taken")
        return True

    def _own_webhook(self, run: Run) -> bytes:
        """Return the webhook of a run, if the queue knows whose run it is; else b"".

        It does if the webhook shows a marker, or was taken before, unless a person said that its
        job has no run. Otherwise it cannot know that the run is not that of the address which the
        webhook is sent to.
        """
        world, now = self._world, self._world.skyvern.process.wall()
        if not (run.submission.webhook_url or "").startswith(PUBLIC_URL) or not run.is_over(now):
            return b""
        body = orjson.dumps(webhook_content(run, now))
        job = world.ledger.accepted.get(job_number(run) or 0)
        is_denied = job is None or job.is_settled_by_operator
        is_taken = run.webhook_failure_reason == "" and not world.ledger.lost_writes
        return body if (is_taken and not is_denied) or b"rq_job=" in body else b""


def _shorter(fault: Fault, seconds: float) -> Fault:
    return Fault(fault.kind, fault.at, fault.seconds - seconds, fault.share, fault.number + 1)
