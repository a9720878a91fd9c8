"""Submissions in doubt are counted by what became of them."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from faults import report
from faults.checks import Judgement
from faults.doubts import Doubt, Doubts, Tallies, Tally
from faults.registry import Experiment

_PREFIX = "runqueue:{default}:"


@pytest.fixture
def doubts(redis_url: str) -> Iterator[Doubts]:
    made = Doubts(urlsplit(redis_url).port or 0)
    made.start()
    yield made
    made.stop()


def _stands(client: redis.Redis, job_id: str, attempt: int = 1) -> None:
    client.hset(f"{_PREFIX}job:{job_id}", mapping={"state": "unconfirmed", "attempt": attempt})
    client.zadd(f"{_PREFIX}unconfirmed", {job_id: 1})


def _leaves(client: redis.Redis, job_id: str) -> None:
    client.hset(f"{_PREFIX}job:{job_id}", "state", "running")
    client.zrem(f"{_PREFIX}unconfirmed", job_id)


def test_who_was_in_doubt_is_remembered_and_who_left_it_is_settled(
    client: redis.Redis, doubts: Doubts
) -> None:
    for job_id in ("found", "left", "twice", "bare"):
        _stands(client, job_id)
    doubts.tallies((), ())
    for job_id in ("found", "twice", "bare"):
        _leaves(client, job_id)
    counted = doubts.tallies({"found", "left", "twice"}, {"twice"})
    assert counted == Tallies(marked=Tally(3, 1), no_marker=Tally(1, 1))


def test_each_attempt_counts(client: redis.Redis, doubts: Doubts) -> None:
    _stands(client, "job", 1)
    doubts.tallies((), ())
    _stands(client, "job", 2)
    doubts.tallies((), ())
    _leaves(client, "job")
    assert doubts.tallies({"job"}, ()).marked == Tally(2, 2)
    assert doubts.seen == {Doubt("job", 1), Doubt("job", 2)}


def _experiment(name: str, *, window: bool = False) -> Experiment:
    return Experiment(name, "processes", "a fault", 1, lambda _lab, _jobs: None, window=window)


def test_the_report_sums_them_up_without_the_windows_and_tells_what_falls_short() -> None:
    chosen = [_experiment("one"), _experiment("other"), _experiment("edge", window=True)]
    found = {
        "one": Judgement(doubts=Tallies(marked=Tally(3, 3), no_marker=Tally(100, 99))),
        "other": Judgement(doubts=Tallies(marked=Tally(2, 1))),
        "edge": Judgement(doubts=Tallies(marked=Tally(5, 0))),
    }
    assert report.doubts(chosen, found) == (
        "findable by a marker: 4 of 5 (80.0%) settled by themselves; "
        "recognised only by their request: 99 of 100 (99.0%) settled by themselves"
    )
    assert report.shortfalls(chosen, found) == [
        "of 5 findable submissions in doubt only 4 were settled"
    ]
