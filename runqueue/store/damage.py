"""Damage: what is wrong with the keys of one account, and not with Redis.

Something else wrote there, say, or a copy was restored in part. A script that meets it stops; the
other accounts go on. Workers report it under a key beside the set of accounts, which every reader
of metrics reads; a report is believed for a minute and a half, and made again meanwhile.

What is read one by one (jobs, lanes, batches) stops what is done with it alone, and the error says
so; only other damage has the account stop. So there are two reports.
"""

from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from runqueue.connection.redis_errors import UNREADABLE, Cause, cause_of
from runqueue.records.account import DamageReport
from runqueue.store.keys import ACCOUNTS

#: Seconds for which a report is believed, and between two of one worker.
BELIEVED_SECONDS, REPORT_SECONDS = 90, 30.0
#: Characters of a report.
_LONGEST = 300
#: What reading one damaged record raises, of a page whose others are shown.
RECORD_UNREAD: Final = (ResponseError, *UNREADABLE)
#: How an error ends that a script raised when it was done with all but a damaged record
#: (`raise_damage` of `lua/lib/account/core.lua`).
OTHERS_GO_ON: Final = " (the others go on)"


def damage_of(error: BaseException) -> str | None:
    """Return what an error of a script call says of the account's keys; None = it is no such error.

    Redis' own trouble (memory, disk, replicas, a failover) has codes of its own.
    """
    if cause_of(error) is not Cause.DATA:
        return None
    if not isinstance(error, ResponseError):
        # Without its words, which may quote what is stored.
        return f"a reply cannot be read ({type(error).__name__})"
    words = str(error).partition(" script: ")[0]
    if not words.endswith(OTHERS_GO_ON):
        return words[:_LONGEST]
    return words.removesuffix(OTHERS_GO_ON)[: _LONGEST - len(OTHERS_GO_ON)] + OTHERS_GO_ON


def is_of_one(words: str) -> bool:
    """Say whether damage is that of one record, lane or batch, beside which the others go on."""
    return words.endswith(OTHERS_GO_ON)


def report_key(account: str, *, of_one: bool = False) -> str:
    """Return the key under which damage of an account, or of one record of it, is reported."""
    return f"{ACCOUNTS}:{'damaged_record' if of_one else 'damage'}:{account}"


def report_keys(accounts: Sequence[str]) -> list[str]:
    """Return all keys under which damage of these accounts is reported, for `read_reports`."""
    return [report_key(name, of_one=of_one) for of_one in (False, True) for name in accounts]


def read_reports(accounts: Sequence[str], reply: Any) -> dict[str, DamageReport]:
    """Read what `MGET` gave for `report_keys`: the reports by account, of those that have any."""
    words = [None if raw is None else raw.decode(errors="replace") for raw in reply]
    reports = map(DamageReport, words[: len(accounts)], words[len(accounts) :])
    return {
        account: report for account, report in zip(accounts, reports, strict=True) if any(report)
    }


def damage_behind(error: Exception) -> str | None:
    """Return the same of what a client raised instead of Redis' own error."""
    return damage_of(error.__cause__ or error)
