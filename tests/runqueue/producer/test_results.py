"""The results of jobs by filter, under a clock that the test moves."""

from typing import Any

import pytest

from runqueue.errors import InvalidRequest
from runqueue.producer.listing import Filter, life_name
from runqueue.producer.results import ResultReader
from runqueue.store import operator_calls
from runqueue.store.scripts import ScriptCall
from tests.runqueue.cli.commanding import Desk, line
from tests.runqueue.lua.clockwork import Clockwork, QueueOfClock


def opened(clock: Clockwork, after: str | None = None, **wanted: str) -> ResultReader:
    which = Filter(wanted.get("group"))
    return clock.queue.open_results(None, which, after=after, account=clock.account)


def all_ids(reader: ResultReader) -> list[str]:
    """Read all ids."""
    found: list[str] = []
    while (ids := reader.ids()) is not None:
        found += ids
    return found


def test_results_of_a_group_are_read_a_hundred_jobs_in_a_script(clock: Clockwork) -> None:
    """Redis serves nobody else while a script runs."""
    jobs = clock.enqueue(1_000)
    clock.cancel(*jobs)
    read: list[int] = []

    def run(call: ScriptCall[Any]) -> Any:
        if call.script.name == "get_jobs":
            read.append(len(call.arguments) - 1)
        return clock.run(call)

    queue = QueueOfClock(clock.account, run)
    reader = queue.open_results(None, Filter("default"), account=clock.account)
    assert sorted(all_ids(reader)) == sorted(jobs)
    assert read == [100] * 10


def test_results_of_a_name_or_a_workflow_are_those_alone(desk: Desk) -> None:
    run = {"kind": "workflow", "body": {"workflow_id": "wpid_1"}}
    desk.queue.enqueue_many([line("a"), line("b", namespace="n"), {**line("c"), **run}])
    desk.end(desk.claim())
    for wanted, expected in (
        (Filter(custom_id="a"), ["a"]),
        (Filter(custom_id="b"), []),
        (Filter(custom_id="b", namespace="n"), ["b"]),
        (Filter(workflow="wpid_1"), ["c"]),
    ):
        assert [job.custom_id for job in desk.queue.iter_results(None, wanted)] == expected


def test_results_go_on_behind_the_name_of_a_life(clock: Clockwork) -> None:
    jobs = clock.enqueue(3)
    for job in jobs:
        clock.wait(1)
        clock.cancel(job)
    name = life_name(clock.job(jobs[1]))
    assert all_ids(opened(clock, after=name)) == jobs[:1]
    with pytest.raises(InvalidRequest, match="after"):
        opened(clock, after=f"{name}7")


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
        all_ids(reader)
