"""The producers of a simulated world: each request is enqueued until the queue accepts it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from redis.exceptions import RedisError

from runqueue import RunQueueError, ids
from runqueue.errors import BatchExpired, BatchMismatch, BatchNotFound
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.chunks import packets
from runqueue.records.batch import BatchRules
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.store import job_calls
from runqueue.store.keys import Keys
from simulation import processes
from simulation.judges.ledger import AcceptedJob
from simulation.plan import ANSWERS_NO_CALL, FLAPS, NEVER_ENDS, UNREADABLE, PlannedJob, session_id
from simulation.processes import CURRENT, start_in
from simulation.server import Client
from simulation.virtual.addresses import QUEUE_URL, USER_URL, callback_url
from simulation.world import World

T = TypeVar("T")

#: Simulated seconds for which requests are retried at most.
_MAX_SECONDS = 2400.0
#: Seconds after which lines that made no jobs are pushed to the inbox once more.
_PUSH_AGAIN_SECONDS = 120.0
#: Seconds by which a job may be submitted before its time.
_EARLY = 0.5
#: The workflow whose runs Skyvern cannot read back.
UNREADABLE_WORKFLOW = "wpid_100000001"
#: Jobs that the plan does not have get numbers above this one.
_EXTRA_NUMBERS = 10_000


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call of the queue again and again, until it is answered."""
    while True:
        try:
            return await call()
        except (RunQueueError, RedisError, OSError):
            await asyncio.sleep(1)


