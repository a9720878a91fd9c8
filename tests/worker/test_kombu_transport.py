"""The broker's list holds bytes of anybody: what is no message is dropped, and the next comes."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.worker import state
from kombu.connection import Connection
from kombu.transport import redis as kombu_redis

from lab.valkeys import start_valkey
from worker import kombu_transport

#: What a message's reader meets: no JSON, no object, fields missing, bytes that are no text.
GARBAGE = [b"", b"{", b"[]", b"7", b"{}", b'"x"', b"\xff\xfe", b'{"body": "%%%", "properties": {}}']


def connected(url: str) -> Any:
    return Connection(url, transport="worker.kombu_transport:Transport")  # type: ignore[no-untyped-call]


def received(url: str, wanted: str) -> list[Any]:
    """Consume until a message with that body has come; what was read before is returned with it."""
    bodies: list[Any] = []

    def take(body: Any, message: Any) -> None:
        bodies.append(body)
        message.ack()

    with connected(url) as connection:
        queue = connection.SimpleQueue("here").queue
        with connection.Consumer([queue], callbacks=[take]):
            end = time.monotonic() + 20
            while wanted not in bodies and time.monotonic() < end:
                try:
                    connection.drain_events(timeout=0.5)
                except TimeoutError:
                    continue
    return bodies


def test_messages_that_cannot_be_read_are_dropped_and_the_next_one_is_delivered(
    client: redis.Redis, redis_url: str
) -> None:
    with connected(redis_url) as connection:
        for bytes_ in GARBAGE:
            client.lpush("here", bytes_)
        with connection.SimpleQueue("here") as queue:
            queue.put("good")

    assert received(redis_url, "good") == ["good"]
    assert client.llen("here") == 0


def test_an_acknowledgement_over_a_connection_that_is_gone_is_no_error_and_the_message_comes_again(
    client: redis.Redis, redis_url: str
) -> None:
    taken: list[Any] = []
    with connected(redis_url) as connection:
        with connection.SimpleQueue("here") as queue:
            queue.put("good")
        queue = connection.SimpleQueue("here").queue
        with connection.Consumer([queue], callbacks=[lambda _, message: taken.append(message)]):
            connection.drain_events(timeout=20)
    for late in (taken[0].ack, taken[0].requeue):
        taken[0]._state = "RECEIVED"
        late()

    assert received(redis_url, "good") == ["good"]


@pytest.fixture
def own_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a broker that may be reconfigured, asked again at once."""
    monkeypatch.setattr(kombu_transport, "PAUSE_SECONDS", 0.01)
    server = start_valkey(tmp_path)
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


def test_a_broker_that_takes_no_writes_for_a_while_gives_its_messages_later(
    own_url: str, logged: list[Any]
) -> None:
    with connected(own_url) as connection, connection.SimpleQueue("here") as queue:
        queue.put("good")
    bodies: list[Any] = []

    def take(body: Any, message: Any) -> None:
        bodies.append(body)
        message.ack()

    with connected(own_url) as connection, redis.Redis.from_url(own_url) as client:
        queue = connection.SimpleQueue("here").queue
        with connection.Consumer([queue], callbacks=[take]):
            client.config_set("min-replicas-to-write", 1)
            drain(connection, lambda: "broker_refuses" in [event["event"] for event in logged])
            assert client.llen("here") == 1
            client.config_set("min-replicas-to-write", 0)
            drain(connection, lambda: bodies == ["good"])


def drain(connection: Any, holds: Callable[[], bool]) -> None:
    """Read what comes until something holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)


def test_a_message_that_could_not_be_noted_at_once_is_noted_before_it_is_worked_on(
    own_url: str, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    errors: list[Exception] = [
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ConnectionError("reset"),
    ]
    real: Any = kombu_redis.QoS.append

    def refusing(self: Any, message: Any, tag: Any) -> None:
        if errors:
            raise errors.pop(0)
        real(self, message, tag)

    monkeypatch.setattr(kombu_redis.QoS, "append", refusing)
    with connected(own_url) as connection, connection.SimpleQueue("here") as queue:
        queue.put("good")
        message = queue.get(timeout=20)
        with redis.Redis.from_url(own_url) as client:
            assert client.hlen("unacked") == 1
        message.ack()
    assert [event["event"] for event in logged] == ["message_not_noted"] * 2


class Refusing:
    """Refuses every note of a message until it is told not to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries, self.is_on = 0, True
        self.meanwhile: Callable[[], None] = lambda: None
        real: Any = kombu_redis.QoS.append

        def append(qos: Any, message: Any, tag: Any) -> None:
            if self.is_on:
                self.tries += 1
                self.meanwhile()
                raise redis.ResponseError("NOREPLICAS Not enough good replicas to write.")
            real(qos, message, tag)

        monkeypatch.setattr(kombu_redis.QoS, "append", append)


@pytest.mark.parametrize("flag", ["should_stop", "should_terminate"])
def test_a_worker_that_is_to_end_waits_for_no_note_and_gives_the_message_back(
    own_url: str, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    refusing = Refusing(monkeypatch)

    def be_ended_at_the_third_try() -> None:
        if refusing.tries == 3:
            monkeypatch.setattr(state, flag, 0)  # as Celery's handler of SIGTERM does

    refusing.meanwhile = be_ended_at_the_third_try
    with connected(own_url) as connection:
        with connection.SimpleQueue("here") as queue:
            queue.put("good")
            queue.get(timeout=20)
        assert refusing.tries == 3
        refusing.is_on = False
    assert received(own_url, "good") == ["good"]


@pytest.mark.parametrize("is_refused_still", [False, True])
def test_a_message_that_is_worked_on_unnoted_can_be_given_back(
    own_url: str, monkeypatch: pytest.MonkeyPatch, is_refused_still: bool
) -> None:
    monkeypatch.setattr(kombu_transport, "NOTE_SECONDS", 0.0)
    refusing = Refusing(monkeypatch)
    with connected(own_url) as connection, redis.Redis.from_url(own_url) as client:
        with connection.SimpleQueue("here") as queue:
            queue.put("good")
            message = queue.get(timeout=20)
            refusing.is_on = is_refused_still
            message.requeue()
            refusing.is_on = False
        assert client.llen("here") == (0 if is_refused_still else 1)
    assert received(own_url, "good") == ["good"]


@pytest.mark.parametrize("answer", ["ack", "requeue"])
def test_an_acknowledgement_that_the_broker_refuses_is_no_error_and_the_message_comes_again(
    own_url: str, answer: str
) -> None:
    with connected(own_url) as connection, redis.Redis.from_url(own_url) as client:
        with connection.SimpleQueue("here") as queue:
            queue.put("good")
            message = queue.get(timeout=20)
            client.config_set("min-replicas-to-write", 1)
            getattr(message, answer)()
            client.config_set("min-replicas-to-write", 0)
        assert client.hlen("unacked") == 1
        assert not connection.default_channel.qos._delivered.keys() - {message.delivery_tag}
