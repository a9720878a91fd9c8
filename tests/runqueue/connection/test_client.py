"""What the errors of Redis are to a producer: wait and try again, or not."""

import pytest
from redis import exceptions

from runqueue.connection.client import speaking_of
from runqueue.errors import BatchExpired, BatchNotFound, QueueFull, QueueUnavailable, RunQueueError

URL = "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
        exceptions.ResponseError("MISCONF Errors writing to the AOF file"),
        exceptions.ResponseError("BUSY Redis is busy running a script."),
        exceptions.ResponseError("FROZEN what no version says today"),
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.MasterDownError("Link with MASTER is down"),
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.ClusterDownError("The cluster is down"),
        exceptions.NoPermissionError("this user has no permissions to run 'fcall'"),
        exceptions.ConnectionError("refused"),
        exceptions.TimeoutError("slow"),
    ],
)
def test_what_is_not_known_to_be_about_the_call_is_an_unavailable_queue(error: Exception) -> None:
    with pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1:6379") as caught, speaking_of(URL):
        raise error
    assert str(error) in str(caught.value)


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (exceptions.ResponseError("WRONGTYPE runqueue:{default}:meta is a string"), RunQueueError),
        (exceptions.ResponseError("user_function:3: attempt to index nil"), RunQueueError),
        (exceptions.OutOfMemoryError("command not allowed"), QueueFull),
        (exceptions.ResponseError("NOBATCH b_1"), BatchNotFound),
        (exceptions.ResponseError("SEALED b_1"), BatchNotFound),
        (exceptions.ResponseError("EXPIRED b_1"), BatchExpired),
    ],
)
def test_what_trying_again_does_not_change_is_no_unavailable_queue(
    error: Exception, meant: type[RunQueueError]
) -> None:
    with pytest.raises(RunQueueError) as caught, speaking_of(URL):
        raise error
    assert type(caught.value) is meant
