"""Loses the answers of many kinds of submissions, and judges by the server what came of each job.

Nothing that the queue says is evidence but one thing: which run it believes to be a job's. Which
runs there are the server's own list says, and whose each is the proxy saw.
"""

import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import orjson

from lab.waiting import until
from runqueue import Job, JobState, RunQueue
from runqueue.errors import InvalidJob
from runqueue.request.job_spec import parse_line
from tests.acceptance.factory import Factory
from tests.real.lossy import Loss, LossyProxy, Submission
from tests.real.request_kinds import PARAMETERS, RequestKind, filled
from tests.real.stack import stack
from tests.real.target import Target

#: The sets of a kind: one for each way of losing, one with all of them mixed (equal jobs alone),
#: and jobs whose answer is not lost, among the others and after them.
LOSSES = (Loss.CUT, Loss.ERROR, Loss.KILL, Loss.BEFORE)
MIXED, NOT_LOST = "mixed", Loss.NONE.value
_MIX = (Loss.CUT, Loss.ERROR, Loss.BEFORE, Loss.NONE)
#: Equal jobs in a set whose answers are all lost in one way; the mixed set has all that a kind has.
PURE_JOBS = 4
#: Answers that one worker waits for when it is killed: so few that none is waited for as long as a
#: minute, when the worker itself would give it up.
KILL_AT_ONCE = 40
#: After so many answers that are lost comes one that is not: the queue takes a server that fails
#: ten times in a row for one that is down, and waits.
CONTROL_EVERY = 3
#: Seconds until a job that is still unconfirmed counts as one that does not settle: a task without
#: URL alone waits for 15 minutes.
SETTLE_SECONDS = float(os.environ.get("SETTLE_SECONDS", "1500"))
#: Seconds between the runs that the account goes on to make while losses settle: a job that was
#: lost after everything else waits for one, and a busy server loses a control's own answer.
TRAFFIC_EVERY = 60.0
#: Candidates that a job names at most.
MOST_NAMED = 5
#: Seconds for all submissions of a phase; a server takes four a second on two cores.
SUBMIT_SECONDS = 900.0


@dataclass(slots=True)
class JobSet:
    """Jobs of one kind whose answers are lost in one way.

    Args:
        kind: what they ask for.
        name: how their answers are lost.
        key: what names them on the wire.
        losses: what is to be done to each.
        lines: the jobs; equal ones, or one.
    """

    kind: RequestKind
    name: str
    key: str
    losses: list[Loss]
    lines: list[dict[str, Any]]
    job_ids: list[str] = field(default_factory=list)

    def pairs(self) -> Iterator[tuple["JobSet", dict[str, Any], Loss]]:
        """Yield each job with the set and with what is planned for it."""
        for line, loss in zip(self.lines, self.losses, strict=True):
            yield self, line, loss


#: One job: its set and its line.
JobOfSet = tuple[JobSet, dict[str, Any]]


@dataclass(slots=True)
class Verdict:
    """What came of a set of jobs, or of several.

    Args:
        jobs: how many there were.
        runs: how many runs the server made of them.
        too_many: runs beyond one for each job.
        lost: jobs that ended without their run, and runs that nobody looks for any more.
        wrong: jobs that hold a run which was made of another request, or is another job's.
        with_run, with_run_settled: answers that were lost after the run was made, and those of
            them whose run is a job's now.
        without_run, without_run_settled: submissions that the server never saw, and those of them
            that became a run later.
        visible: jobs that are unconfirmed at the end.
        unshown: runs that no job has, and that no unconfirmed job names as a candidate.
    """

    jobs: int = 0
    runs: int = 0
    too_many: int = 0
    lost: int = 0
    wrong: int = 0
    with_run: int = 0
    with_run_settled: int = 0
    without_run: int = 0
    without_run_settled: int = 0
    visible: int = 0
    unshown: int = 0

    def __add__(self, other: "Verdict") -> "Verdict":
        mine, others = asdict(self), asdict(other)
        return Verdict(**{name: value + others[name] for name, value in mine.items()})

    @property
    def is_right(self) -> bool:
        """Whether nothing ran too often, was lost, or is another's."""
        return not (self.too_many or self.lost or self.wrong or self.unshown)


