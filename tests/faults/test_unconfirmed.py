"""Unconfirmed submissions are counted by what became of them."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from faults import report
from faults.checks import Judgement
from faults.registry import Experiment
from faults.unconfirmed import Tallies, Tally, UnconfirmedAttempt, UnconfirmedWatch

_PREFIX = "runqueue:{default}:"


@pytest.fixture
def watch(redis_url: str) -> Iterator[UnconfirmedWatch]:
    made = UnconfirmedWatch(urlsplit(redis_url).port or 0)
    made.start()
    yield made
    made.stop()


def _stands(client: redis.Redis, job_id: str, attempt: int = 1) -> None:
    client.hset(f"{_PREFIX}job:{job_id}", mapping={"state": "unconfirmed", "attempt": attempt})
    client.zadd(f"{_PREFIX}unconfirmed", {job_id: 1})


def _leaves(client: redis.Redis, job_id: str) -> None:
    client.hset(f"{_PREFIX}job:{job_id}", "state", "running")
    client.zrem(f"{_PREFIX}unconfirmed", job_id)


def test_what_was_unconfirmed_is_remembered_and_what_is_no_longer_is_settled(
    client: redis.Redis, watch: UnconfirmedWatch
) -> None:
    for job_id in ("found", "left", "twice", "bare"):
        _stands(client, job_id)
    watch.tallies((), ())
    for job_id in ("found", "twice", "bare"):
        _leaves(client, job_id)
    counted = watch.tallies({"found", "left", "twice"}, {"twice"})
    assert counted == Tallies(marked=Tally(3, 1), no_marker=Tally(1, 1))


def test_each_attempt_counts(client: redis.Redis, watch: UnconfirmedWatch) -> None:
    _stands(client, "job", 1)
    watch.tallies((), ())
    _stands(client, "job", 2)
    watch.tallies((), ())
    _leaves(client, "job")
    assert watch.tallies({"job"}, ()).marked == Tally(2, 2)
    assert watch.seen == {UnconfirmedAttempt("job", 1), UnconfirmedAttempt("job", 2)}


def _experiment(name: str, *, window: bool = False) -> Experiment:
    return Experiment(name, "processes", "a fault", 1, lambda _lab, _jobs: None, window=window)


def test_the_report_sums_them_up_without_the_windows_and_tells_what_falls_short() -> None:
    chosen = [_experiment("one"), _experiment("other"), _experiment("edge", window=True)]
    found = {
        "one": Judgement(tallies=Tallies(marked=Tally(3, 3), no_marker=Tally(100, 99))),
        "other": Judgement(tallies=Tallies(marked=Tally(2, 1))),
        "edge": Judgement(tallies=Tallies(marked=Tally(5, 0))),
    }
    assert report.settled(chosen, found) == (
        "findable by a marker: 4 of 5 (80.0%) settled by themselves; "
        "recognised only by their request: 99 of 100 (99.0%) settled by themselves"
    )
    assert report.shortfalls(chosen, found) == [
        "of 5 findable unconfirmed submissions only 4 were settled"
    ]
