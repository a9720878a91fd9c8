"""One account of a real Valkey under a clock that only the test moves."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

import orjson
import redis
from hypothesis import HealthCheck, settings

from runqueue import ids
from runqueue.producer.queue import RunQueue
from runqueue.records import claim_items
from runqueue.records.batch import NO_RULES, Batch, BatchRules
from runqueue.records.claim_items import (
    Claimed,
    Finished,
    GivenBack,
    Lost,
    RunAccepted,
    Searched,
    Taken,
)
from runqueue.records.job import Enqueued, EnqueueStatus, Job
from runqueue.records.quotas import Quota
from runqueue.records.retention import RETENTION_SECONDS
from runqueue.records.run_figures import FigureRules
from runqueue.request.job_spec import JobSpec, Kind, Priority, When
from runqueue.request.retry_policy import Retry
from runqueue.store import delivery_calls, job_calls, operator_calls, sending, worker_calls
from runqueue.store.delivery_calls import CallbackOutcome, DueCallback
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall

T = TypeVar("T")

ACCOUNT = "default"
SECOND = 1_000_000
DAY = 86_400 * SECOND
#: Microseconds since 1970; every test begins here.
START = 1_800_000_000 * SECOND
#: What the worker's lease, and its polls', last.
LEASE = 15 * SECOND
#: Of the contract: a claim older than the longest submission is taken over.
CLAIM_AGE = 75 * SECOND
#: The account's limit of workflow runs.
WORKFLOW_RUN = 29_700 * SECOND
RETENTION = RETENTION_SECONDS * SECOND
#: What the worker tells the script that records searches.
GRACE, SPACING = 30 * SECOND, 30 * SECOND
UPLOAD = DAY
#: When a callback that nobody recorded comes again.
CALLBACK_LEASE = 60 * SECOND

settings.register_profile(
    "ci",
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=12)
settings.register_profile("long", settings.get_profile("ci"), max_examples=2_000)


NO_DETAILS = FigureRules(details="never")


def took(
    queued: float | None = None,
    ran: float | None = None,
    steps: int | None = None,
    *,
    run: str = "wr_1",
    state: str = "failed",
    billed: int | None = None,
    cached: int | None = None,
    category: str | None = None,
    rules: FigureRules = NO_DETAILS,
) -> str:
    """What a run took, as the scripts are told."""
    found = (queued, ran, steps, billed, cached, category, run if run.startswith("wr_") else None)
    return rules.encode(run, state, found)


def spec(
    name: str,
    *,
    account: str = ACCOUNT,
    body: str = "a",
    priority: int = 2,
    group: str = "default",
    run_at: int | None = None,
    deadline: int | None = None,
    on_unconfirmed: str = "",
    retry: Retry | None = None,
    url: str = "",
    kind: Kind = "task",
    max_run_seconds: float | None = None,
    keys: Sequence[str] = (),
    max_steps: int | None = None,
) -> JobSpec:
    """The job with the idempotency key `name`; times are microseconds since 1970."""
    fields: dict[str, Any] = {"prompt": body} | ({"webhook_url": url} if url else {})
    if max_steps is not None:
        fields["max_steps"] = max_steps
    return JobSpec(
        kind=kind,
        body=fields,
        canonical=orjson.dumps(fields),
        custom_id=name,
        priority=Priority(priority),
        group=group,
        run_at=None if run_at is None else When(run_at, relative=False),
        deadline=None if deadline is None else When(deadline, relative=False),
        account=account,
        namespace="clockwork",
        on_unconfirmed=on_unconfirmed,
        retry=retry,
        max_run_seconds=max_run_seconds,
        keys=tuple(keys),
    )


class QueueOfClock(RunQueue):
    """A queue of one account whose calls are run by somebody else.

    Args:
        account: the account.
        run: runs a call.
    """

    def __init__(self, account: str, run: Callable[[ScriptCall[Any]], Any]) -> None:
        super().__init__("redis://127.0.0.1:1")
        self._accounts.known = [account]
        self._run = run

    def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""
        return cast(T, self._run(call))


class Clockwork:
    """The account's scripts, each run at `now`."""

    def __init__(self, client: redis.Redis, account: str = ACCOUNT) -> None:
        self.client = client
        self.account = account
        self.now = START
        #: The quota of whoever hands in.
        self.quota: Quota | None = None
        self._made = 0

    def run(self, call: ScriptCall[T]) -> T:
        """Send a call at the clock's time."""
        return sending.run(self.client, call, now_us=self.now)

    def commands(self, call: ScriptCall[Any]) -> int:
        """Run a call; returns how many commands that took."""
        sending.load_library(self.client, self.key("meta"))
        self.client.config_resetstat()
        self.run(call)
        stats = cast("dict[str, dict[str, int]]", self.client.info("commandstats"))
        ours = ("cmdstat_config|resetstat", "cmdstat_fcall", "cmdstat_info")
        return sum(entry["calls"] for name, entry in stats.items() if name not in ours)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * SECOND)

    def key(self, name: str) -> str:
        """The account's key of that name."""
        return Keys(self.account).prefix + name

    def new_id(self, name: str = "") -> str:
        """An id that is the same in every run of the test."""
        self._made += 1
        return ids.job_id_for(self.account, "clockwork", name or str(self._made))

    def enqueue(
        self, n: int = 1, *, batch: str | None = None, names: Sequence[str] = (), **options: Any
    ) -> list[str]:
        """Hand in n new jobs (or those of `names`), at most 1,000; returns their ids."""
        if not names:
            names = [f"job{self._made + i}" for i in range(n)]
            self._made += n
        answers = self.enqueue_specs(
            [spec(i, account=self.account, **options) for i in names], batch
        )
        assert all(answer.status is EnqueueStatus.NEW for answer in answers)
        return [answer.job_id for answer in answers]

    def enqueue_specs(self, jobs: Sequence[JobSpec], batch: str | None = None) -> list[Enqueued]:
        """Hand in jobs and return the answers."""
        return self.run(self.enqueue_call(jobs, batch))

    def enqueue_call(
        self, jobs: Sequence[JobSpec], batch: str | None = None
    ) -> ScriptCall[list[Enqueued]]:
        """The call that hands in jobs."""
        keys = [job.custom_id for job in jobs]
        encoded = [job_calls.encode_job(job) for job in jobs]
        return job_calls.enqueue(self.account, encoded, keys, batch, self.quota)

    def open_batch(self, rules: BatchRules = NO_RULES) -> str:
        """Open a batch."""
        batch = self.new_id()
        assert self.run(job_calls.open_batch(self.account, batch, "a batch", rules))
        return batch

    def batch_of(
        self, n: int, rules: BatchRules = NO_RULES, **options: Any
    ) -> tuple[str, list[str]]:
        """Hand in a batch of n jobs; returns its id, and theirs."""
        batch = self.open_batch(rules)
        job_ids = self.enqueue(n, batch=batch, **options)
        assert self.seal(batch) == n
        return batch, job_ids

    def read(self, batch: str) -> Batch:
        """How a batch stands."""
        found = self.run(job_calls.get_batch(self.account, batch))
        assert found is not None
        return found

    def hold(self, batch: str, what: str = "pause", seen: str = "") -> str | None:
        """Pause or resume a batch; returns what holds it then."""
        return self.run(job_calls.hold_batch(self.account, batch, what, seen))

    def resume(self, batch: str) -> str | None:
        """End what holds a batch now; returns what holds it then."""
        return self.hold(batch, "resume", self.read(batch).held or "")

    def cancel_batch(self, batch: str) -> int:
        """Cancel a batch; returns how many jobs it has."""
        done = self.run(operator_calls.cancel_batch(self.account, batch))
        assert done is not None
        return done.jobs

    def callbacks(self, want: int = 100, process: str = "p1") -> list[DueCallback]:
        """Take the callbacks that are due; the process has a lease afterwards."""
        self.heartbeat(process, first=True)
        call = delivery_calls.callback_claim(
            self.account, process, want, 0, stay_idle=False, lease_us=CALLBACK_LEASE
        )
        return list(self.run(call).items)

    def tell(
        self, due: DueCallback, verdict: str = "delivered", *, wait: float = 0, error: str = ""
    ) -> int:
        """Record what came of a callback."""
        wait_us = round(wait * SECOND)
        told = CallbackOutcome(
            due.batch.id, due.event, due.tries, verdict, error=error, wait_us=wait_us
        )
        return self.run(delivery_calls.record_callback(self.account, [told]))[0]

    @cached_property
    def queue(self) -> RunQueue:
        """The queue, whose calls are sent at the clock's time."""
        return QueueOfClock(self.account, self.run)

    def end_all(self, *states: str) -> list[str]:
        """Claim as many jobs as there are states, and end each run in one; returns the ids."""
        self.heartbeat(first=True)
        taken = self.claim(len(states)).items
        for item, state in zip(taken, states, strict=False):
            run_id = f"r-{item.job_id}-{item.attempt}"
            assert self.found(item.job_id, item.attempt, run_id) == 1
            assert self.finish(item.job_id, attempt=item.attempt, run_id=run_id, state=state) == 1
        return [item.job_id for item in taken]

    def seal(self, batch: str) -> int:
        """Seal a batch."""
        return self.run(job_calls.seal_batch(self.account, batch))

    def heartbeat(self, process: str = "p1", sequence: int = 0, *, first: bool = False) -> bool:
        """Renew or begin a lease."""
        call = worker_calls.heartbeat(self.account, process, LEASE, sequence, 0, first=first)
        return self.run(call) != -1

    def claim(
        self,
        want: int = 10,
        process: str = "p1",
        *,
        claim_id: str = "",
        tick_us: int = 0,
        stay_idle: bool = False,
        receives: bool = False,
    ) -> Taken[Any]:
        """Claim under a claim id of its own."""
        self._made += 1
        claim_id = claim_id or f"claim{self._made}"
        options = {"stay_idle": stay_idle, "receives": receives}
        return self.run(
            worker_calls.claim(self.account, process, claim_id, want, tick_us, **options)
        )

    def claimed(self, want: int = 10, process: str = "p1") -> list[str]:
        """Claim and return the ids; the process has a lease afterwards."""
        self.heartbeat(process, first=True)
        return [job.job_id for job in self.claim(want, process).items]

    def running(self, n: int = 1, *, receives: bool = False, **options: Any) -> list[str]:
        """Hand in n jobs and bring them to running, each as run `r-<id>`."""
        job_ids = self.enqueue(n, **options)
        self.heartbeat(first=True)
        taken = self.claim(n, receives=receives)
        assert sorted(job.job_id for job in taken.items) == sorted(job_ids)
        assert self.accept(taken.items) == [1] * n
        return job_ids

    def accept(self, items: Iterable[Claimed], poll_after: int = SECOND) -> list[int]:
        """Record that each submission brought the run `r-<id>`."""
        return self.run(
            worker_calls.mark_running(
                self.account,
                [
                    RunAccepted(i.job_id, i.attempt, f"r-{i.job_id}", "created", poll_after)
                    for i in items
                ],
            )
        )

    def found(self, job_id: str, attempt: int, run_id: str) -> int:
        """Record one run."""
        item = RunAccepted(job_id, attempt, run_id, "created", SECOND)
        return self.run(worker_calls.mark_running(self.account, [item]))[0]

    def finish(
        self,
        job_id: str,
        *,
        attempt: int = 1,
        run_id: str = "",
        state: str = "completed",
        result: bytes = b"{}",
        steps: int | None = None,
    ) -> int:
        """Record the end of a run, by default of `r-<id>`."""
        run_id, times = run_id or f"r-{job_id}", took(steps=steps)
        item = Finished(job_id, attempt, run_id, state, state, "", result, times)
        return self.run(worker_calls.finish(self.account, [item]))[0]

    def lose(self, job_id: str, attempt: int = 1, *, trouble: bool = False) -> int:
        """Record that a submission's answer was lost."""
        item = Lost(job_id, attempt, "cut off", trouble)
        return self.run(worker_calls.mark_unconfirmed(self.account, [item]))[0]

    def unconfirmed(self, n: int = 1, **options: Any) -> list[str]:
        """Hand in n jobs, claim them, and lose the answers."""
        job_ids = self.enqueue(n, **options)
        assert sorted(self.claimed(n)) == sorted(job_ids)
        assert [self.lose(job_id) for job_id in job_ids] == [1] * n
        return job_ids

    def search(
        self, job_id: str, verdict: str = "not_found", attempt: int = 1, again: float = 600
    ) -> int:
        """Record a search that found no run."""
        item = Searched(job_id, attempt, verdict, round(again * SECOND), GRACE)
        call = worker_calls.record_search(self.account, [item], self.now, SPACING)
        return self.run(call)[0]

    def deny(self, job_id: str, attempt: int = 1) -> int:
        """Record the two searches, in their time, that say that there is no run."""
        for _ in range(2):
            self.wait(30)
            code = self.search(job_id, attempt=attempt)
        return code

    def seen(self, *job_ids: str) -> list[tuple[str, int, int]]:
        """Jobs as a person sees them now: id, attempt, end."""
        return [
            (i, int(self.field(i, "attempt") or 0), int(self.field(i, "ended") or 0))
            for i in job_ids
        ]

    def die(self) -> int:
        """Every process dies; returns how many claims were taken over."""
        self.wait(15)
        return self.sweep("expire_leases", CLAIM_AGE)

    def refuse(self, job_id: str, attempt: int = 1, why: str = "422") -> int:
        """Record that the server refused a submission."""
        return self.run(worker_calls.mark_dead(self.account, [Lost(job_id, attempt, why)]))[0]

    def give_back(
        self,
        job_id: str,
        why: str = "void",
        attempt: int = 1,
        *,
        wait: float = 0,
        reason: str = "503",
        named: float = 0.0,
    ) -> int:
        """Return a claim."""
        item = GivenBack(job_id, attempt, round(wait * SECOND), reason, named)
        return self.run(worker_calls.give_back(self.account, [item], why))[0]

    def cancel(self, *job_ids: str) -> list[int]:
        """Ask for the end of jobs."""
        return self.run(job_calls.cancel(self.account, job_ids))

    def overdue(
        self, job_id: str, why: str = "deadline", *, attempt: int = 1, run_id: str = ""
    ) -> int:
        """Record that a run took longer than it may, by default `r-<id>`."""
        item = claim_items.Overdue(job_id, attempt, run_id or f"r-{job_id}", why)
        return self.run(worker_calls.cancel_overdue(self.account, [item]))

    def sweep(self, script: str, *arguments: int) -> int:
        """Run one of the sweep's scripts."""
        return self.run(worker_calls.sweep(self.account, script, *arguments, 1_000))

    def tick(
        self, process: str = "p1", *, woken: bool = False, interval: float = 0.25
    ) -> claim_items.Tick:
        """Run the tick's script."""
        every = round(interval * SECOND)
        return self.run(worker_calls.tick(self.account, process, every, self.now, woken=woken))

    def limit(self, **limits: float) -> None:
        """Set limits."""
        self.run(worker_calls.seed_limits(self.account, limits))

    def state(self, job_id: str) -> str | None:
        """A job's state as its record says."""
        raw = self.field(job_id, "state")
        return None if raw is None else raw

    def field(self, job_id: str, name: str) -> str | None:
        """One field of a job's record."""
        raw = cast("bytes | None", self.client.hget(self.key(f"job:{job_id}"), name))
        return None if raw is None else raw.decode()

    def job(self, job_id: str) -> Job:
        """A job as everybody reads it."""
        (found,) = self.run(job_calls.get_jobs(self.account, [job_id]))
        assert found is not None
        return found

    def next_poll(self, job_id: str) -> int:
        """Microseconds until a job's run is polled."""
        score = self.client.zscore(self.key("poll"), job_id)
        assert score is not None
        return int(score) - self.now

    def states(self, job_ids: Iterable[str]) -> set[str | None]:
        """The states that jobs are in."""
        return {self.state(job_id) for job_id in job_ids}

    def members(self, zset: str) -> list[str]:
        """A zset's members, first score first."""
        found = cast("list[bytes]", self.client.zrange(self.key(zset), 0, -1))
        return [member.decode() for member in found]

    def another_server(self, name: str = "0") -> None:
        """Have the account know another server than the one that answers."""
        ids = {"run_id": name * 40, "replid": name * 40}
        for field, value in ids.items():
            self.client.hset(self.key("meta"), field, value)

    def dump(self, *but: str) -> dict[str, Any]:
        """Everything the server holds, keys of the names in `but` apart.

        How often late words were refused is left out: one that is said twice is refused twice.
        """
        held = dump(self.client, {self.key(name) for name in but})
        counters = held.get(self.key("counters"))
        if isinstance(counters, dict):
            for name in [name for name in counters if name.startswith(b"fenced:")]:
                del counters[name]
        return held


def dump(client: redis.Redis, but: Iterable[str] = ()) -> dict[str, Any]:
    """Everything a server holds, each key as a plain value."""
    keys = [raw.decode() for raw in cast("list[bytes]", client.keys("*"))]
    keys = [key for key in keys if key not in set(but)]
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.type(key)
    kinds = [kind.decode() for kind in pipe.execute()]
    read: dict[str, Callable[[str], Any]] = {
        "hash": pipe.hgetall,
        "string": pipe.get,
        "set": pipe.smembers,
        "list": lambda key: pipe.lrange(key, 0, -1),
        "zset": lambda key: pipe.zrange(key, 0, -1, withscores=True),
    }
    # On a busy machine a life takes longer than the shortest TTL: a key may go meanwhile.
    there = {key: kind for key, kind in zip(keys, kinds, strict=True) if kind != "none"}
    for key, kind in there.items():
        read[kind](key)
    return dict(zip(there, pipe.execute(), strict=True))