@dataclass(slots=True)
class Outcome:
    """The table: a verdict for each kind and way of losing.

    Args:
        server: whose it is.
        verdicts: by kind and set.
        unaccounted: runs that the server lists and the proxy did not see, or the other way round.
        refused: kinds that this queue takes no jobs of, and why.
        seconds: until all was settled, or given up.
    """

    server: str
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    unaccounted: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def of_kind(self, name: str) -> Verdict:
        """Return a kind's sum over all ways of losing."""
        return sum(self.verdicts[name].values(), Verdict())

    def total(self) -> Verdict:
        """Return the sum over all kinds."""
        return sum(map(self.of_kind, self.verdicts), Verdict())

    def lines(self) -> Iterator[str]:
        """Yield the table, a line a kind."""
        name = f"request ({self.server})"
        yield (
            f"{name:44} {'jobs':>5} {'runs':>5} {'too many':>8} {'lost':>5} {'wrong':>5} "
            f"{'with a run':>11} {'without':>9} {'visible':>8}"
        )
        for name in self.verdicts:
            yield _line(name, self.of_kind(name))
        yield _line("all", self.total())
        for name, why in self.refused.items():
            yield f"{name:44} not asked: {why}"

    def write(self, path: Path) -> None:
        """Write the table as JSON: by kind and way of losing, and its sums."""
        table = {
            "server": self.server,
            "seconds": round(self.seconds),
            "total": asdict(self.total()),
            "refused": self.refused,
            "unaccounted": sorted(self.unaccounted),
            "kinds": {
                name: {way: asdict(verdict) for way, verdict in ways.items()}
                for name, ways in self.verdicts.items()
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2))


def _line(name: str, verdict: Verdict) -> str:
    with_run = f"{verdict.with_run_settled}/{verdict.with_run}"
    without = f"{verdict.without_run_settled}/{verdict.without_run}"
    return (
        f"{name:44} {verdict.jobs:5} {verdict.runs:5} {verdict.too_many:8} {verdict.lost:5} "
        f"{verdict.wrong:5} {with_run:>11} {without:>9} {verdict.visible:8}"
    )


