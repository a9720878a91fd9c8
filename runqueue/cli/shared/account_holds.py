"""What holds an account's submissions, in words."""

from runqueue.cli.shared.formatting import printable
from runqueue.records.account import AccountStats


def hold_words(stats: AccountStats) -> str:
    """Return what holds an account's submissions, until when, what ends it, and what else does."""
    also = f"; also: {stats.also_waits_for}" if stats.also_waits_for else ""
    reason = printable(f"{stats.hold_reason or ''}{also}")
    resume = "`runqueue resume`"
    if stats.account != "default":
        resume = f"`runqueue resume {stats.account}`"
    if stats.hold_kind == "budget" and not stats.paused:
        return f"account {stats.account}: nothing is submitted: {reason}"
    if stats.waits_for_a_person:
        until = f"until {resume}"
    else:
        until = f"for the next {stats.hold_seconds:.0f} s"
        if stats.may_be_resumed:
            until += f" ({resume} tries at once)"
    return f"account {stats.account}: nothing is submitted {until}: {reason}"
