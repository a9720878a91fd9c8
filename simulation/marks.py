"""Marks: branches of the product that few seeds reach, told by its scripts, its log and its counts.

The product has no code for them. A campaign of seeds that never reaches one proves little about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Says whether a call of a script reached a branch: its arguments after the time, and its reply.
_Reached = Callable[[Sequence[Any], Any], bool]


def _first(word: str, code: int = 1) -> _Reached:
    return lambda arguments, reply: arguments[0] == word and code in reply


def _found(*how: int, code: int = 1) -> _Reached:
    return lambda arguments, reply: str(arguments[0]) in map(str, how) and code in reply


def _says(word: bytes) -> _Reached:
    return lambda _, reply: reply[0] == word


def _runs_again(*, is_occupied: bool, code: int) -> _Reached:
    def reached(arguments: Sequence[Any], reply: Any) -> bool:
        return any(
            code == one and (str(occupied) == "1") == is_occupied
            for one, occupied in zip(reply, arguments[8::9], strict=True)
        )

    return reached


def _searched(verdict: str, code: int) -> _Reached:
    def reached(arguments: Sequence[Any], reply: Any) -> bool:
        return any(
            said == verdict and one == code
            for said, one in zip(arguments[4::7], reply, strict=True)
        )

    return reached


#: Told by a call of a script: the mark, the script, and what it was called with and replied.
_BY_SCRIPT: tuple[tuple[str, str, _Reached], ...] = (
    ("a run is found by its marker", "mark_running", _found(2)),
    ("a run is found by its request", "mark_running", _found(1, 3)),
    ("a webhook comes before the answer", "mark_running", _found(0, code=0)),
    ("given back after a 429", "give_back", _first("limited")),
    ("given back, for it was not sent", "give_back", _first("not_sent")),
    ("given back with a refused key", "give_back", _first("account")),
    ("a claim is refused by a fence", "claim", _says(b"fenced")),
    ("a claim is refused by an unknown server", "claim", _says(b"stale")),
    ("a run is retried", "retry_run", _runs_again(is_occupied=False, code=1)),
    ("no time is left to retry a run", "retry_run", _runs_again(is_occupied=False, code=2)),
    (
        "a run is retried, for its session was occupied",
        "retry_run",
        _runs_again(is_occupied=True, code=1),
    ),
    ("two searches prove that there is no run", "record_search", _searched("not_found", 2)),
    ("a search finds nothing and proves nothing", "record_search", _searched("not_seen", 1)),
    ("a run is canceled at its limit", "cancel_overdue", lambda _, reply: reply > 0),
    ("a run is abandoned", "abandon_run", lambda _, reply: 1 in reply),
    ("an orphan run is over", "orphans_over", lambda _, reply: reply > 0),
)
#: Told by a line of the log.
_BY_LOG = {
    "lease_lost": "a lease is lost",
    "claims_taken_over": "claims of a lost lease are taken over",
    "lost_claims_recovered": "a recovery finds runs of lost claims",
    "jobs_may_have_runs": "a recovery has jobs searched",
    "permit_too_old": "a claim is answered too late to be sent",
    "lists_ended": "lists end",
    "cancel_abandoned": "a cancel is abandoned",
}
#: Told by a count of the account's, at the end.
_BY_TOTAL = {
    "resubmitted": "a job is submitted again after a search",
    "clock_steps": "a step of Redis' clock is believed",
    "webhooks:abandoned": "a webhook is abandoned",
    "seen:missed": "a run's end is found by a list",
    "fenced:mark_running": "a late record is refused",
    "fenced:mark_unconfirmed": "a late record is refused",
    "fenced:mark_dead": "a late record is refused",
    "fenced:give_back": "a late record is refused",
}
#: Scripts after which runs that no job owns are looked at.
MAKES_OR_ENDS_ORPHANS = {
    "abandon_run",
    "mark_running",
    "poll_claim",
    "record_webhook",
    "orphans_over",
}
#: Told by what is seen of jobs and orphan runs.
PUT_OFF, KEY_FREED = "a job waited for a budget, and ran", "an orphan run frees its keys"
OF_FIRINGS = (
    *(f"a firing is {state}" for state in ("over", "skipped", "missed")),
    "an upload is repeated",
)
MARKS = (
    *OF_FIRINGS,
    *(mark for mark, _, _ in _BY_SCRIPT),
    *_BY_LOG.values(),
    *dict.fromkeys(_BY_TOTAL.values()),
    PUT_OFF,
    KEY_FREED,
)


class Marks:
    """Counts how often each mark was reached in one simulation."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        #: The orphan runs that had keys when this was looked at last.
        self._with_keys: set[bytes] = set()
        self._of_scripts: dict[str, list[tuple[str, _Reached]]] = {}
        for mark, script, reached in _BY_SCRIPT:
            self._of_scripts.setdefault(script, []).append((mark, reached))

    def note_reply(self, script: str, arguments: Sequence[Any], reply: Any) -> None:
        """Note a call of a script."""
        for mark, reached in self._of_scripts.get(script, ()):
            self.reached[mark] += reached(arguments, reply)

    def note_log(self, event: Mapping[str, Any]) -> None:
        """Note a line of the log."""
        if mark := _BY_LOG.get(event["event"]):
            self.reached[mark] += 1

    def note_orphans(self, takes: Mapping[bytes, bytes]) -> None:
        """Note what orphan runs take now: of each a group, a batch, steps, and its job's keys."""
        self.reached[KEY_FREED] += any(run not in takes for run in self._with_keys)
        self._with_keys = {run for run, taken in takes.items() if len(taken.rstrip().split()) > 3}

    def note_totals(self, totals: Mapping[str, int]) -> None:
        """Note what the account counted, at the end."""
        for name, mark in _BY_TOTAL.items():
            self.reached[mark] += totals.get(name, 0)
