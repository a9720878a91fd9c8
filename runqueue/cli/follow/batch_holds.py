"""What holds a batch and what ends the hold, in words."""

from typing import Any

from runqueue.cli.shared.formatting import price_per_credit, printable
from runqueue.records.batch import Batch, BatchStatus
from runqueue.records.run_figures import cost_of
from runqueue.records.waits import in_words

_WORDS = {
    "paused": "it is paused: `runqueue batch resume {}` continues it",
    "canary": "its first jobs run; the others wait for them, or for `runqueue batch resume {}`",
    "aborted": "its rules aborted it: {why}; `runqueue batch resume {}` continues it",
    "canceled": "it was canceled",
    "expired": "its time is up: its waiting jobs are not submitted",
}


_UNDER_WAY = (
    "it was not accepted yet: its upload is under way, or was cut off; submit the same file"
    " again to take its jobs over; what is left is removed within a day"
)


def held_words(batch: Batch) -> str:
    """Return what holds the jobs of a batch alone, and what ends that; '' = nothing does."""
    if batch.status is BatchStatus.VALIDATING:
        return _UNDER_WAY
    held = batch.held or ""
    words = _WORDS.get(held, held).format(batch.id, why=printable(batch.held_reason or ""))
    return "; ".join(filter(None, (words, printable(in_words(batch.own_waits)))))


def batch_values(batch: Batch, *, as_json: bool) -> dict[str, Any]:
    """Return the values shown of a batch; its rules as values, or in words."""
    if as_json:
        return batch.as_dict()
    words = {"rules": "; ".join(batch.rules.words), "waits_for": in_words(batch.waits_for)}
    return {**batch.as_dict(), **words, "cost": cost_of(batch.usage.credits, price_per_credit())}
