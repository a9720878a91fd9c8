"""What the model knows: jobs, and everything that says how much may go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

from hypothesis import strategies as st

from tests.runqueue.lua.clockwork import SECOND
from tests.runqueue.lua.machine.hook import MHook

LIVE = {"submitting", "unconfirmed", "running"}
OVER = {"completed", "failed", "canceled", "dead"}
WAITING = {"ready", "scheduled"}
#: job.py's table, and what adoption of a higher attempt or of a stray adds (Redis lost the claim).
ALLOWED = {
    "scheduled": {"ready", "canceled", "dead", "running"},
    "ready": {"submitting", "canceled", "dead", "running"},
    "submitting": {"ready", "running", "unconfirmed", "dead", "canceled"},
    "unconfirmed": {"ready", "running", "dead", "canceled"},
    "running": {"completed", "failed", "canceled", "scheduled"},
    "dead": {"ready"},
    "failed": {"ready"},
    "canceled": {"ready"},
}
GROUPS = ("default", "g1", "g2")
#: Keys of which Redis removes each by itself, after a time.
EXPIRING = ("group:", "gcra:", "claim:", "endpoint:", "attempts:")
#: Keys that stand for the account itself, not for a job.
LASTING = ("meta", "counters", "limits", "wake", "charged")
#: Deaths during the submission: from so many on a job is claimed alone, at so many it is dead.
SUSPECT, POISON = 2, 3
#: After so long an unconfirmed job gives its slot back.
MAX_RUN = 7_200 * SECOND

picks = st.integers(0, 1_000)
few = st.lists(picks, min_size=1, max_size=3)
often = st.sampled_from([False, False, True])
waiting = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(GROUPS)), min_size=4, max_size=12)


@dataclass
class MJob:
    """What the model knows of a job."""

    id: str
    digest: str
    state: str
    priority: int
    group: str
    batch: str | None
    run_at: int | None
    deadline: int | None
    on_unconfirmed: str = "auto"
    attempt: int = 0
    cancel: str | None = None
    process: str | None = None
    claimed: int = 0
    run_id: str | None = None
    past_runs: set[str] = field(default_factory=set)
    runs: int = 0
    ended: int = 0
    result: bytes | None = None
    flagged: bool = False
    deaths: int = 0
    died: int = 0
    since: int = 0
    negatives: int = 0
    negative_at: int = 0
    slot: bool = True
    url: str = ""
    has_policy: bool = False
    canary: bool = False
    hook: MHook = field(default_factory=MHook)

    @property
    def is_live(self) -> bool:
        """Tell whether it takes one of the account's slots."""
        return self.state in LIVE and self.slot


@dataclass
class Limiter:
    """A GCRA beside the script's; its rate may change from call to call."""

    full: float
    burst: int
    tat: int = 0
    interval: int = 1
    grants: list[tuple[int, int]] = field(default_factory=list)

    def room(self, now: int, want: int, rate: float | None = None) -> int:
        """How many of `want` may go now."""
        rate = self.full if rate is None else rate
        if not rate or want < 1:
            return want
        interval = ceil(SECOND / rate)
        if self.tat > now and interval != self.interval:
            # Floats, and in this order, as Lua reckons.
            owed = float(self.tat - now) * float(interval) / float(self.interval)
            self.tat, self.interval = now + ceil(owed), interval
        self.tat = min(self.tat, now + self.burst * interval)
        free = now + self.burst * interval - max(self.tat, now)
        return max(0, min(want, floor(free / interval)))

    def take(self, now: int, n: int, rate: float | None = None) -> None:
        """Count `n` that went."""
        rate = self.full if rate is None else rate
        if not rate or not n:
            return
        self.interval = ceil(SECOND / rate)
        self.tat = max(self.tat, now) + n * self.interval
        if not self.full:
            return
        self.grants.append((now, n))
        total = 0
        for at, count in reversed(self.grants[-60:]):
            total += count
            assert total <= self.burst + self.full * (now - at) / SECOND + 1e-6


