"""The clock of Redis' host is set while no process lives that would count the time."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest
import redis

from runqueue.store import sending, worker_calls
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import DAY, LEASE, SECOND, Clockwork
from tests.runqueue.lua.webhooks import receive, told

T = TypeVar("T")

#: By how much Skyvern's clock is ahead of the true one.
SKYVERN = 40 * SECOND
#: Between the last worker's death and the next one's start.
AWAY = 3600
STEPS = [10_000, -1_000]


class HostClock(Clockwork):
    """An account whose server has a clock that can be set; `now` is the true time."""

    offset = 0

    def run(self, call: ScriptCall[T]) -> T:
        """Send a call at the time of the server's clock."""
        return sending.run(self.client, call, cast(Any, f"={self.now + self.offset}"))

    def skyvern(self) -> int:
        """Return what Skyvern's clock shows."""
        return self.now + SKYVERN

    def beat(self, process: str, date_us: int | None, *, first: bool = False) -> None:
        """Renew or begin a lease, with what the process knows of Skyvern's clock."""
        call = worker_calls.heartbeat(
            self.account, process, LEASE, -1, self.now, first=first, date_us=date_us
        )
        assert self.run(call) != -1

    def serve(self, process: str, seconds: float = 5) -> None:
        """Let a process tick and beat for a while; it has had no answer of Skyvern's yet."""
        self.beat(process, None, first=True)
        for _ in range(round(seconds * 2)):
            self.tick(process)
            self.wait(0.5)
        self.beat(process, None)

    def gap(self, step: float) -> None:
        """Have the worker die, the clock set by so many seconds, and another worker start."""
        self.wait(AWAY)
        self.offset += round(step * SECOND)
        self.serve("p2")

    def submitted(self, job_id: str) -> bool:
        """Say whether the queue reports when the job's run was submitted."""
        call = worker_calls.submission_times(self.account, [f"r-{job_id}"])
        return self.run(call)[1] != [None]

    def submit(self, process: str) -> str:
        """Have a job submitted and its run made."""
        (job_id,) = self.enqueue(1)
        assert self.accept(self.claim(1, process).items) == [1]
        return job_id


@pytest.fixture
def host(client: redis.Redis) -> HostClock:
    """An account with a worker that knows Skyvern's date."""
    host = HostClock(client)
    host.serve("p1")
    host.beat("p1", host.skyvern())
    return host


def claimed_server_time(host: HostClock, process: str) -> int:
    """Claim a job, as a process that has had no answer yet; return its date."""
    (job_id,) = host.enqueue(1)
    assert [job.job_id for job in host.claim(1, process).items] == [job_id]
    return int(host.field(job_id, "claimed_server_time") or 0)


@pytest.mark.parametrize("step", [0, *STEPS])
def test_a_claim_after_a_gap_is_dated_no_later_than_skyvern_s_clock(
    host: HostClock, step: float
) -> None:
    before = host.skyvern() - SECOND
    host.gap(step)
    assert before <= claimed_server_time(host, "p2") <= host.skyvern()

    host.beat("p2", host.skyvern())
    host.wait(0.5)
    host.tick("p2")
    assert claimed_server_time(host, "p2") == host.skyvern()


@pytest.mark.parametrize("step", STEPS)
def test_submissions_from_before_a_step_in_a_gap_say_nothing_of_dates(
    host: HostClock, step: float
) -> None:
    job = host.submit("p1")
    assert host.submitted(job)
    host.gap(step)
    assert not host.submitted(job)
    host.beat("p2", host.skyvern())
    assert not host.submitted(job)

    later = host.submit("p2")
    assert host.submitted(later)
    host.gap(0)
    host.beat("p2", host.skyvern())
    assert not host.submitted(job)
    assert host.submitted(later), "nothing was set in the second gap"


def test_submissions_from_before_a_step_that_a_worker_counted_are_compared(host: HostClock) -> None:
    job = host.submit("p1")
    host.offset += STEPS[0] * SECOND
    assert not host.submitted(job), "the step is not believed yet"
    for _ in range(8):
        host.tick("p1")
        host.wait(0.5)
    host.beat("p1", host.skyvern())
    assert host.submitted(job)


DATED: dict[str, Callable[[HostClock], None]] = {
    "not dated": lambda _: None,
    "dated": lambda host: host.beat("p2", host.skyvern()),
}


@pytest.mark.parametrize("dated", DATED)
@pytest.mark.parametrize("step", [*STEPS, 2 * DAY / SECOND, -2 * DAY / SECOND])
def test_a_webhook_of_a_job_from_after_a_step_in_a_gap_is_taken(
    host: HostClock, step: float, dated: str
) -> None:
    host.gap(step)
    DATED[dated](host)
    (job,) = host.enqueue(1)
    assert len(host.claim(1, "p2").items) == 1
    assert receive(host, told(job, created_us=host.skyvern())) == ["ended"]


def test_a_run_from_before_a_key_was_used_again_is_refused_after_a_step_in_a_gap(
    host: HostClock,
) -> None:
    host.gap(STEPS[0])
    host.beat("p2", host.skyvern())
    (job,) = host.enqueue(names=["k"])
    assert len(host.claim(1, "p2").items) == 1
    old = told(job, created_us=host.skyvern() - DAY - SECOND)
    assert receive(host, old) == ["other"]
