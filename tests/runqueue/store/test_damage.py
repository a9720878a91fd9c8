"""One account's keys are damaged: readers say so of it, and show every other."""

import pytest
import redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from runqueue import QueueUnavailable, RunQueue
from runqueue.records.health import HealthLevel, health_of
from runqueue.store import job_calls
from runqueue.store.damage import damage_of, is_of_one, report_key
from runqueue.store.keys import ACCOUNTS, Keys
from runqueue.store.sending import run
from tests.either import Ask

LINE = {"kind": "task", "body": {"prompt": "x"}}


def damage(client: redis.Redis, account: str) -> None:
    """Leave an account without readable figures."""
    client.sadd(ACCOUNTS, account)
    client.set(f"{Keys(account).prefix}limits", "a typo")


async def test_an_account_whose_figures_cannot_be_read_says_so_and_hides_no_other(
    client: redis.Redis, ask: Ask
) -> None:
    damage(client, "shop")
    await ask("enqueue_many", [LINE])

    found = await ask("stats")

    assert found["default"].damage is None
    assert sum(found["default"].states.values()) == 1
    assert "WRONGTYPE" in (found["shop"].damage or "")
    assert sum(found["shop"].states.values()) == found["shop"].processes == 0
    assert found["shop"].as_dict()["damage"] == found["shop"].damage


async def test_what_a_worker_reported_is_told_beside_the_figures(
    client: redis.Redis, ask: Ask
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.set(report_key("shop"), "poll_claim: WRONGTYPE poll")

    found = await ask("stats")

    assert found["default"].damage is None
    health = health_of(found["shop"])
    assert health.level is HealthLevel.STOPPED
    assert "poll_claim: WRONGTYPE poll" in health.reason


@pytest.mark.parametrize(("n", "words"), [(1, "1 damaged record is"), (3, "3 damaged records are")])
async def test_an_account_whose_damaged_records_are_set_aside_does_not_stand_still(
    client: redis.Redis, ask: Ask, n: int, words: str
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.sadd(f"{Keys('shop').prefix}damaged", *(f"job {number}" for number in range(n)))
    client.set(report_key("shop", of_one=True), "claim: WRONGTYPE a job (the others go on)")

    found = await ask("stats")

    shop, health = found["shop"], health_of(found["shop"])
    assert (shop.damage, shop.set_aside, shop.damaged_records) == (None, n, n)
    assert (health.level, health.words) == (HealthLevel.BUSY, "Nothing to submit")
    assert f"{words} set aside: claim: WRONGTYPE a job" in health.reason
    assert found["default"].damaged_records == 0


def test_records_stay_told_of_that_no_worker_has_met_of_late(
    client: redis.Redis, queue: RunQueue
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.sadd(f"{Keys('shop').prefix}damaged", "job 1")

    assert "1 damaged record is set aside" in health_of(queue.stats()["shop"]).reason


def test_damage_of_one_record_hides_none_that_stops_the_account(
    client: redis.Redis, queue: RunQueue
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.set(report_key("shop"), "tick: WRONGTYPE due")
    client.set(report_key("shop", of_one=True), "claim: WRONGTYPE a job (the others go on)")

    assert health_of(queue.stats()["shop"]).words == "Standing still"


def test_a_paused_account_with_a_damaged_record_is_still_told_to_be_paused(
    client: redis.Redis, queue: RunQueue
) -> None:
    client.sadd(f"{Keys('default').prefix}damaged", "job 1")
    client.sadd(ACCOUNTS, "default")
    queue.pause("default", "a look")

    health = health_of(queue.stats()["default"])

    assert (health.level, health.words, health.can_resume) == (HealthLevel.STOPPED, "Paused", True)
    assert health.reason == (
        "a look; also: no worker process serves account default: start one; 1 damaged record is"
        " set aside"
    )


def test_what_a_script_says_of_one_record_is_told_from_what_stops_it(
    client: redis.Redis, queue: RunQueue
) -> None:
    job, other = (answer.job_id for answer in queue.enqueue_many([LINE, LINE]))
    keys = Keys("default")
    client.hset(f"{keys.prefix}job:{job}", "attempt", "none")

    with pytest.raises(ResponseError) as raised:
        run(client, job_calls.cancel("default", [job, other]))
    of_one = damage_of(raised.value) or ""
    client.set(f"{keys.prefix}cancels", "a typo")
    with pytest.raises(ResponseError) as raised:
        run(client, job_calls.cancel("default", [job, other]))

    assert is_of_one(of_one)
    assert job in of_one
    assert not is_of_one(damage_of(raised.value) or "")
    assert queue.get(other).state == "canceled"


def test_a_long_report_still_says_that_the_others_go_on() -> None:
    words = damage_of(ResponseError(f"WRONGTYPE {'x' * 500} (the others go on) script: y")) or ""

    assert is_of_one(words)
    assert len(words) == 300


def test_a_server_s_own_trouble_is_no_account_s_damage(queue: RunQueue) -> None:
    with pytest.raises(QueueUnavailable), RunQueue("redis://127.0.0.1:1/0") as nowhere:
        nowhere.stats()


@pytest.mark.parametrize(
    ("error", "is_damage"),
    [
        (ResponseError("WRONGTYPE runqueue:{a}:poll is a string script: x, on @y:1."), True),
        (ResponseError("ERR user_function:9: attempt to compare nil with number script: x"), True),
        (ValueError("invalid literal for int()"), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots script: x"), False),
        (ResponseError("NOREPLICAS Not enough good replicas to write. script: x"), False),
        (ResponseError("BUSY Redis is busy running a script."), False),
        (ResponseError("NEWER 9 script: x, on @user_function:3."), False),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (ReadOnlyError("You can't write against a read only replica."), False),
        (redis.exceptions.ConnectionError("refused"), False),
    ],
)
def test_damage_is_told_from_what_is_wrong_with_the_server(
    error: Exception, is_damage: bool
) -> None:
    assert (damage_of(error) is not None) == is_damage
