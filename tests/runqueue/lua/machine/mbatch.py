"""What the model knows of a batch: its rules, its time, and what its callback_url is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from runqueue.records.batch import NO_RULES, BatchRules
from tests.runqueue.lua.clockwork import KEEP, SECOND, UPLOAD
from tests.runqueue.lua.machine.model import LIVE, OVER

#: How a batch ends that is held like this.
FINAL = {"canceled": "canceled", "aborted": "failed", "expired": "expired"}


@dataclass
class MEvent:
    """Something that is to be told, and when it is tried next; 0 = at once."""

    tries: int = 0
    due: int = 0


@dataclass
class MBatch:
    """What the model knows of a batch."""

    opened: int
    rules: BatchRules = NO_RULES
    sealed: bool = False
    held: str = ""
    to_sweep: bool = False
    jobs: list[str] = field(default_factory=list)
    #: Whether the canary is not decided; how many jobs are of it.
    canary: bool = False
    marked: int = 0
    finished: bool = False
    #: How the jobs ended, and those of the canary among them, whose records are gone.
    gone: Counter[str] = field(default_factory=Counter)
    gone_canary: Counter[str] = field(default_factory=Counter)
    #: When its time is up, or what still waits in it is canceled; 0 = never.
    expires: int = 0
    #: From when on a day is counted after which it is looked at; None = it goes with its jobs.
    look: int | None = None
    emptied: bool = False
    #: Events told so far; those on their way, as the scripts name them; what became of the others.
    made: int = 0
    waiting: dict[str, MEvent] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Begin as it is opened."""
        self.look = self.opened
        self.shares = sorted(set(self.rules.callback_at))
        self.canary = self.rules.canary is not None
        self.held = "canary" if self.canary else ""

    @property
    def canceled(self) -> bool:
        """Tell whether it was canceled."""
        return self.held == "canceled"

    @property
    def retired(self) -> int:
        """How many of its jobs have no record any more."""
        return self.gone.total()

    @property
    def is_spent(self) -> bool:
        """Tell whether it goes: its jobs have gone, and nothing is to be told any more."""
        return not self.jobs and self.retired > 0 and not self.waiting

    def marks(self) -> bool:
        """Tell whether the next job of the upload is of its canary, and count it."""
        is_one = self.canary and self.marked < (self.rules.canary or 0)
        self.marked += is_one
        return is_one

    def seal(self, now: int) -> None:
        """The upload is complete."""
        if self.sealed or (self.emptied and self.held == "expired"):
            return
        self.sealed = True
        if self.rules.expires_after:
            self.expires = now + round(self.rules.expires_after * SECOND)
        if self.jobs or self.retired:
            self.look = None

    def cancel(self, *, all_ended: bool) -> None:
        """A person wants none of it any more."""
        is_gone = self.held == "expired" and not self.sealed
        if is_gone or (all_ended and (self.sealed or self.canceled)):
            return
        self.held, self.to_sweep = "canceled", True

    def resume(self) -> None:
        """A person lets it go on."""
        before = self.held
        if before == "expired":
            if not self.sealed:
                return
            self.expires, self.to_sweep = 0, False
        if before in {"paused", "expired"} and self.canary:
            self.held = "canary"
            return
        if before == "aborted":
            self.rules = replace(self.rules, abort_at_failure_ratio=None)
        self.held = ""
        self.canary = False

    def expire(self, now: int, *, all_ended: bool) -> None:
        """Its time is up."""
        self.expires = 0
        if self.held == "expired":
            self.to_sweep, self.expires = self.to_sweep or not all_ended, now + KEEP
        elif self.sealed and self.held not in FINAL and not all_ended:
            self.held, self.expires = "expired", now + KEEP

    def empty(self, now: int) -> None:
        """Its upload was never finished: its record stays for a week, without jobs."""
        self.held = self.held if self.canceled else "expired"
        self.jobs, self.gone, self.gone_canary = [], Counter(), Counter()
        self.canary, self.marked = False, 0
        self.emptied, self.look = True, now + KEEP - UPLOAD

    def judge(self, states: Counter[str], of_canary: Counter[str]) -> None:
        """Do as its rules say; see whether it is over, and what is to be told.

        Args:
            states: where its jobs stand.
            of_canary: where those of its canary do.
        """
        ended = sum(states[state] for state in OVER)
        if self.sealed and self.held not in FINAL:
            self.apply_rules(states["failed"] + states["dead"], ended, of_canary)
        if self.sealed:
            self.tell_shares(ended, states.total())
        live = sum(states[state] for state in LIVE)
        is_over = ended == states.total() or (self.held in {"aborted", "expired"} and live == 0)
        was_finished = self.finished
        self.finished = (self.sealed or self.held in {"canceled", "expired"}) and is_over
        if self.finished and not was_finished:
            self.tell(FINAL.get(self.held, "completed"))

    def apply_rules(self, bad: int, ended: int, of_canary: Counter[str]) -> None:
        """Abort it, or let it go on after its canary."""
        ratio, after = self.rules.abort_at_failure_ratio, self.rules.abort_after
        if ratio is not None and ended >= after and bad and is_share(bad, ratio, ended):
            self.held = "aborted"
        elif self.canary and sum(of_canary[state] for state in OVER) >= self.marked:
            if is_share(of_canary["completed"], self.rules.canary_ratio, self.marked):
                self.canary = False
                self.held = "" if self.held == "canary" else self.held
            else:
                self.held = "aborted"

    def tell_shares(self, ended: int, total: int) -> None:
        """Tell each share that was reached, once."""
        while self.shares and total and is_share(ended, self.shares[0], total):
            self.tell("progress", repr(self.shares.pop(0)))

    def tell(self, what: str, share: str = "") -> None:
        """Have something told to its callback_url."""
        if self.rules.callback_url is not None:
            self.made += 1
            self.waiting[f"{self.made}:{what}:{share}"] = MEvent()


def is_share(n: int, ratio: float, of: int) -> bool:
    """Tell whether n is that share, or more, but for what floats lose."""
    return n >= ratio * of * (1 - 1e-9)