class Judge:
    """Has jobs of many kinds submitted through a proxy that loses answers.

    Args:
        target: the server.
        server: its name in tables.
        folder: for logs and data.
        kinds: what is asked for.
    """

    def __init__(
        self, target: Target, server: str, folder: Path, kinds: Sequence[RequestKind]
    ) -> None:
        self.target, self.folder = target, folder
        self.outcome = Outcome(server)
        self._random = random.Random(17)
        self._sets: list[JobSet] = []
        self._traffic: list[JobSet] = []
        self._numbers = iter(range(1_000_000))
        self._kinds = [kind for kind in kinds if self._is_taken(kind)]

    def _is_taken(self, kind: RequestKind) -> bool:
        """Say whether the queue takes jobs of a kind; if not, remember why."""
        try:
            parse_line({"kind": kind.kind, "body": filled(kind.body, "x", "wpid_1")})
        except InvalidJob as refusal:
            self.outcome.refused[kind.name] = str(refusal).splitlines()[0]
            return False
        return True

    def judge(self) -> Outcome:
        """Lose every answer, wait until what can settle has, and judge."""
        before = self.target.all_run_ids()
        start = time.monotonic()
        with stack(self.target, self.folder) as (parts, proxy):
            killed, others, controls = self._make_sets()
            for each in self._sets:
                proxy.announce(each.key, each.losses)
            self._kill_while_waiting(parts, proxy, killed)
            kept = len(self._kinds)
            self._lose(parts, proxy, _spread(others, controls[kept:]))
            # Runs made after every loss: only such a one can show that a search would have found.
            self._enqueue(parts.queue, controls[:kept])
            jobs = self._wait(parts.queue)
            self.outcome.seconds = time.monotonic() - start
            self._attribute(proxy, self.target.all_run_ids() - before)
            for each in self._sets:
                verdict = _verdict([jobs[job_id] for job_id in each.job_ids], each, proxy)
                ways = self.outcome.verdicts.setdefault(each.kind.name, {})
                ways[each.name] = ways.get(each.name, Verdict()) + verdict
            seen = {s.run_id for s in proxy.submissions if s.run_id}
            self.outcome.unaccounted = seen ^ (self.target.all_run_ids() - before)
        return self.outcome

    def _attribute(self, proxy: LossyProxy, runs: set[str]) -> None:
        """Find whose the runs are whose answers the proxy itself did not get, by what they show."""
        keys = {each.key for each in (*self._sets, *self._traffic)}
        for run_id in runs - {s.run_id for s in proxy.submissions}:
            answer = self.target.get(f"/v1/runs/{run_id}")
            shown = orjson.loads(answer.content).get("run_request") or {}
            key = proxy.key_of(answer.text, shown)
            if key not in keys:
                continue
            unanswered = [s for s in proxy.of(key) if s.run_id is None and s.loss.makes_run]
            if unanswered:
                unanswered[0].run_id = run_id
            else:
                proxy.submissions.append(Submission(key, Loss.NONE, "", shown, 200, run_id))

    def _make_sets(self) -> tuple[list[JobOfSet], list[JobOfSet], list[JobOfSet]]:
        """Return (jobs that a worker dies over, the other losses, those that are not lost)."""
        for kind in self._kinds:
            for loss in LOSSES:
                self._set(kind, loss.value, [loss] * min(kind.equal, PURE_JOBS))
            if kind.equal > 1:
                self._set(kind, MIXED, self._mixed(kind.equal))
        jobs = [pair for each in self._sets for pair in each.pairs()]
        killed = [(each, line) for each, line, loss in jobs if loss is Loss.KILL]
        others = [(each, line) for each, line, loss in jobs if loss is not Loss.KILL]
        rounds = 1 + ceil(len(others) / CONTROL_EVERY / max(1, len(self._kinds)))
        controls = [
            (each, each.lines[0])
            for each in (
                self._set(kind, NOT_LOST, [Loss.NONE])
                for _ in range(rounds)
                for kind in self._kinds
            )
        ]
        for made in (killed, others):
            self._random.shuffle(made)
        return killed, others, controls

    def _mixed(self, count: int) -> list[Loss]:
        """Return losses of all ways for equal jobs; those that a worker dies over come first."""
        killed = [Loss.KILL] * (count // len(LOSSES))
        rest = [_MIX[number % len(_MIX)] for number in range(count - len(killed))]
        self._random.shuffle(rest)
        return killed + rest

    def _set(self, kind: RequestKind, name: str, losses: list[Loss]) -> JobSet:
        made = self._made(kind, name, losses)
        self._sets.append(made)
        return made

    def _made(self, kind: RequestKind, name: str, losses: list[Loss]) -> JobSet:
        token = f"rqt-{next(self._numbers)}-z"
        workflow = ""
        template = orjson.dumps(kind.body).decode()
        if "{w}" in template:
            declared = PARAMETERS if kind.declares else ()
            workflow = self.target.workflow(f"{kind.name} {token}", declared)
        body = filled(kind.body, token, workflow)
        key = token if "{t}" in template else workflow
        lines = [{"kind": kind.kind, "body": body} for _ in losses]
        return JobSet(kind, name, key, losses, lines)

    def _enqueue(self, queue: RunQueue, jobs: Sequence[JobOfSet]) -> None:
        """Submit jobs to the queue, in their order."""
        for start in range(0, len(jobs), 500):
            part = jobs[start : start + 500]
            answers = queue.enqueue_many([line for _, line in part])
            for (each, _), job in zip(part, answers, strict=True):
                each.job_ids.append(job.job_id)

    def _kill_while_waiting(
        self, parts: Factory, proxy: LossyProxy, killed: Sequence[JobOfSet]
    ) -> None:
        """Kill a worker over every few of these jobs, while it waits for all their answers."""
        for start in range(0, len(killed), KILL_AT_ONCE):
            part = killed[start : start + KILL_AT_ONCE]
            expected = proxy.held + len(part)
            self._enqueue(parts.queue, part)
            victim = parts.start_worker()
            until(
                partial(_has_held, proxy, expected),
                SUBMIT_SECONDS,
                f"{len(part)} answers to be held",
            )
            victim.kill()
            victim.wait()
        proxy.release()

    def _lose(self, parts: Factory, proxy: LossyProxy, jobs: Sequence[JobOfSet]) -> None:
        """Have two workers submit jobs, and wait until the proxy has seen all of these once."""
        self._enqueue(parts.queue, jobs)
        parts.start_worker()
        parts.start_worker()
        until(
            lambda: all(len(proxy.of(each.key)) >= len(each.lines) for each, _ in jobs),
            SUBMIT_SECONDS,
            "every submission to reach the proxy",
        )

    def _go_on(self, queue: RunQueue) -> None:
        """Make a run of each sort, as an account that is in use does; the table leaves them out."""
        sorts = {(kind.kind, kind.body.get("engine")): kind for kind in reversed(self._kinds)}
        made = [self._made(kind, NOT_LOST, [Loss.NONE]) for kind in sorts.values()]
        self._traffic += made
        self._enqueue(queue, [(each, each.lines[0]) for each in made])

    def _end_traffic(self, queue: RunQueue) -> None:
        """Wait until none of these runs is being made: the runs are about to be counted."""
        ids = [job_id for each in self._traffic for job_id in each.job_ids]
        under_way = {JobState.SCHEDULED, JobState.READY, JobState.SUBMITTING}
        until(
            lambda: not any(job.state in under_way for job in _read(queue, ids).values()),
            SUBMIT_SECONDS,
            "the account's other runs to be made",
        )

    def _wait(self, queue: RunQueue) -> dict[str, Job]:
        """Wait until every job has a run and is over, or the time is up; return all jobs."""
        ids = [job_id for each in self._sets for job_id in each.job_ids]
        give_up = time.monotonic() + SETTLE_SECONDS
        reported = went_on = time.monotonic()
        while True:
            found = _read(queue, ids)
            open_jobs = [job for job in found.values() if job.run_id is None and not _is_over(job)]
            if not open_jobs or time.monotonic() > give_up:
                self._end_traffic(queue)
                return found
            if time.monotonic() > went_on + TRAFFIC_EVERY:
                went_on = time.monotonic()
                self._go_on(queue)
            if time.monotonic() > reported + 60:
                reported = time.monotonic()
                print(f"  {len(open_jobs)} of {len(ids)} jobs without a run", file=sys.stderr)
            time.sleep(2)


def _has_held(proxy: LossyProxy, expected: int) -> bool:
    return proxy.held >= expected


def _spread(lossy: Sequence[JobOfSet], controls: Sequence[JobOfSet]) -> list[JobOfSet]:
    """Return jobs, with a control after every few."""
    left = list(controls)
    spread: list[JobOfSet] = []
    for number, pair in enumerate(lossy, 1):
        spread.append(pair)
        if number % CONTROL_EVERY == 0 and left:
            spread.append(left.pop())
    return spread + left


def _is_over(job: Job) -> bool:
    return job.state in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.DEAD}


