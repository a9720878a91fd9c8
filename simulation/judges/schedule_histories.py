"""Judges schedules: which firings they must have had, by the clocks of their zones; what became."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from runqueue import ids
from runqueue.records.job import JobState
from runqueue.records.schedule import Firing, FiringKind, FiringState, Schedule
from runqueue.schedules import calls
from runqueue.store import job_calls
from runqueue.store.keys import Keys
from simulation import processes
from simulation.fault_times import FaultTimes
from simulation.judges.ledger import InvariantLedger
from simulation.observer import Observer
from simulation.plan import OF_SKYVERN, SimulationPlan
from simulation.schedules.cron_walk import fired, walk
from simulation.schedules.drawn import PlannedSchedule
from simulation.server import SimulatedRedis
from simulation.virtual.addresses import TIMED_ACCOUNT
from simulator.model.runs import Run

#: Seconds in which a due time is decided; for which what a fault left may delay it.
DECIDED_SECONDS, AFTER_SECONDS = 60.0, 90.0
#: Seconds by which the queue's clock may be ahead after a failover.
_LOST_SECONDS = 60.0
#: Seconds for which firings are waited for after the plan.
_MOST_SECONDS = 900.0
_MINUTE = 60_000_000
#: Microseconds that the queue's time may be ahead of the one that was believed last.
_BELIEVED_US = 5_000_000
_PROMPT = re.compile(rb"timed (\w+) ([0-9T.]+Z) ([0-9-]+) ([0-9:]+) (\d+)\.")
_RANKS = {FiringState.WAITING: 0, FiringState.UPLOADING: 1, FiringState.RUNNING: 2}
_FINAL = 3
_PEOPLE = ("a schedule is paused", "a schedule fires by hand")


def due_times(fields: dict[str, Any], since_us: int, until_us: int) -> list[int]:
    """Return the times of a schedule after one and up to another.

    Args:
        fields: of its file; `every` is in whole minutes.
        since_us, until_us: microseconds since 1970.
    """
    if "every" in fields:
        step_us = _MINUTE * int(fields["every"].removesuffix("m"))
        times = [*range(since_us - since_us % step_us, until_us + 1, step_us)]
    else:
        # From some hours before: of local times that come twice, the first ones fire.
        begins, ends = (datetime.fromtimestamp(at // 1_000_000, UTC) for at in (since_us, until_us))
        begins = begins.replace(second=0) - timedelta(hours=4)
        step = timedelta(minutes=1)
        times = fired(fields["cron"], walk(begins, ends + step, fields["timezone"], step))
    end_us = datetime.fromisoformat(fields["end"]).timestamp() * 1e6
    return [at_us for at_us in times if since_us < at_us <= until_us and at_us < end_us]


class ScheduleJudge(Observer):
    """Sees each write of a schedule, and each run of its jobs.

    Args:
        plan: its schedules.
        ledger: receives what does not hold.
        server: the schedules are read there.
        times: when faults lasted.
        reached: counts what became of firings.
    """

    def __init__(
        self,
        plan: SimulationPlan,
        ledger: InvariantLedger,
        server: SimulatedRedis,
        times: FaultTimes,
        reached: Counter[str],
    ) -> None:
        self._plan, self._ledger, self._server, self._times = plan, ledger, server, times
        self._reached = reached
        self._planned = {one.name: one for one in plan.schedules}
        #: How often Redis had lost writes when a schedule was looked at last.
        self._losses = 0
        self._last: dict[str, Schedule] = {}
        #: Since when each is there, and in which times it may have been paused; its clock.
        self._since: dict[str, int] = {}
        self._pauses: dict[str, list[int]] = defaultdict(list)
        #: Whether each is paused; None = nobody knows.
        self._paused: dict[str, bool | None] = {}
        #: Runs of each line, by its custom id.
        self._runs: dict[str, list[Run]] = defaultdict(list)

    def note_applied(self, planned: PlannedSchedule, *, is_new: bool) -> None:
        """Note that a schedule is there now; if it is new, so that its times count from now on."""
        if is_new or planned.name not in self._since:
            found = self._read(planned.name)
            self._since[planned.name] = found[1] if found else self._server.now_us()
            self._paused.setdefault(planned.name, False)

    def note_pause(self, name: str, is_paused: bool | None) -> None:
        """Note that a schedule is paused, or is not, or that it is asked for."""
        self._notice_losses()
        found = self._read(name)
        # Where no process lives, the queue's clock stands still until a step of it is believed.
        wall_us = int(self._ledger.wall() * 1e6)
        now_us = found[1] if found else wall_us
        # The script that is judged says it: not more than the time that Redis has as believed.
        if believed := self._server.valkey.client.hget(Keys(TIMED_ACCOUNT).meta, "clock"):
            now_us = min(now_us, int(cast(bytes, believed)) + _BELIEVED_US)
        self._pauses[name] += (now_us, wall_us)
        self._paused[name] = is_paused

    def _read(self, name: str) -> tuple[Schedule, int] | None:
        found = self._server.query(calls.read_schedule(TIMED_ACCOUNT, name))
        return (found.schedule, found.now_us) if found else None

    def _notice_losses(self) -> None:
        if len(self._ledger.lost_writes) > self._losses:
            self._losses = len(self._ledger.lost_writes)
            self._last.clear()
            self._paused = dict.fromkeys(self._paused)

    def batches(self) -> set[str]:
        """Return the batches of firings under way."""
        firings = (one for found in self._last.values() for one in found.firings)
        return {one.batch for one in firings if one.state.is_under_way}

    def note_reply(self, script: str, arguments: Sequence[Any], reply: Any) -> None:
        """Judge what a write made of a schedule; count repeated uploads."""
        if script == "schedule_claim" and "uploading" in repr(reply):
            self._reached["an upload is repeated"] += 1
        if script != "record_schedule" or reply <= 0:
            return
        self._notice_losses()
        found = self._read(str(arguments[0]))
        if found is not None:
            self._judge_write(found[0])

    def _judge_write(self, after: Schedule) -> None:
        name, before = after.spec.name, self._last.get(after.spec.name)
        self._last[name] = after
        if self._paused.get(name) is not None and bool(after.paused) != self._paused[name]:
            self._fail(name, f"is {'' if after.paused else 'not '}paused, against its person")
        if sum(one.state.is_under_way for one in after.firings) > 1:
            self._fail(name, "has two firings under way")
        old = {one.at_us: one for one in before.firings} if before else {}
        if before is not None and after.mark_us < before.mark_us:
            self._fail(name, "decides the same times again")
        new = {one.at_us: one for one in after.firings}
        for at_us, one in new.items():
            was = old.get(at_us)
            if was is not None and _rank(one) < _rank(was):
                self._fail(name, f"had a firing of {at_us} {was.state}, and it is {one.state}")
            if _rank(one) == _FINAL and (was is None or _rank(was) < _FINAL):
                self._reached[f"a firing is {one.state}"] += 1
        if gone := sorted(old.keys() - new.keys()):
            self._fail(name, f"has lost its firings of {gone}")

    def on_run_created(self, run: Run) -> None:
        """Judge that a line's run is its only one, and no other firing's jobs still run."""
        found = _PROMPT.search(run.submission.request)
        if found is None:
            self._ledger.fail(f"schedules: run {run.run_id} is of no line")
            return
        name, firing, date, time, number = (part.decode() for part in found.groups())
        at = datetime.strptime(firing[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        local = at.astimezone(ZoneInfo(self._planned[name].fields["timezone"]))
        if f"{date} {time}" != f"{local:%Y-%m-%d %H:%M}":
            self._fail(name, f"has {date} {time} in a job of {local}")
        same = self._runs[f"{name}/{firing}/{number}"]
        same.append(run)
        if len(same) > 1 and not (self._ledger.lost_writes and not self._plan.correlation):
            self._fail(name, f"has {len(same)} runs of line {number} of {firing}")
        for line, runs in self._runs.items():
            is_another = line.startswith(f"{name}/") and f"/{firing}/" not in line
            is_live = any(not one.is_over(self._ledger.wall()) for one in runs)
            if is_another and is_live and not self._ledger.lost_writes:
                self._fail(name, f"runs {firing} while {line} runs")

    def is_open(self) -> bool:
        """Whether a firing may still come, or is not over."""
        if self._ledger.clock() > self._plan.minutes * 60 + _MOST_SECONDS:
            return False  # the queue's clock is behind
        wait_us = int((DECIDED_SECONDS + AFTER_SECONDS) * 1e6)
        for name, planned in self._planned.items():
            found, end = self._read(name), datetime.fromisoformat(planned.fields["end"])
            if found is None or found[1] < end.timestamp() * 1e6 + wait_us:
                return True
            if any(_rank(one) < _FINAL for one in found[0].firings):
                return True
        return False

    def judge(self) -> None:
        """Judge the histories, at the end."""
        self._notice_losses()
        for name, planned in self._planned.items():
            found = self._read(name)
            if found is None or name not in self._since:
                self._fail(name, "is gone")
                continue
            schedule, now_us = found
            self._judge_times(planned, schedule, now_us)
            self._judge_jobs(planned, schedule.firings)
            firings = [_utc_form(one.at_us) for one in schedule.firings if one.batch]
            made = {f"{name}/{one}/{n + 1}" for one in firings for n in range(planned.lines)}
            ran = {line for line in self._runs if line.startswith(f"{name}/")}
            if ran - made and not self._ledger.lost_writes:
                self._fail(name, f"has runs of {sorted(ran - made)}, which did not fire")

    def _judge_times(self, planned: PlannedSchedule, schedule: Schedule, now_us: int) -> None:
        name, pauses = planned.name, self._pauses[planned.name]
        firings = {one.at_us: one for one in schedule.firings}
        # The clock of a Redis that came back empty may be behind.
        early_us = min(int(self._plan.begins * 1e6), self._since[name]) - _MINUTE
        due = set(due_times(planned.fields, early_us, now_us))
        for at_us, one in sorted(firings.items()):
            if one.kind is FiringKind.TIMED and at_us not in due:
                self._fail(name, f"fired at {_utc_form(at_us)}, which is no time of it")
            self._judge_state(planned, one, [*firings.values()])
        for at_us in sorted(due - firings.keys()):
            # A failover may have lost a resume.
            last = math.inf if self._losses else max(pauses, default=0)
            may_be_paused = min(pauses, default=math.inf) - _MINUTE <= at_us <= last
            if at_us > self._since[name] and not may_be_paused:
                self._fail(name, f"has no firing of {_utc_form(at_us)}")

    def _judge_state(
        self, planned: PlannedSchedule, one: Firing, firings: Sequence[Firing]
    ) -> None:
        name, overlap = planned.name, planned.fields["overlap"]
        jitter = int(planned.fields.get("jitter", "0s").removesuffix("s"))
        at = one.at_us / 1e6 - processes.EPOCH
        is_calm = self._times.is_calm(
            at - AFTER_SECONDS, at + jitter + AFTER_SECONDS, (*OF_SKYVERN, *_PEOPLE)
        ) and not self._times.hindered(0, at + jitter + AFTER_SECONDS, "redis's clock is set")
        said = f"has a firing of {_utc_form(one.at_us)} that is {one.state}: {one.message}"
        others = [other for other in firings if other.at_us != one.at_us and other.batch]
        if one.state is FiringState.SKIPPED:
            known_us = one.at_us - int(1e6 if is_calm else AFTER_SECONDS * 1e6)
            is_met = any(not other.ended_us or other.ended_us >= known_us for other in others)
            if overlap == "queue" or not (is_met or self._may_be_lost(one)):
                self._fail(name, said)
        elif one.state is FiringState.MISSED and "was paused" in one.message:
            if max(self._pauses[name], default=0) < one.at_us - _MINUTE:
                self._fail(name, said)
        elif one.state is FiringState.MISSED:
            if is_calm or planned.fields["catch_up"] == "all":
                self._fail(name, said)
        elif one.state is not FiringState.OVER:
            # Without markers a job whose claim was lost waits for a person, and firings behind it.
            open_ = () if self._plan.correlation else (o for o in firings if _rank(o) < _FINAL)
            if not any(map(self._may_be_lost, (one, *open_))):
                self._fail(name, said)

    def _judge_jobs(self, planned: PlannedSchedule, firings: Sequence[Firing]) -> None:
        """Judge that each line is one job, with a custom id of its own, and ran if it completed."""
        for one in firings:
            if not one.batch or self._may_be_lost(one):
                continue
            first = f"{planned.name}/{_utc_form(one.at_us)}"
            names = [f"{first}/{number}" for number in range(1, planned.lines + 1)]
            wanted = [ids.job_id_for(TIMED_ACCOUNT, "schedule", custom_id) for custom_id in names]
            jobs = self._server.query(job_calls.get_jobs(TIMED_ACCOUNT, wanted, result=False))
            for custom_id, job in zip(names, jobs, strict=True):
                if job is None or (job.custom_id, job.batch) != (custom_id, one.batch):
                    self._fail(planned.name, f"has no job {custom_id} in its firing's batch")
                elif job.state is JobState.COMPLETED and not self._runs[custom_id]:
                    self._fail(planned.name, f"has no run of {custom_id}")
            completed = sum(job is not None and job.state is JobState.COMPLETED for job in jobs)
            if (one.jobs, one.completed) != (planned.lines, completed):
                self._fail(planned.name, f"counts {one} with {completed} jobs that completed")

    def _may_be_lost(self, one: Firing) -> bool:
        """Say whether a failover may have lost what became of a firing: it came before its end."""
        at = (one.begun_us or one.at_us) / 1e6 - processes.EPOCH
        return any(until > at - _LOST_SECONDS for _, until in self._ledger.lost_writes)

    def _fail(self, name: str, what: str) -> None:
        self._ledger.fail(f"schedule {name} {what}")


def _rank(firing: Firing) -> int:
    return _RANKS.get(firing.state, _FINAL)


def _utc_form(at_us: int) -> str:
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    rest = at_us % 1_000_000
    return f"{at:%Y%m%dT%H%M%S}{f'.{rest:06}' if rest else ''}Z"
