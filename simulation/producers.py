"""The producers of a simulated world: each request is enqueued until the queue accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from redis.exceptions import RedisError

from runqueue import RunQueueError
from runqueue.errors import BatchExpired, BatchNotFound
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.store.keys import Keys
from simulation.addresses import QUEUE_URL, USER_URL
from simulation.ledger import AcceptedJob
from simulation.plan import PlannedJob
from simulation.processes import CURRENT, start_in
from simulation.server import Client

if TYPE_CHECKING:
    from simulation.world import World

#: Simulated seconds for which requests are retried at most.
_MAX_SECONDS = 2400.0
#: Seconds after which lines that made no jobs are pushed to the inbox once more.
_PUSH_AGAIN_SECONDS = 120.0
#: Seconds by which a job may be submitted before its time, and after its deadline: an effect that
#: comes late was sent in time.
_EARLY, _LATE = 0.5, 20.0
#: Seconds after which a run that has no end is canceled, whatever its deadline is.
_ENDLESS = {"never": 240, "unreadable": 60}
#: The workflow whose runs Skyvern cannot read back.
UNREADABLE = "wpid_100000001"
#: Jobs that the plan does not have get numbers above this one.
_EXTRA_NUMBERS = 10_000


class Producer:
    """Enqueues the requests of a plan, alone, in batches and through the inbox.

    Args:
        world: its plan, and the ledger that records what was accepted.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._extra_jobs = 0

    async def enqueue_plan(self) -> None:
        """Enqueue the requests of the plan at their times."""
        world = self._world
        queue = AsyncRunQueue(QUEUE_URL)
        by_batch: dict[int, list[PlannedJob]] = {}
        tasks = []
        for request in world.plan.requests:
            by_batch.setdefault(request.batch, []).append(request)
        for number, requests in by_batch.items():
            await asyncio.sleep(max(0.0, requests[0].at - world.loop.time()))
            tasks.append(start_in(CURRENT.get(), self._submit(queue, number, requests)))
        await asyncio.wait_for(asyncio.gather(*tasks), _MAX_SECONDS)

    async def enqueue_extra_job(self, kind: str) -> None:
        """Enqueue a job of a kind that the plan does not have."""
        self._extra_jobs += 1
        request = PlannedJob(
            *(
                _EXTRA_NUMBERS + self._extra_jobs,
                self._world.loop.time(),
                kind,
                "alone",
                0,
                2,
                "default",
            ),
            *(0.0, None, "auto", 1),
            has_webhook=False,
        )
        await self._submit(AsyncRunQueue(QUEUE_URL), 0, [request])

    async def _submit(
        self, queue: AsyncRunQueue, number: int, requests: Sequence[PlannedJob]
    ) -> None:
        world = self._world
        lines = [line_of(request) for request in requests]
        batch: str | None = None
        started = world.loop.time()
        is_batch, rules = requests[0].route == "batch", world.plan.batch_rules.get(number, {})
        while True:
            try:
                if requests[0].route == "inbox":
                    await self._push(lines)
                    answers = await self._found(queue, lines)
                    break
                if is_batch and batch is None:
                    batch = await queue.open_batch(f"batch {number}", **rules)
                answers = await queue.enqueue_many(lines, batch=batch)
                if batch is not None:
                    await queue.seal_batch(batch)
                    world.batches[number] = batch
                break
            except (BatchNotFound, BatchExpired):
                batch = None  # a failover lost it: its jobs are enqueued again, by their keys
            except (RunQueueError, RedisError, OSError):
                pass
            await asyncio.sleep(1)
        for request, answer in zip(requests, answers, strict=True):
            world.ledger.accepted[request.number] = AcceptedJob(
                request.number,
                answer.job_id,
                world.loop.time(),
                request.runs,
                started + request.delay - _EARLY,
                world.loop.time() + (request.deadline or float("inf")) + _LATE,
                request.on_unconfirmed == "resubmit",
                request.on_unconfirmed == "park" or not world.plan.correlation,
                f"{USER_URL}/{request.number}" if request.has_webhook else "",
                request.body,
                world.loop.time() + (request.deadline or float("inf")),
            )
        world.note(f"accepted {[request.number for request in requests]}")

    async def _push(self, lines: Sequence[dict[str, Any]]) -> None:
        """Push lines to the inbox."""
        client = Client(self._world.server, CURRENT.get())
        await client.rpush(Keys("default").prefix + "inbox", *map(orjson.dumps, lines))

    async def _found(self, queue: AsyncRunQueue, lines: Sequence[dict[str, Any]]) -> list[Enqueued]:
        """Wait until pushed lines are jobs.

        Raises:
            OSError: they are not after a while; Redis may have lost them.
        """
        until = self._world.loop.time() + _PUSH_AGAIN_SECONDS
        while True:
            found = await queue.look_up(lines)
            if all(one.status is not EnqueueStatus.NEW for one in found):
                return found
            if self._world.loop.time() > until:
                raise OSError("the lines are not jobs yet")
            await asyncio.sleep(1)


def line_of(request: PlannedJob) -> dict[str, Any]:
    """Return a request as a line of a batch file."""
    name = f"sim-job-{request.body}."
    query = "?sim_end=never" if request.ends else ""
    bodies: dict[str, dict[str, Any]] = {
        # Half of them differ by their addresses alone.
        "task": {"prompt": f"Do {name}", "url": f"https://site.test/{query}"}
        if request.body % 2
        else {"prompt": "Do it", "url": f"https://site.test/{name}{query}"},
        "workflow": {"workflow_id": "wpid_1", "parameters": {"name": name}},
        "login": {
            "url": "https://site.test/",
            "credential_type": "bitwarden",
            "bitwarden_collection_id": "collection_1",
            "prompt": f"Log in for {name}",
        },
    }
    body = bodies[request.kind]
    if not request.has_url:
        body = {"prompt": f"Do {name}"}
    if request.ends == "flap":
        body["parameters"] |= {"sim_end": "flap", "sim_seconds": "40"}
    if request.ends == "unreadable":
        body |= {"workflow_id": UNREADABLE, "parameters": {"name": name, "count": 3.7}}
    if request.has_webhook:
        body["webhook_url"] = f"{USER_URL}/{request.number}"
    line: dict[str, Any] = {
        "kind": request.kind,
        "body": body,
        "custom_id": f"job-{request.number}",
        "priority": request.priority,
        "group": request.group,
        "on_unconfirmed": request.on_unconfirmed,
    }
    if request.ends in _ENDLESS:
        line["max_run_seconds"] = _ENDLESS[request.ends]
    if request.delay:
        line["run_at"] = request.delay
    if request.deadline:
        line["deadline"] = request.deadline
    if request.runs > 1:
        line["retry"] = {"max_attempts": request.runs}
    return line
