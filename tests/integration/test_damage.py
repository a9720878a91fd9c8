"""One account's keys are damaged: readers say so of it, and show every other."""

import pytest
import redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from runqueue import AsyncRunQueue, QueueUnavailable, RunQueue
from runqueue.damage import damage_of, report_key
from runqueue.health import Level, health_of
from runqueue.keys import ACCOUNTS, Keys

LINE = {"kind": "task", "body": {"prompt": "x"}}


def damage(client: redis.Redis, account: str) -> None:
    """Leave an account without readable figures."""
    client.sadd(ACCOUNTS, account)
    client.set(f"{Keys(account).prefix}limits", "a typo")


async def test_an_account_whose_figures_cannot_be_read_says_so_and_hides_no_other(
    client: redis.Redis, queue: RunQueue, redis_url: str
) -> None:
    damage(client, "shop")
    queue.enqueue_many([LINE])

    found = queue.stats()
    async with AsyncRunQueue(redis_url) as same:
        assert (await same.stats())["shop"] == found["shop"]

    assert found["default"].damage is None
    assert sum(found["default"].states.values()) == 1
    assert "WRONGTYPE" in (found["shop"].damage or "")
    assert sum(found["shop"].states.values()) == found["shop"].processes == 0
    assert found["shop"].as_dict()["damage"] == found["shop"].damage


async def test_what_a_worker_reported_is_told_beside_the_figures(
    client: redis.Redis, queue: RunQueue, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.set(report_key("shop"), "poll_claim: WRONGTYPE poll")

    found = queue.stats()
    async with AsyncRunQueue(redis_url) as same:
        assert (await same.stats())["shop"].damage == found["shop"].damage

    assert found["default"].damage is None
    health = health_of(found["shop"])
    assert health.level is Level.STOPPED
    assert "poll_claim: WRONGTYPE poll" in health.reason


def test_a_server_s_own_trouble_is_no_account_s_damage(queue: RunQueue) -> None:
    with pytest.raises(QueueUnavailable), RunQueue("redis://127.0.0.1:1/0") as nowhere:
        nowhere.stats()


@pytest.mark.parametrize(
    ("error", "is_damage"),
    [
        (ResponseError("WRONGTYPE runqueue:{a}:poll is a string script: x, on @y:1."), True),
        (ResponseError("ERR user_script:9: attempt to compare nil with number script: x"), True),
        (ValueError("invalid literal for int()"), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots script: x"), False),
        (ResponseError("NOREPLICAS Not enough good replicas to write. script: x"), False),
        (ResponseError("BUSY Redis is busy running a script."), False),
        (ResponseError("NEWER 9 script: x, on @user_script:3."), False),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (ReadOnlyError("You can't write against a read only replica."), False),
        (redis.exceptions.ConnectionError("refused"), False),
    ],
)
def test_damage_is_told_from_what_is_wrong_with_the_server(
    error: Exception, is_damage: bool
) -> None:
    assert (damage_of(error) is not None) == is_damage