@dataclass
class Pace:
    """The lower rate that 429s ask for; the numbers are those of `lib/account/limits.lua`."""

    top: float = 0.0
    at: int = 0
    named: bool = False
    cut: float = 0.5
    second: int = -1
    second_n: int = 0
    last_n: int = 0

    def rate(self, now: int) -> float | None:
        """The pace now; None = there is none."""
        if not self.top:
            return None
        age = max(0, now - self.at) / SECOND
        if self.named:
            return self.top * (0.95 + 0.0025 * age)
        if age < 1.5:
            return self.top * (self.cut + (0.97 - self.cut) * age / 1.5)
        creep = 0.005 * (age - 1.5)
        if age > 60:
            creep = creep * age / 60
        return self.top * (0.97 + creep)

    def dispatch(self, full: float, now: int) -> float:
        """The rate of submissions now; 0 = no limit."""
        pace = self.rate(now)
        if pace is not None and (not full or pace < full):
            return max(pace, 0.1)
        return full

    def forget_if_over(self, full: float, now: int) -> None:
        """A claim forgets a pace that binds no more."""
        pace = self.rate(now)
        if pace is not None and ((full and pace >= full) or pace > 4 * self.top):
            self.top = 0.0

    def slow_down(self, named: float, full: float, now: int) -> None:
        """The server said 429."""
        if self.top and now - self.at < SECOND:
            return
        top = named or self.dispatch(full, now) or max(self.second_n, self.last_n, 1)
        top = min(top, full) if full else top
        self.cut = 0.7 if self.top else 0.5
        self.top, self.at, self.named = float(f"{max(top, 0.1):.4f}"), now, bool(named)

    def count(self, now: int, n: int) -> None:
        """Count submissions of this second."""
        if not n:
            return
        if now // SECOND == self.second:
            self.second_n += n
        else:
            self.second, self.last_n, self.second_n = now // SECOND, self.second_n, n


@dataclass
class Hold:
    """Why nothing is submitted: what the server asked for, or troubles in a row.

    With `probe` one job is let through at the end, and an acceptance ends the hold at once. The
    minute which that job is given (`probing`) keeps the others back, but is no hold by itself.
    """

    until: int = 0
    step: int = 0
    probe: bool = False
    probing: bool = False
    asked: int = 0
    probed: str = ""
    rows: dict[str, int] = field(default_factory=dict)

    def ask(self, now: int, why: str, wait: int) -> None:
        """Submissions were given back; the first after a hold doubles the step, a 429 never."""
        if self.until <= now and why != "limited":
            self.step = min(max(2 * self.step, SECOND), 60 * SECOND)
        pause = {"account": 60 * SECOND, "limited": 0}.get(why, self.step)
        end = now + max(pause, wait)
        if end > self.until:
            self.until, self.probing = end, False
        if wait:
            self.asked = max(self.asked, now + wait)
        if why == "account":
            self.probe = True

    def room(self, now: int, want: int) -> int:
        """How many of `want` may go now."""
        if self.until > now:
            return 0
        return min(want, 1) if self.is_due(now) else want

    def is_due(self, now: int) -> bool:
        """Tell whether the next to go is a probe."""
        return 0 < self.until <= now and self.probe

    def let_through(self, now: int, job_id: str) -> None:
        """A probe went."""
        self.until, self.probing, self.probed = now + 60 * SECOND, True, job_id

    def is_probe(self, now: int, job_id: str) -> bool:
        """Tell whether this is the job that was let through, and its minute is not over."""
        return self.probing and self.until > now and self.probed == job_id

    def probe_is_back(self, now: int) -> None:
        """The one that was let through has come back, and found out nothing."""
        self.until, self.probing = max(now, self.asked), False

    def answered(self, now: int) -> None:
        """A probe was refused: the server works, and knows the account."""
        self.rows.pop("troubles", None)
        self.end(now)

    def count(self, now: int, name: str, n: int, most: int, first: int) -> bool:
        """So many more failures in a row; returns whether they brought a hold."""
        if not n:
            return False
        self.rows[name] = self.rows.get(name, 0) + n
        if self.rows[name] < most or (self.until > now and not self.probing):
            return False
        self.step = min(max(2 * self.step, first), 60 * SECOND)
        self.until, self.probe, self.probing = max(now + self.step, self.asked), True, False
        return True

    def accepted(self, now: int) -> None:
        """A submission brought a run."""
        self.rows.clear()
        if self.until <= now or self.probe:
            self.end(now)

    def end(self, now: int) -> None:
        """Nothing holds any more but what the server asked to wait."""
        self.until = self.asked if self.asked > now else 0
        self.step, self.probe, self.probing = 0, False, False


@dataclass
class Turn:
    """Which process takes suspects on; it has 30 s more with each time that it asks for one."""

    process: str = ""
    until: int = 0

    def take(self, process: str, now: int) -> bool:
        """Take the turn, or go on with it, unless another process has it."""
        if self.process not in {"", process} and self.until > now:
            return False
        self.process, self.until = process, now + 30 * SECOND
        return True

    def drop(self) -> None:
        """Its process is gone."""
        self.process, self.until = "", 0


def has(*states: str) -> Callable[[Any], bool]:
    """Tell whether there is a job in one of the states (in any, if none is named)."""
    return lambda machine: machine.pick(0, *states) is not None
