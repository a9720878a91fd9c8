"""The results of jobs by filter, under a clock that the test moves."""

from typing import Any

import pytest

from runqueue.errors import InvalidRequest
from runqueue.producer import listing
from runqueue.producer.flows import Flow, drive
from runqueue.producer.results import Results, results_of
from runqueue.store import operator_calls
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import Clockwork


def opened(clock: Clockwork, after: str | None = None, **wanted: str) -> Results:
    which = listing.wanted(None, wanted.get("group"), None)
    return clock.drive(results_of(clock.account, None, which, after=after))


def test_results_of_a_group_are_read_a_hundred_jobs_in_a_script(clock: Clockwork) -> None:
    """Redis serves nobody else while a script runs."""
    jobs = clock.enqueue(1_000)
    clock.cancel(*jobs)
    reader = opened(clock, group="default")
    read: list[int] = []

    def send(call: ScriptCall[Any]) -> Any:
        if call.script.name == "get_jobs":
            read.append(len(call.arguments) - 1)
        return clock.run(call)

    def ids() -> Flow[list[str]]:
        found: list[str] = []
        while (some := (yield from reader.ids())) is not None:
            found += some
        return found

    assert sorted(drive(ids(), send)) == sorted(jobs)
    assert read == [100] * 10


def test_a_job_that_is_submitted_again_does_not_end_the_results_behind_it_in_silence(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(3)
    for job in jobs:
        clock.wait(1)
        clock.cancel(job)
    reader = opened(clock, after=jobs[2])
    assert clock.run(operator_calls.replay(clock.account, clock.seen(jobs[2]))) == [1]
    clock.wait(1)

    with pytest.raises(InvalidRequest, match="after"):
        while clock.drive(reader.ids()) is not None:
            pass
