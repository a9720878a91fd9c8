"""What an error of Redis, or of the route to it, says about the call: is it worth sending again?

Only errors that are known to be about the call itself end it; whatever else a server may say is
trouble that passes, and an answer that is thrown away for it may be the only one that names a run.
Damaged keys are mended by a person while the processes run, so a call that met them may go again. A
job whose record cannot be read is quarantined by the script that met it, and the next call goes on
without it.
"""

from enum import StrEnum

from redis.exceptions import DataError, MasterDownError, ReadOnlyError, RedisError, ResponseError

#: Codes of errors that another try of the same call meets again: the script says that its batch
#: takes no more jobs.
_OF_THE_CALL = frozenset({"NOBATCH", "SEALED", "EXPIRED"})
#: Codes of errors that every write meets just now (those that redis-py has a class for are known by
#: it): the disk or the replicas are away, or a script runs for too long.
_OF_THE_SERVER = frozenset({"MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE", "UNBLOCKED", "OOM"})
_OF_A_REPLICA = frozenset({"READONLY", "MASTERDOWN"})
#: What every error names that a script ran into, and what one at the wrong node says.
_IN_A_SCRIPT, _NOT_THERE = "user_function", "non local key"
#: What a server says that does not know a function, and one where somebody else deleted a library
#: just now: the next call loads what is missing.
NO_FUNCTION, _NO_LIBRARY = "Function not found", "Library not found"
#: What parsing a reply raises that is not as it should be.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)


#: The code of an error for which a job was quarantined (`lua/lib/account/changes.lua`).
UNREADABLE_JOB = "UNREADABLE"
#: Characters of an error that are shown.
_LONGEST = 300


class Cause(StrEnum):
    """Why Redis did not take a call."""

    #: The call itself: sent again it fails again.
    CALL = "call"
    #: What is stored: the call fails until the keys of its account are repaired.
    DATA = "data"
    #: Redis, or the route to it: other calls fail as well, and this one is taken later.
    SERVER = "server"
    #: An answer that is not known; other calls may be taken.
    UNKNOWN = "unknown"


def cause_of(error: BaseException) -> Cause:
    """Return why a call was not taken, from what was raised for it."""
    if type(error) is ResponseError:
        return _cause_of_code(code_of(error), str(error))
    if isinstance(error, DataError | UnicodeEncodeError):
        return Cause.CALL  # it could not even be written
    if isinstance(error, RedisError | OSError):
        return Cause.SERVER
    return Cause.DATA if isinstance(error, UNREADABLE) else Cause.UNKNOWN


def _cause_of_code(code: str, message: str) -> Cause:
    if NO_FUNCTION in message or _NO_LIBRARY in message:
        return Cause.SERVER
    if code in _OF_THE_SERVER or code in _OF_A_REPLICA:
        return Cause.SERVER
    if code in _OF_THE_CALL:
        return Cause.CALL
    # What Lua itself raised has no code: a number or a field that is none.
    is_raised = code in {"", "ERR"} and _IN_A_SCRIPT in message and _NOT_THERE not in message
    is_data = code in {"WRONGTYPE", UNREADABLE_JOB} or is_raised
    return Cause.DATA if is_data else Cause.UNKNOWN


def damage_of(error: BaseException) -> str | None:
    """Return what an error of a call says of what is stored for its account; None = nothing.

    Args:
        error: as redis-py or parsing raised it, or what the queue raised from that.
    """
    found = error.__cause__ or error
    if cause_of(found) is not Cause.DATA:
        return None
    if not isinstance(found, ResponseError):
        # Without its words, which may quote what is stored.
        return f"a reply cannot be read ({type(found).__name__})"
    return str(found).partition(" script: ")[0][:_LONGEST]


def quarantined_a_job(error: BaseException) -> bool:
    """Say whether a script quarantined a job and did not do the rest: the call is to go again."""
    return type(error) is ResponseError and code_of(error) == UNREADABLE_JOB


def code_of(error: ResponseError) -> str:
    """Return an error's code, '' where redis-py has cut it off (`ERR`, and those of its own)."""
    message = str(error)
    code = message.partition(" ")[0]
    return code if code.isupper() else ""


def is_of_a_replica(error: ResponseError) -> bool:
    """Say whether the server takes no writes, since another one is the primary now."""
    return isinstance(error, ReadOnlyError | MasterDownError) or code_of(error) in _OF_A_REPLICA