def _read(queue: RunQueue, ids: Sequence[str]) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for start in range(0, len(ids), 500):
        jobs = queue.get_many(ids[start : start + 500], result=False)
        found |= {job.id: job for job in jobs if job is not None}
    return found


def _verdict(jobs: Sequence[Job], each: JobSet, proxy: LossyProxy) -> Verdict:
    """Judge the jobs of a set by the runs that the proxy saw being made of it."""
    submissions = proxy.of(each.key)
    loss_of = {s.run_id: s.loss for s in submissions if s.run_id is not None}
    owned = [job.run_id for job in jobs if job.run_id is not None]
    right = {run_id for run_id in owned if run_id in loss_of}
    visible = sum(job.state is JobState.UNCONFIRMED for job in jobs)
    nobodys = len(loss_of) - len(right)
    too_many = max(0, len(loss_of) - len(jobs))
    unseen = sum(s.loss is Loss.BEFORE for s in submissions)
    not_lost = each.losses.count(Loss.NONE)
    settled = [loss_of[run_id] for run_id in right]
    return Verdict(
        jobs=len(each.lines),
        runs=len(loss_of),
        too_many=too_many,
        lost=(
            len(each.lines)
            - len(jobs)
            + sum(_is_over(job) and job.run_id is None for job in jobs)
            + max(0, nobodys - visible - too_many)
        ),
        wrong=len(owned) - len(right),
        with_run=sum(loss.makes_run and loss is not Loss.NONE for loss in loss_of.values()),
        with_run_settled=sum(loss is not Loss.NONE for loss in settled),
        without_run=unseen,
        without_run_settled=max(0, min(unseen, settled.count(Loss.NONE) - not_lost)),
        visible=visible,
        unshown=_unshown(jobs, set(loss_of) - right),
    )


def _unshown(jobs: Sequence[Job], nobodys: set[str]) -> int:
    """Count the runs that no job has and no unconfirmed job of the set names as a candidate."""
    waiting = [job for job in jobs if job.state is JobState.UNCONFIRMED]
    named = {one.run_id for job in waiting for one in job.candidates}
    if len(nobodys) > MOST_NAMED:  # of many equal runs a job names some
        return 0 if named & nobodys else len(nobodys)
    return len(nobodys - named)
