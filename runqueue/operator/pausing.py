"""Pausing an account: an operator stops its submissions, for as long as it takes.

A pause is no hold. Holds are set and cleared automatically; one that needs an operator means that
Redis may have lost data, and `resume` confirms it is safe. So a pause is a flag of its own, and
resuming ends what is shown: the pause where there is one, and only else a hold.
"""

from hashlib import sha1
from typing import Any, NamedTuple

from runqueue.records.account import AccountStats
from runqueue.store.scripts import ScriptCall, load

#: Characters of a reason.
MOST = 200


def pause(account: str, reason: str = "") -> ScriptCall[bool]:
    """Submit nothing more of an account; see `RunQueue.pause`."""
    return ScriptCall(load("pause"), account, ["pause", reason[:MOST]], bool)


def end_pause(account: str) -> ScriptCall[bool]:
    """End the pause of an account, and no hold; see `RunQueue.resume`."""
    return ScriptCall(load("pause"), account, ["resume", ""], bool)


class HoldsShown(NamedTuple):
    """What a page showed to keep an account from submitting; see `resume.lua`.

    Args:
        what: `paused` or `held`.
        digest: of the reason: a form gives no text back as it was.
    """

    what: str
    digest: str


def seen_of(stats: AccountStats) -> HoldsShown:
    """Return what a page shows of these statistics."""
    reason = (stats.hold_reason or "").encode()
    # Redis has no better digest for scripts, and this one keeps nothing safe.
    digest = sha1(reason, usedforsecurity=False).hexdigest()
    return HoldsShown("paused" if stats.paused else "held", digest)


class HoldsEnded(NamedTuple):
    """What came of ending the hold or pause that a page showed.

    Args:
        done: whether it was ended, or nothing holds the account; else something else does.
        reason: of what was ended, or of what holds it; '' = nothing did.
    """

    done: bool
    reason: str


def resume_seen(account: str, seen: HoldsShown) -> ScriptCall[HoldsEnded]:
    """End the hold or pause that a page showed, and nothing else."""

    def parse(reply: list[Any]) -> HoldsEnded:
        return HoldsEnded(bool(reply[0]), str(reply[1].decode(errors="replace")))

    return ScriptCall(load("resume"), account, [*seen], parse)
