"""The record of one run, whose status is read off the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from simulator.plan import Plan

Kind = Literal["task", "workflow"]

LIVE_STATUSES = frozenset({"created", "queued", "running", "paused"})

#: A run is created, then queued, for this share of its time, and at most so many seconds.
_LEAD_SHARE = 0.1
_LEAD_SECONDS = 1.0

#: A flapping run's way from its start (0) to its end (1): until when it is what.
_FLAP = ((0.4, "running"), (0.55, "failed"), (0.7, "queued"), (1.0, "running"))


@dataclass(frozen=True, slots=True)
class Submission:
    """What was asked for, as far as the server keeps it.

    Args:
        kind: task or workflow.
        id_prefix: what the run's id begins with: `tsk_v2_`, `tsk_` or `wr_`.
        run_type: what `get_run` tells kinds apart by, such as `task_v2`.
        title: what the server calls the run.
        sent_title: what the client called it.
        target: a task's URL, a workflow's id.
        webhook_url: where the end is to be reported.
        prompt: what a task is to do.
        request: the JSON that `run_request` echoes.
        haystack: all that a search looks into, in lower case.
        forced: the parts of the plan that the client decides.
    """

    kind: Kind
    id_prefix: str
    run_type: str
    title: str | None
    sent_title: str | None
    target: str | None
    webhook_url: str | None
    prompt: str | None
    request: bytes
    haystack: str
    forced: dict[str, object]


@dataclass(slots=True)
class Run:
    """One run as the server knows it; times are unix seconds, infinite while not known.

    Args:
        run_id: its name.
        submission: what was asked for.
        api_key: the key that submitted it, which also signs its webhooks.
        plan: how long it takes and how it ends.
        created: when the server took it.
        started: when it began or will begin to work; infinite while it waits for a free place.
        ended: when it ended or will end.
        canceled: it ended by a cancel instead of by its plan.
        webhook_failure_reason: None before a delivery, "" after one, a text when given up.
    """

    run_id: str
    submission: Submission
    api_key: str
    plan: Plan
    created: float
    started: float = math.inf
    ended: float = math.inf
    canceled: bool = False
    webhook_failure_reason: str | None = None

    def start(self, at: float) -> None:
        """Give the run its place at a time, which fixes its end."""
        lead = self._lead()
        self.started = at + lead
        if self.plan.end != "never":
            self.ended = self.started + self.plan.seconds - lead

    def cancel(self, at: float) -> None:
        """End a live run at a time."""
        self.ended = at
        self.canceled = True

    def is_over(self, now: float) -> bool:
        """Whether nothing will change any more; a failure that is tried again is not an end."""
        return now >= self.ended

    def has_started(self, now: float) -> bool:
        """Whether it has worked at all, which a run that is canceled early never does."""
        return self.started <= min(now, self.ended)

    def status(self, now: float) -> str:
        """The status that the server shows at a time."""
        if now >= self.ended:
            return "canceled" if self.canceled else self.plan.status
        if now < self.started:
            return "created" if now < self.created + self._lead() / 2 else "queued"
        if self.plan.end == "flap":
            done = (now - self.started) / (self.ended - self.started)
            return next(status for until, status in _FLAP if done < until)
        return "running"

    def is_retry_pending(self, now: float) -> bool:
        """Whether it shows an end but will be run again."""
        return now < self.ended and self.status(now) == "failed"

    def _lead(self) -> float:
        return min(self.plan.seconds * _LEAD_SHARE, _LEAD_SECONDS)
