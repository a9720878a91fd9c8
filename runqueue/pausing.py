"""Pausing an account: a person has nothing more submitted, for as long as it takes.

A pause is no hold. Holds come with trouble and go with it; one that waits for a person asks whether
Redis may be trusted, and `resume` says yes. So a pause is a flag of its own, and resuming ends what
people are shown: the pause, where there is one, and only else a hold.
"""

from runqueue import calls
from runqueue.flows import Flow
from runqueue.scripts import Call, load
from runqueue.stats import AccountStats

#: Characters of a reason.
MOST = 200


def pause(account: str, reason: str = "") -> Call[bool]:
    """Submit nothing more of an account until it is resumed; runs under way go on.

    Args:
        account: which.
        reason: shown to all who look.

    Returns:
        Whether it was not paused before.
    """
    return Call(load("pause"), account, ["pause", reason[:MOST]], bool)


def resume(account: str) -> Flow[str]:
    """End what keeps an account from submitting, as its figures show it.

    Returns:
        The reason of the pause or hold that was ended; '' = there was none.
    """
    found: AccountStats = yield calls.stats(account)
    if not found.paused:
        ended: str = yield calls.resume(account)
        return ended
    yield Call(load("pause"), account, ["resume", ""], bool)
    return found.hold_reason or ""
