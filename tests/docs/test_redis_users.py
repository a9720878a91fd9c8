"""The users of Redis that the operations page sets up: what each may do, and what not."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import NoPermissionError

from lab.valkeys import start_valkey
from runqueue import QueueUnavailable, RunQueue, TaskRunRequest
from runqueue.store.keys import ACCOUNTS, Keys
from tests.redis_users import PASSWORD, set_users, url_of

INBOX = f"{Keys('default').prefix}inbox"
#: What harms all, and what tells of others.
HARM = [
    ("flushall",),
    ("flushdb",),
    ("function", "flush"),
    ("function", "restore", "x"),
    ("shutdown", "nosave"),
    ("config", "get", "*"),
    ("config", "set", "maxmemory", "1"),
    ("replicaof", "127.0.0.1", "1"),
    ("acl", "list"),
    ("client", "kill", "type", "normal"),
    ("client", "list"),
    ("monitor",),
    ("keys", "*"),
]
#: What only those may do who look after the queue.
PRYING = [
    ("scan", "0"),
    ("randomkey",),
    ("script", "flush"),
    ("script", "kill"),
    ("function", "load", "#!lua name=x"),
    ("function", "delete", "x"),
    ("function", "kill"),
    ("eval", "return 1", "0"),
    ("get", "runqueue:{acme}:body:x"),
    ("del", "runqueue:{acme}:meta"),
    ("hset", "runqueue:{acme}:meta", "paused", "1"),
    ("rpush", "runqueue:{acme}:inbox", "{}"),
    ("sadd", ACCOUNTS, "mine"),
    ("lpush", "runqueue.stages", "{}"),
    ("publish", "/1.celery.pidbox", "{}"),
    ("lpush", "_kombu.binding.runqueue", "x"),
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server with the page's users."""
    server = start_valkey(tmp_path_factory.mktemp("users"))
    try:
        with redis.Redis(port=server.port) as admin:
            admin.sadd(ACCOUNTS, "default", "acme")
        assert set_users(server.port) == {"workers", "inbox-shop", "celery-shop", "python-shop"}
        yield server.port
    finally:
        server.stop()


def refused(port: int, user: str, call: tuple[str, ...], database: int = 0) -> bool:
    """Whether a user may not send a command."""
    options: dict[str, Any] = {"username": user, "password": PASSWORD, "db": database}
    with redis.Redis(port=port, single_connection_client=True, **options) as client:
        try:
            client.execute_command(*call)
        except NoPermissionError:
            return True
        return False


@pytest.mark.parametrize("user", ["workers", "celery-shop", "python-shop"])
@pytest.mark.parametrize("call", HARM, ids=" ".join)
def test_no_user_of_the_queue_may_set_up_or_empty_the_server(
    port: int, user: str, call: tuple[str, ...]
) -> None:
    assert refused(port, user, call)


@pytest.mark.parametrize("user", ["celery-shop", "python-shop"])
@pytest.mark.parametrize("call", PRYING, ids=" ".join)
def test_a_producer_reaches_nothing_of_another_account(
    port: int, user: str, call: tuple[str, ...]
) -> None:
    assert refused(port, user, call)


def test_a_producer_with_the_inbox_may_push_to_it_and_nothing_else(port: int) -> None:
    with redis.Redis(port=port, username="inbox-shop", password=PASSWORD) as client:
        assert client.rpush(INBOX, "{}") == 1
        for call in [("lrange", INBOX, "0", "-1"), ("rpush", "another", "x"), *HARM, *PRYING]:
            with pytest.raises(NoPermissionError):
                client.execute_command(*call)


def test_a_producer_with_celery_sends_messages_reads_none_and_controls_no_worker(port: int) -> None:
    with Celery("shop", broker=url_of("celery-shop", port, 1), set_as_current=False) as app:
        app.send_task("runqueue.enqueue", args=[[{}]], queue="runqueue", ignore_result=True)
        with pytest.raises(OperationalError, match="no permissions"):
            app.control.broadcast("shutdown")

    with redis.Redis(port=port, db=1) as admin:
        assert admin.llen("runqueue") == 1
    for call in [("lrange", "runqueue", "0", "-1"), ("rpop", "runqueue"), ("del", "runqueue")]:
        assert refused(port, "celery-shop", call, 1)
    # A set in the place of the list would stop the workers' reading.
    assert refused(port, "celery-shop", ("sadd", "runqueue", "x"), 1)
    assert refused(port, "celery-shop", ("lpush", INBOX, "{}"))


def test_a_producer_with_python_handles_one_account_s_jobs(port: int) -> None:
    request = TaskRunRequest(prompt="Read it.")
    with RunQueue(url_of("workers", port)) as queue:
        queue.enqueue(request)  # as any call of a worker, it has the scripts loaded
    with RunQueue(url_of("python-shop", port)) as queue:
        job = queue.enqueue(request)
        assert queue.cancel(job.job_id) == "canceled"
        assert queue.wait(job.job_id, timeout=10).state == "canceled"
        with pytest.raises(QueueUnavailable, match=r"(?i)no permission"):
            queue.enqueue(request, account="acme")
