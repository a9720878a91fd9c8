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
    doubts.tallies((), (), searches=True)
    for job_id in ("found", "twice", "bare"):
        _leaves(client, job_id)
    counted = doubts.tallies({"found", "left", "twice"}, {"twice"}, searches=True)
    assert counted == Tallies(marked=Tally(3, 1), unmarked=Tally(1, 1))


def test_each_attempt_counts_and_one_that_a_person_settled_did_not_settle_by_itself(
    client: redis.Redis, doubts: Doubts
) -> None:
    _stands(client, "job", 1)
    doubts.tallies((), (), searches=True)
    _stands(client, "job", 2)
    doubts.person_acts()
    _leaves(client, "job")
    assert doubts.tallies({"job"}, (), searches=True).marked == Tally(2, 1)
    assert doubts.by_hand == {Doubt("job", 2)}


def test_where_nothing_can_be_searched_they_have_to_stand(
    client: redis.Redis, doubts: Doubts
) -> None:
    _stands(client, "stands")
    _stands(client, "gone")
    doubts.tallies((), (), searches=False)
    _leaves(client, "gone")
    assert doubts.tallies((), (), searches=False).unsearchable == Tally(2, 1)


def _experiment(name: str, *, window: bool = False) -> Experiment:
    return Experiment(name, "kills", "a fault", 1, lambda _lab, _jobs: None, window=window)


def test_the_report_sums_them_up_without_the_windows_and_tells_what_falls_short() -> None:
    chosen = [_experiment("one"), _experiment("other"), _experiment("edge", window=True)]
    found = {
        "one": Judgement(doubts=Tallies(marked=Tally(3, 3), unmarked=Tally(100, 99))),
        "other": Judgement(doubts=Tallies(unsearchable=Tally(2, 1))),
        "edge": Judgement(doubts=Tallies(marked=Tally(5, 0))),
    }
    page = report.page(chosen, found)
    assert "findable by a marker: 3 of 3 (100.0%) settled by themselves" in page
    assert "recognised only by their request: 99 of 100 (99.0%) settled by themselves" in page
    assert "{{" not in page
    assert report.shortfalls(chosen, found) == [
        "of 2 unsearchable submissions in doubt only 1 were settled"
    ]