class Producer:
    """Enqueues the requests of a plan, alone, in batches and through the inbox.

    Args:
        world: its plan, and the ledger that records what was accepted.
    """

    def __init__(self, world: World) -> None:
        self._world = world

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
        request = PlannedJob(
            *(self._extra_number(), self._world.loop.time(), kind, "alone", 0, 2, "default"),
            *(0.0, None, "auto", 1),
            has_webhook=False,
        )
        self._world.requests[request.number] = request
        await self._submit(AsyncRunQueue(QUEUE_URL), 0, [request])

    async def enqueue_again(self, wait: float) -> None:
        """Enqueue all accepted requests again, which an empty Redis does not know.

        Args:
            wait: after so many seconds.
        """
        world = self._world
        batches: dict[int, list[PlannedJob]] = {}
        for one in world.ledger.current():
            request = world.requests[one.number]
            batches.setdefault(request.batch or -one.number, []).append(request)
        await asyncio.sleep(wait)
        queue = AsyncRunQueue(QUEUE_URL)
        for number, requests in batches.items():
            await self._submit(queue, number, requests)

    async def enqueue_other(self, number: int) -> None:
        """Enqueue another request with the key of a discarded job."""
        former = self._world.requests[number]
        request = replace(
            former,
            number=self._extra_number(),
            key=former.key or former.number,
            route="alone",
            batch=0,
            deadline=None,
        )
        self._world.requests[request.number] = request
        await self._submit(AsyncRunQueue(QUEUE_URL), 0, [request])

    def _extra_number(self) -> int:
        """Return the number of the next job that the plan does not have."""
        return max(_EXTRA_NUMBERS, *self._world.requests) + 1

    async def _submit(
        self, queue: AsyncRunQueue, number: int, requests: Sequence[PlannedJob]
    ) -> None:
        world = self._world
        lines = [line_of(request, processes.EPOCH + world.loop.time()) for request in requests]
        self._name(requests, lines)
        batch: str | None = None
        started = world.loop.time()
        is_batch, rules = requests[0].route == "batch", dict(world.plan.batch_rules.get(number, {}))
        expected = len(requests) if rules.pop("is_counted", False) else None
        if "callback_url" in rules:
            rules = rules | {"callback_url": callback_url(number)}
        while True:
            try:
                if requests[0].route == "inbox":
                    await self._push(lines)
                    answers = await self._found(queue, lines)
                    break
                if is_batch and batch is None:
                    batch = await queue.open_batch(f"batch {number}", rules=BatchRules(**rules))
                if batch is None:
                    answers = _stored(await queue.enqueue_many(lines))
                else:
                    answers = await self._fill(queue, requests, batch, lines, expected)
                break
            except (BatchNotFound, BatchExpired):
                # A failover lost it: its jobs are enqueued again, by their keys; some may be in it.
                batch = expected = None
            except (RunQueueError, RedisError, OSError) as error:
                if isinstance(error, BatchMismatch):
                    self._judge_mismatch(number, requests, error)
                    expected = None
            await asyncio.sleep(1)
        for request, line, answer in zip(requests, lines, answers, strict=True):
            self._record(request, answer, started, line)
        world.record(f"accepted {[request.number for request in requests]}")
        await asyncio.gather(
            self._enqueue_again(queue, requests, lines, batch, started),
            *(self._cancel(queue, request) for request in requests),
        )

    def _name(self, requests: Sequence[PlannedJob], lines: Sequence[dict[str, Any]]) -> None:
        """Have the history name jobs by their numbers."""
        for request, line in zip(requests, lines, strict=True):
            job_id = ids.job_id_for("default", "", line["custom_id"])
            self._world.server.job_names.setdefault(job_id, f"job {request.number}")

    def _judge_mismatch(
        self, number: int, requests: Sequence[PlannedJob], error: BatchMismatch
    ) -> None:
        """Judge a batch that is refused, since it does not hold all of its jobs.

        After a failover the jobs of the upload that it lost live on, by their keys. Another request
        may have had a key first.
        """
        world = self._world
        taken = {world.requests[one].key for one in world.ledger.accepted}
        if not world.ledger.lost_writes and not taken & {one.number for one in requests}:
            world.ledger.fail(f"I1: batch {number} has all of its jobs: {error}")

    async def _fill(
        self,
        queue: AsyncRunQueue,
        requests: Sequence[PlannedJob],
        batch: str,
        lines: Sequence[dict[str, Any]],
        expected: int | None,
    ) -> list[Enqueued]:
        """Enqueue the jobs of a batch, and seal it.

        A producer that says how many jobs there are tries to seal it before the last one is in it,
        which must be refused.
        """
        number, note_stored = requests[0].batch, self._world.submissions.note_stored
        if expected is not None and len(lines) > 1:
            found = await queue.enqueue_many(lines[:-1], batch=batch)
            note_stored(number, zip(requests, found, strict=False))
            with contextlib.suppress(BatchMismatch):
                if await queue.seal_batch(batch, expected) != expected:
                    self._world.ledger.fail(f"I1: batch {number} is sealed without all of its jobs")
        found = await queue.enqueue_many(lines, batch=batch)
        note_stored(number, zip(requests, found, strict=True))
        answers = _stored(found)
        await queue.seal_batch(batch, expected)
        jobs = await queue.get_many([answers[0].job_id], result=False)
        # If the answer to a seal was lost, another batch has the jobs.
        self._world.batches[number] = (jobs[0] and jobs[0].batch) or batch
        return answers

    async def _enqueue_again(
        self,
        queue: AsyncRunQueue,
        requests: Sequence[PlannedJob],
        lines: Sequence[dict[str, Any]],
        batch: str | None,
        first: float,
    ) -> None:
        """Enqueue requests once more, as a producer does that does not know of its success.

        Args:
            queue, batch: where to.
            requests: the requests.
            lines: of the first time; times of day in them count from then.
            first: when that was, simulated seconds.
        """
        wait, ledger = requests[0].again_after, self._world.ledger
        if wait is None:
            return
        await asyncio.sleep(wait)
        with contextlib.suppress(RunQueueError, RedisError, OSError):
            started = self._world.loop.time()
            answers = await queue.enqueue_many(lines, batch=batch)
            for request, line, answer in zip(requests, lines, answers, strict=True):
                if request.number in ledger.accepted:
                    if answer.status is EnqueueStatus.NEW:
                        ledger.judge_enqueued_again(request.number)
                elif answer.status.is_stored:
                    # It was refused at first, since another request had its key.
                    ledger.judge_key_is_free(answer.job_id)
                    self._record(request, answer, first if request.is_dated else started, line)
            if batch is not None:
                await queue.seal_batch(batch)

    async def _cancel(self, queue: AsyncRunQueue, request: PlannedJob) -> None:
        """Cancel a job that its producer does not want any more."""
        if request.cancel_after is None:
            return
        await asyncio.sleep(request.cancel_after)
        if request.number not in self._world.ledger.accepted:
            return  # another request has its key
        with contextlib.suppress(RunQueueError, RedisError, OSError):
            await self._world.cancel(queue, request.number)

    def _record(
        self, request: PlannedJob, answer: Enqueued, started: float, line: dict[str, Any]
    ) -> None:
        """Record the answer to a request, and judge it by those of the same key."""
        ledger, now = self._world.ledger, self._world.loop.time()
        former = ledger.accepted.get(request.number)
        if not answer.status.is_stored:
            ledger.refused.add(request.number)
            if former is not None:
                former.is_discarded = True  # its key has another request meanwhile
            return
        if answer.status is EnqueueStatus.KNOWN:
            ledger.judge_known(request.number, answer.job_id)
        deadline = line.get("deadline")
        job = AcceptedJob(
            request.number,
            answer.job_id,
            now,
            request.runs,
            started + request.delay - _EARLY,
            request.on_unconfirmed == "resubmit",
            request.on_unconfirmed == "hold" or not self._world.plan.correlation,
            f"{USER_URL}/{request.number}" if request.has_webhook else "",
            now + (request.deadline or float("inf")),
            request.run == ANSWERS_NO_CALL,
            (datetime.fromisoformat(deadline).timestamp(),) if isinstance(deadline, str) else (),
            request.body,
            is_unreadable=request.run == UNREADABLE,
        )
        if former is not None:  # it was enqueued again: what was done to it still counts
            job.max_runs = former.max_runs + request.runs - 1
            job.not_before = former.not_before
            job.is_settled_by_operator = former.is_settled_by_operator
            job.deadlines_at += former.deadlines_at  # it has the first one that was accepted
            ledger.cancels.pop(request.number, None)
        ledger.accepted[request.number] = job

    async def _push(self, lines: Sequence[dict[str, Any]]) -> None:
        """Push lines to the inbox."""
        client = Client(self._world.server, CURRENT.get())
        await client.rpush(Keys("default").prefix + "inbox", *map(orjson.dumps, lines))

    async def _found(self, queue: AsyncRunQueue, lines: Sequence[dict[str, Any]]) -> list[Enqueued]:
        """Wait until pushed lines are jobs.

        Raises:
            OSError: they are not after a while; Redis may have lost them.
        """
        pushed = self._world.loop.time()
        while True:
            (packet,) = packets(lines)
            found: list[Enqueued] = await queue.send(
                job_calls.look_up("default", packet.arguments, packet.keys)
            )
            if all(one.status is not EnqueueStatus.NEW for one in found):
                return found
            is_late = self._world.loop.time() > pushed + _PUSH_AGAIN_SECONDS
            if is_late and self._world.conduct.judge_inbox(pushed):
                raise OSError("the lines are not jobs yet")
            await asyncio.sleep(1)


