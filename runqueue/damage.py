"""Damage: what is wrong with the keys of one account, and not with Redis.

Something else wrote there, say, or a copy was restored in part. A script that meets it stops; the
other accounts go on. Workers report it under a key beside the set of accounts, which every reader
of figures looks at; a report is believed for a minute and a half, and made again meanwhile.
"""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from runqueue.keys import ACCOUNTS
from runqueue.redis_errors import Cause, cause_of

#: Seconds for which a report is believed, and between two of one worker.
BELIEVED_SECONDS, REPORT_SECONDS = 90, 30.0
#: Characters of a report.
_LONGEST = 300


def damage_of(error: BaseException) -> str | None:
    """Return what an error of a script call says of the account's keys; None = it is no such error.

    Redis' own trouble (memory, disk, replicas, a failover) has codes of its own.
    """
    if cause_of(error) is not Cause.DATA:
        return None
    if not isinstance(error, ResponseError):
        # Without its words, which may quote what is stored.
        return f"a reply cannot be read ({type(error).__name__})"
    return str(error).partition(" script: ")[0][:_LONGEST]


def report_key(account: str) -> str:
    """Return the key under which damage of an account is reported."""
    return f"{ACCOUNTS}:damage:{account}"


def read_reports(accounts: Sequence[str], reply: Any) -> dict[str, str]:
    """Read what `MGET` gave for the keys of these accounts: the words by account."""
    return {
        account: raw.decode(errors="replace")
        for account, raw in zip(accounts, reply, strict=True)
        if raw is not None
    }


def damage_behind(error: Exception) -> str | None:
    """Return the same of what a client raised in the place of Redis' own error."""
    return damage_of(error.__cause__ or error)
