"""Schedules: what is due becomes firings, and a firing's jobs one batch, accepted as a whole.

A firing is recorded as `uploading` before its first job is sent, and as `running` once its batch is
sealed. Its batch and its jobs have derived ids. So where a worker dies, the one that claims the
schedule next sends them again, and none is there twice. A batch that is sealed is not sent again:
its jobs may be over, and forgotten.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError, ResponseError

from runqueue.connection.redis_errors import Cause, cause_of
from runqueue.errors import FieldError, InvalidJob, InvalidRequest, RunQueueError
from runqueue.producer.async_batch_upload import discard_batch
from runqueue.producer.chunks import Packet, check, placed
from runqueue.records.batch import Batch
from runqueue.records.claim_items import Taken
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.records.schedule import Firing, FiringState, Schedule, ScheduleSpec
from runqueue.request.time_range import in_microseconds
from runqueue.schedules import calls
from runqueue.schedules.calls import ToFire
from runqueue.schedules.plan import plan
from runqueue.schedules.template import lines_of, utc_form
from runqueue.store import budgets, job_calls, operator_calls
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.stages.consumer import Consumer

#: Lines that are checked before their packet is sent: some ms of the event loop.
LINES = 100
#: Schedules that a process looks at at once: one that uploads a file keeps no other back.
MOST_AT_ONCE = 16
#: Microseconds after which a schedule is another worker's; seconds between two renewals.
LEASE_US, RENEW_SECONDS = 30_000_000, 5.0
#: Seconds before the next look after one that Redis did not take.
PAUSE_SECONDS = 1.0
#: Writes of one look: others may write meanwhile, and one firing may follow another.
MOST_WRITES = 10
#: An upload that began longer ago is not repeated: its jobs may be over, and forgotten.
UPLOAD_US = 86_400_000_000
#: Characters of why a firing failed.
LONGEST = 300
#: What a firing says whose batch an earlier one made, as of a schedule that was removed.
_BEFORE = "the jobs of this time were enqueued before, and are not again"


class SchedulesConsumer(Consumer[ToFire]):
    """Claims schedules that are due, and enqueues the jobs of their firings."""

    stage = "schedules"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, MOST_AT_ONCE))

    async def take(self, limit: int, tick_us: int) -> Taken[ToFire]:
        """Claim schedules."""
        stays = self.busy > 0 or self.stays_idle()
        return await self.claim(
            calls.schedule_claim, limit, tick_us, stay_idle=stays, lease_us=LEASE_US
        )

    def about(self, item: ToFire) -> dict[str, Any]:
        """Return the schedule's name."""
        return {"schedule": item.schedule.spec.name}

    async def handle(self, item: ToFire) -> Sequence[Write]:
        """Look at a schedule; where Redis takes nothing, it comes again once its lease is over."""
        try:
            await self._look(item, self.account.lease.name)
        except RedisError as error:
            self.warn(item, "schedule_left", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
        return ()

    async def _look(self, item: ToFire, process: str) -> None:
        found: ToFire | None = item
        done: Firing | None = None
        for _ in range(MOST_WRITES):
            if found is None:
                return
            before, now_us = found.schedule, found.now_us
            stored = {one.at_us: one for one in before.firings}
            settled = tuple(_settled(one, done, now_us) for one in before.firings)
            made = plan(replace(before, firings=settled), now_us)
            firings = {one.at_us: one for one in (*settled, *made.changed)}
            upload, spec, begins = made.upload, found.uploads or before.spec, False
            if upload and stored.get(upload.at_us, Firing(0)).batch != upload.batch:
                spec, begins = before.spec, True
                upload = upload._replace(message=await self._lacks(spec, upload))
                firings[upload.at_us] = upload
            after = replace(
                before, mark_us=made.mark_us, paused=made.paused, firings=tuple(firings.values())
            )
            written = await self.account.send(
                calls.write_schedule(
                    *(before, after, made.look_us),
                    process="" if upload else process,
                    uploads=spec if begins else None,
                    notices=list(_notices(before, after)),
                )
            )
            if written > 0:
                for batch in made.cancel:
                    await self.account.run(operator_calls.cancel_batch, batch)
                if done and done.state is FiringState.FAILED:
                    await discard_batch(self.account.send, self.account.name, done.batch)
                if upload is None:
                    return
                done = await self._uploaded(spec, upload, process, now_us)
                if done is None:
                    return
            found = await self.account.run(calls.read_schedule, before.spec.name)

    async def _uploaded(
        self, spec: ScheduleSpec, firing: Firing, process: str, now_us: int
    ) -> Firing | None:
        """Enqueue a firing's jobs; returns what became of it, None = a later look goes on."""
        total: int | None = firing.jobs
        why, known = "", await self._accepted(firing)
        if known is not None:
            total = known.total
            if in_microseconds(known.created_at) < firing.begun_us:
                firing = firing._replace(message=_BEFORE)
        elif firing.begun_us < now_us - UPLOAD_US:
            why = "its upload was not over within a day"
        else:
            try:
                total = await self._fill(spec, firing, process)
            except RunQueueError as error:
                why = str(error)
            except ResponseError as error:
                if cause_of(error) is not Cause.CALL:
                    raise
                # One that took it over while this process stood still may have accepted it.
                if await self._accepted(firing) is None:
                    why = "its batch was canceled, or has expired"
        if total is None:
            return None
        state = FiringState.FAILED if why else FiringState.RUNNING
        message = why[:LONGEST] or firing.message
        return firing._replace(state=state, jobs=total, message=message)

    async def _accepted(self, firing: Firing) -> Batch | None:
        """Return a firing's batch, if it is accepted."""
        found = await self.account.run(job_calls.get_batch, firing.batch)
        return found if found is not None and found.sealed else None

    async def _fill(self, spec: ScheduleSpec, firing: Firing, process: str) -> int | None:
        """Send a firing's jobs, and accept them; returns how many, None = it was broken off.

        Raises:
            RunQueueError: a line is refused, or what was sent cannot be accepted.
        """
        account, batch, name = self.account, firing.batch, spec.name
        await account.run(job_calls.open_batch, batch, f"{name}/{utc_form(firing.at_us)}")
        number = place = 0
        renewed = time.monotonic()
        while lines := await self._lines(spec, place):
            for start in range(0, len(lines), LINES):
                packet = Packet(account.name)
                some = lines_of(
                    spec, account.name, lines[start : start + LINES], firing, number + 1
                )
                for line in some:
                    number += 1
                    try:
                        packet.add(number, check(line))
                    except InvalidJob as error:
                        raise placed(error, f"line {number}: ") from None
                for short in packet.cut_short():
                    _expect_taken(short, await account.send(short.call(batch)))
                is_late = time.monotonic() - renewed > RENEW_SECONDS
                if self.draining or is_late:
                    renewed, lease_us = time.monotonic(), 0 if self.draining else LEASE_US
                    kept = await account.run(calls.keep_schedule, process, name, lease_us)
                    if self.draining or not kept:
                        return None
            place += 1
        call = job_calls.seal_batch(account.name, batch, number)
        return job_calls.sealed(batch, await account.send(call), number)

    async def _lines(self, spec: ScheduleSpec, place: int) -> list[bytes]:
        """Return a chunk of a schedule's lines; [] = there are no more."""
        if spec.job is not None:
            return [] if place else [b""]
        lines = await self.account.run(calls.read_lines, spec.lines, place)
        if lines is None:
            raise InvalidRequest([FieldError("file", "expected one that is stored: it is gone")])
        return lines

    async def _lacks(self, spec: ScheduleSpec, firing: Firing) -> str:
        """Say which budget has no room for a firing's jobs; '' = none is known to lack any.

        The first lines stand for all: of which groups they are, and which keys they have.
        """
        scopes = await self.account.run(budgets.budget_scopes)
        if not scopes:
            return ""
        jobs = Counter[str]()
        try:
            lines = (await self._lines(spec, 0))[:LINES]
            for line in lines_of(spec, self.account.name, lines, firing):
                job = check(line)
                keys = job.all_keys.split()
                patterns = {f"key:{key.partition(':')[0]}:*" for key in keys}
                own = {f"key:{key}" for key in keys}
                jobs.update({"account", f"group:{job.group}", *own, *patterns})
        except InvalidRequest:  # the upload says so
            return ""
        some = [scope for scope in scopes if scope in jobs][: budgets.A_CALL]
        for use in await self.account.run(budgets.read_budgets, some):
            share = jobs[use.target] / len(lines)
            needed = share * firing.jobs * (use.mean or use.budget.expected)
            if needed > use.left:
                unit, left = use.budget.unit, max(0, use.left)
                of = f"the budget of {use.target} has no room"
                return f"{of}: {left:,.0f} {unit} are left, {needed:,.0f} expected"
        return ""


def _settled(firing: Firing, done: Firing | None, now_us: int) -> Firing:
    """Return a firing with what became of its upload, or of its batch."""
    if firing.state is FiringState.RUNNING and firing.ended_us:
        return firing._replace(state=FiringState.OVER)
    if done is None or done.at_us != firing.at_us or firing.state is not FiringState.UPLOADING:
        return firing
    return done._replace(ended_us=now_us if done.state is FiringState.FAILED else 0)


def _expect_taken(packet: Packet, answers: list[Enqueued]) -> None:
    """Raise `InvalidJob` for the first line that was not taken."""
    for number, answer in zip(packet.positions, answers, strict=True):
        fault = answer.fault
        if fault is None and answer.status is EnqueueStatus.CONFLICT:
            fault = FieldError("custom_id", f"job {answer.job_id} has it, with another body")
        if fault is not None:
            raise placed(InvalidJob([fault]), f"line {number}: ")


def _notices(before: Schedule, after: Schedule) -> Iterator[str]:
    """Say for notifications what happened to a schedule."""
    old, name, missed = {one.at_us: one for one in before.firings}, after.spec.name, list[str]()
    for one in after.firings:
        was, at = old.get(one.at_us), f"{name} {utc_form(one.at_us)}"
        is_new = was is None or was.state is not one.state
        if is_new and one.state is FiringState.MISSED:
            missed.append(f"{at}: {one.message}")
        elif is_new and one.state is FiringState.FAILED:
            yield f"schedule_failed:{at}: {one.message}"
        elif is_new and one.state is FiringState.OVER and not one.completed:
            yield f"schedule_failed:{at}: jobs completed: 0 of {one.jobs:,}"
    if missed:
        yield f"schedule_missed:{max(missed)}" + f" ({len(missed)} in all)" * (len(missed) > 1)
    if after.paused and not before.paused:
        yield f"schedule_paused:{name}: {after.paused}"
