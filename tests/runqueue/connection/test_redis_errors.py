"""Which errors of Redis are about the call, and which only mean that it has to wait."""

from typing import Any, cast

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from runqueue.connection.redis_errors import (
    Cause,
    cause_of,
    damage_of,
    is_of_a_replica,
    quarantined_a_job,
)

#: What a server says, as it stands on the wire.
OF_THE_CALL = ("SEALED b_1",)
OF_THE_DATA = (
    "WRONGTYPE Operation against a key holding the wrong kind of value script: on @user_function:1",
    "ERR user_function:12: attempt to perform arithmetic on a nil value script: x, on @y:12.",
    "ERR value is not an integer or out of range script: runqueue_ab12_x, on @user_function:40.",
    "UNREADABLE job nma3: its attempt is no number script: on @user_function:3350.",
)
OF_THE_SERVER = (
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to",
    "MISCONF Errors writing to the AOF file: No space left on device script: on @user_function:1.",
    "NOREPLICAS Not enough good replicas to write. script: on @user_function:1.",
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "OOM command not allowed when used memory > 'maxmemory'. script: on @user_function:1.",
    "READONLY You can't write against a read only replica. script: on @user_function:1.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOPERM this user has no permissions to run the 'fcall' command",
    "NOAUTH Authentication required.",
    "ERR Function not found",
    "ERR Library not found",
)
UNKNOWN = (
    "ERR the service is being upgraded",
    "FROZEN try later",
    "ERR Script attempted to access a non local key in a cluster node script: on @user_function:4.",
    "NEWCODE x script: on @user_function:1",
)


def read(line: str) -> Exception:
    """Return what redis-py makes of an error's line."""
    return cast(Any, BaseParser).parse_error(line)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        *((line, Cause.CALL) for line in OF_THE_CALL),
        *((line, Cause.DATA) for line in OF_THE_DATA),
        *((line, Cause.SERVER) for line in OF_THE_SERVER),
        *((line, Cause.UNKNOWN) for line in UNKNOWN),
    ],
)
def test_only_errors_known_to_be_about_the_call_end_it(line: str, cause: Cause) -> None:
    assert cause_of(read(line)) is cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (exceptions.ConnectionError("refused"), Cause.SERVER),
        (exceptions.TimeoutError("slow"), Cause.SERVER),
        (OSError("reset"), Cause.SERVER),
        (exceptions.InvalidResponse("Protocol error"), Cause.SERVER),
        (exceptions.DataError("Invalid input of type: 'NoneType'"), Cause.CALL),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Cause.CALL),
        (ValueError("invalid literal for int()"), Cause.DATA),
        (KeyError("now"), Cause.DATA),
        (RuntimeError("unable to perform operation: the handler is closed"), Cause.UNKNOWN),
        (AssertionError(), Cause.UNKNOWN),
    ],
)
def test_of_other_errors_only_a_call_that_cannot_be_written_is_at_fault_itself(
    error: Exception, cause: Cause
) -> None:
    assert cause_of(error) is cause


def test_a_server_that_became_a_replica_is_known_by_what_it_says() -> None:
    told = {line.partition(" ")[0] for line in OF_THE_SERVER if _is_of_a_replica(line)}
    assert told == {"READONLY", "MASTERDOWN"}
    assert not any(map(_is_of_a_replica, (*OF_THE_CALL, *OF_THE_DATA, *UNKNOWN)))


def _is_of_a_replica(line: str) -> bool:
    error = read(line)
    return isinstance(error, exceptions.ResponseError) and is_of_a_replica(error)


@pytest.mark.parametrize("line", [*OF_THE_CALL, *OF_THE_DATA, *OF_THE_SERVER, *UNKNOWN])
def test_only_what_is_stored_for_an_account_is_its_damage(line: str) -> None:
    error = RuntimeError("the queue's own")
    error.__cause__ = read(line)

    words = line.partition(" script: ")[0].removeprefix("ERR ") if line in OF_THE_DATA else None
    assert damage_of(read(line)) == damage_of(error) == words


def test_the_words_of_damage_are_bounded_and_quote_nothing_that_is_stored() -> None:
    assert len(damage_of(read(f"WRONGTYPE {'x' * 500}")) or "") == 300
    assert damage_of(ValueError("secret")) == "a reply cannot be read (ValueError)"


@pytest.mark.parametrize("line", [*OF_THE_CALL, *OF_THE_DATA, *OF_THE_SERVER, *UNKNOWN])
def test_a_job_is_quarantined_by_the_errors_that_name_it_alone(line: str) -> None:
    assert quarantined_a_job(read(line)) == line.startswith("UNREADABLE")
