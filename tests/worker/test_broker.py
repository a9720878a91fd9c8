"""The broker's list holds bytes of anybody: what is no message is dropped, and the next comes."""

import time
from typing import Any

import redis
from kombu.connection import Connection

#: What a message's reader meets: no JSON, no object, fields missing, bytes that are no text.
GARBAGE = [b"", b"{", b"[]", b"7", b"{}", b'"x"', b"\xff\xfe", b'{"body": "%%%", "properties": {}}']


def connected(url: str) -> Any:
    return Connection(url, transport="worker.broker:Transport")  # type: ignore[no-untyped-call]


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