def _stored(answers: list[Enqueued]) -> list[Enqueued]:
    """Return answers to jobs that are stored.

    Raises:
        OSError: a strict budget is too small for one of them now.
    """
    if any(answer.fault for answer in answers):
        raise OSError("a budget is too small")
    return answers


def line_of(request: PlannedJob, now: float) -> dict[str, Any]:
    """Return a request as a line of a batch file.

    Args:
        request: the request.
        now: the time of day, unix seconds.
    """
    line: dict[str, Any] = {
        "kind": request.kind,
        "body": _body_of(request),
        "custom_id": f"job-{request.key or request.number}",
        "priority": request.priority,
        "group": request.group,
        "on_unconfirmed": request.on_unconfirmed,
    }
    if request.keys:
        line["keys"] = list(request.keys)
    if request.limit:
        line["max_run_seconds"] = request.limit
    for name, seconds in (("run_at", request.delay), ("deadline", request.deadline)):
        if seconds:
            at = datetime.fromtimestamp(now + seconds, tz=UTC)
            line[name] = at.isoformat() if request.is_dated else seconds
    if request.runs > 1:
        line["retry"] = {"max_attempts": request.runs}
        if request.retry_on:
            line["retry"]["retry_on"] = list(request.retry_on)
    return line


def _body_of(request: PlannedJob) -> dict[str, Any]:
    """Return what a request has Skyvern do."""
    name = f"sim-job-{request.body}."
    is_endless = request.run in {NEVER_ENDS, ANSWERS_NO_CALL}
    query = "?sim_end=never" if is_endless else ""
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
    if request.max_steps:
        field = "max_steps" if request.kind == "task" else "max_steps_override"
        body[field] = request.max_steps
    if request.session:
        body["browser_session_id"] = session_id(request.session)
    if request.run == FLAPS:
        body["parameters"] |= {"sim_end": "flap", "sim_seconds": "40"}
    if request.run == UNREADABLE:
        body |= {"workflow_id": UNREADABLE_WORKFLOW, "parameters": {"name": name, "count": 3.7}}
    if request.has_webhook:
        body["webhook_url"] = f"{USER_URL}/{request.number}"
        if request.copied_from:
            job_id = ids.job_id_for("default", "", f"job-{request.copied_from}")
            body["webhook_url"] += f"?{ids.url_marker(job_id, 1)}"
    return body
