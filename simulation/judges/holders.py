"""Judges who has keys, and steps of strict budgets, at the end: live jobs and orphan runs alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from simulation.judges.ledger import InvariantLedger


def judge_holders(
    ledger: InvariantLedger, held: Mapping[str, Collection[str]], owners: Collection[str]
) -> None:
    """Judge that whatever keeps others waiting belongs to a live job or an orphan run (I4).

    Args:
        ledger: receives what does not hold.
        held: the members of each key (`key:<key>`), and of what is committed to each strict budget
            (`max_steps:<what>`).
        owners: the ids of live jobs, and orphan runs as `orphan <run>`.
    """
    for name, members in sorted(held.items()):
        if ended := sorted(set(members) - set(owners)):
            ledger.fail(f"I4: {name} is kept by {', '.join(ended)}, which no live job owns")
