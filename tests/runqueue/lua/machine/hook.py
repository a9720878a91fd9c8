"""What the model knows of a job's webhook, and of the receivers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.runqueue.lua.clockwork import SECOND

#: Two receivers of users, and one that a person names.
URLS = ("https://u0.test/hook", "https://u1.test/hook")
ELSEWHERE = "https://u2.test/"
#: Of the contract: what an end that a poll saw waits for Skyvern's own webhook, and a first check.
RELAY_AFTER, FIRST_WATCH = 3 * SECOND, 10 * SECOND
#: What a bad end waits for the policy's word, and a probe for its receiver's.
POLICY_LEASE, PROBE = 15 * SECOND, 20 * SECOND


@dataclass
class MHook:
    """How the end of a run is told to whoever waits for it."""

    via: str = ""
    delivery: str = ""
    due: int = 0
    tries: int = 0
    looks: int = 0
    forced: int = 0
    signed: str = ""
    kept: bytes | None = None
    sending: int = 0
    url: str = ""

    @property
    def comes_to_us(self) -> bool:
        """Tell whether Skyvern sends it to our receiver."""
        return self.via in {"relay", "push"}

    @property
    def index(self) -> str:
        """Where it stands; '' = nowhere."""
        if self.delivery == "pending":
            return "relays" if self.via == "relay" else "watches"
        return "" if self.delivery == "delivered" else self.delivery

    def begin(self, now: int, signed: str) -> None:
        """The run is over."""
        if self.via not in {"relay", "watch"}:
            return
        self.delivery = "pending"
        self.due = now + (FIRST_WATCH if self.via == "watch" else RELAY_AFTER)
        if signed:
            self.signed = signed
            self.due = now if self.via == "relay" else self.due

    def came_to_us(self, now: int, awaited: bool) -> None:
        """Skyvern sent it to our receiver, whatever we knew of that."""
        if self.comes_to_us:
            return
        self.via = "relay" if self.delivery or awaited else "push"
        if self.delivery == "pending":
            self.due, self.looks = now, self.looks + 1

    def keep(self, now: int, signed: str, body: bytes) -> None:
        """The run's end was known; its first body that Skyvern signed is what the user gets."""
        if self.via != "relay" or not signed:
            return
        self.delivery = self.delivery or "pending"
        if self.delivery != "delivered" and not self.signed:
            self.signed, self.kept = signed, body
            if self.delivery == "pending" and self.sending <= now:
                self.due = now

    def settle(self, verdict: str) -> None:
        """It is delivered, given up, or nobody knows."""
        self.delivery, self.forced, self.sending = verdict, 0, 0
        if verdict == "delivered" and self.kept is not None:
            self.kept, self.signed = None, ""

    def send_again(self, now: int, url: str) -> None:
        """A person asked for it."""
        self.via = self.via if self.via == "watch" else "relay"
        self.delivery, self.forced, self.due, self.sending = "pending", now, now, 0
        self.tries, self.looks = 0, self.looks + 1 if self.via == "relay" else 0
        self.url = url or self.url


@dataclass
class Breaker:
    """What keeps webhooks from a receiver that does not answer."""

    fails: int = 0
    open_until: int = 0
    step: int = 0
    probe: bool = False

    def closed_until(self, now: int) -> int:
        """When one may go; one that goes when the time is over is a probe."""
        if not self.open_until or self.open_until > now:
            return self.open_until
        self.open_until, self.probe = now + PROBE, True
        return 0

    def failed(self, now: int) -> None:
        """No answer came; those on their way when it opened say nothing new."""
        self.fails += 1
        if self.fails >= 5 and (self.open_until <= now or self.probe):
            self.step = min(max(2 * self.step, 10 * SECOND), 120 * SECOND)
            self.open_until, self.probe = now + self.step, False


@dataclass
class Shares:
    """The places of one claim: of what is free one receiver gets a quarter, and one at least."""

    free: int
    taken: Counter[str] = field(default_factory=Counter)

    def is_full(self, url: str) -> bool:
        """Tell whether a receiver has its share."""
        return self.taken[url] >= max(1, (self.free + self.taken[url]) // 4)

    def take(self, url: str) -> None:
        """One more goes to it."""
        self.taken[url] += 1
        self.free -= 1
