"""The record of one run, whose status is read off the clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from simulator.model.plan import Plan
from simulator.model.releases import Release
from simulator.model.tags import Tags

if TYPE_CHECKING:
    from simulator.model.workflows import Workflow

Kind = Literal["task", "workflow"]


class Status(StrEnum):
    """The statuses of a run, in the server's order."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    TERMINATED = "terminated"
    COMPLETED = "completed"
    CANCELED = "canceled"


class RunType(StrEnum):
    """The types of runs that `get_run` shows, in the server's order."""

    TASK_V1 = "task_v1"
    TASK_V2 = "task_v2"
    TASK_V3 = "task_v3"
    WORKFLOW_RUN = "workflow_run"
    OPENAI_CUA = "openai_cua"
    ANTHROPIC_CUA = "anthropic_cua"
    UI_TARS = "ui_tars"
    YUTORI_NAVIGATOR = "yutori_navigator"


LIVE_STATUSES = frozenset({"created", "queued", "running", "paused"})

#: A run is created, then queued, for this share of its time, and at most so many seconds.
_LEAD_SHARE = 0.1
_LEAD_SECONDS = 1.0

#: A flapping run's way from its start (0) to its end (1): until when it is what.
_FLAP = ((0.4, "running"), (0.55, "failed"), (0.7, "queued"), (1.0, "running"))


@dataclass(frozen=True, slots=True)
class SubmittedRun:
    """A request, as far as the server keeps it.

    Args:
        kind: task or workflow.
        id_prefix: what the run's id begins with: `tsk_v2_`, `tsk_` or `wr_`.
        run_type: the type that `get_run` shows, such as `task_v2`.
        title: what the server calls the run.
        sent_title: what the client called it.
        target: a task's URL, a workflow's permanent id.
        webhook_url: where the end is to be reported.
        prompt: what a task is to do, as it was sent.
        request: the JSON that `run_request` of `get_run` echoes.
        haystack: the text of every search besides ids, in lower case.
        inputs_haystack: the text that newer releases search as well: inputs and headers.
        forced: the parts of the plan that the client decides.
        hidden_haystack: the searched text of the workflow run beneath a 2.0 task.
        workflow: what a workflow run runs.
        session_id: the browser session that it is to use.
        unreadable: why `get_run` refuses to show it; None where it does not.
        tags: what `run_metadata` gave it.
        trigger_type: what started it.
        run_with, ai_fallback, scrolls, extra_http_headers: shown of a workflow run.
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
    inputs_haystack: str = ""
    hidden_haystack: str | None = None
    workflow: Workflow | None = None
    session_id: str | None = None
    unreadable: str | None = None
    tags: Mapping[str, str] | None = None
    trigger_type: str = "api"
    run_with: str = "agent"
    ai_fallback: bool | None = None
    scrolls: int | None = None
    extra_http_headers: Mapping[str, str] | None = None

    def replaced(self, **fields: Any) -> SubmittedRun:
        """The same with some fields changed."""
        return replace(self, **fields)


@dataclass(slots=True)
class Run:
    """One run as the server knows it; times are unix seconds, infinite while not known.

    Args:
        run_id: its name; numbers that follow its own name what belongs to it.
        submission: the request.
        api_key: the key that submitted it, which also signs its webhooks.
        plan: how long it takes and how it ends.
        created: when the server took it.
        started: when it began or will begin to work; infinite while it waits for a free slot.
        ended: when it ended or will end.
        paused: from when on it waits for a person; infinite = it does not, or not any more.
        canceled: it ended by a cancel instead of by its plan.
        webhook_failure_reason: None before a delivery, "" after one, a text when given up.
        tags: of a workflow run, if it has any.
        end_replaced: why it reads `failed` although it ended otherwise, as on older servers.
        occupied: why it failed at once: its browser session was another run's.
        clean_up: seconds for which it has its browser session after its end; its webhook follows.
        credits_per_step: what a step of a workflow run is billed, and of one beneath a 2.0 task.
    """

    run_id: str
    submission: SubmittedRun
    api_key: str
    plan: Plan
    created: float
    started: float = math.inf
    ended: float = math.inf
    paused: float = math.inf
    canceled: bool = False
    webhook_failure_reason: str | None = None
    tags: Tags | None = None
    end_replaced: str | None = None
    occupied: str | None = None
    clean_up: float = 0.0
    credits_per_step: int = 0

    def lose_end(self, release: Release) -> None:
        """Note that its webhook met an error of the network, not an answer."""
        if release.loses_ends and self.submission.run_type == "task_v2" and not self.canceled:
            self.end_replaced = f"Failed to run task 2.0: {self._webhook_error()}"

    def error_of_a_cancel(self, release: Release) -> str:
        """What a cancel says whose webhook met an error of the network."""
        why = self._webhook_error() if release.loses_ends else "FailedToSendWebhook"
        return f"Unexpected error: {why}"

    def _webhook_error(self) -> str:
        name = "task_v2_id" if self.submission.run_type == "task_v2" else "task_id"
        return f"Failed to send webhook.    {name}={self.run_id}"

    @property
    def cleaned_up(self) -> float:
        """When its browser session is free again, and its webhook is sent."""
        return self.ended + self.clean_up

    @property
    def number(self) -> int:
        """The digits of its name."""
        return int(self.run_id.rpartition("_")[2])

    @property
    def listed_id(self) -> str:
        """The name of its row in the list."""
        return f"tr_{self.number + 1}"

    @property
    def hidden_id(self) -> str:
        """The name of the workflow run beneath a 2.0 task."""
        return f"wr_{self.number + 2}"

    def start(self, at: float) -> None:
        """Give the run its slot at a time, which fixes its end."""
        lead = self._lead()
        self.started = at + lead
        if self.plan.pause is not None:
            self.paused = self.started + self.plan.pause
        elif self.plan.end != "never":
            self.ended = self.started + self.plan.seconds - lead

    def approve(self, at: float) -> None:
        """Have the run go on that waits for a person, which fixes its end."""
        self.paused = math.inf
        self.ended = at + self.plan.seconds - (self.plan.pause or 0.0)

    def cancel(self, at: float) -> None:
        """End a live run at a time."""
        self.ended = at
        self.canceled = True

    def is_over(self, now: float) -> bool:
        """Whether it has ended for good; a failure with another attempt is no end."""
        return now >= self.ended

    def has_started(self, now: float) -> bool:
        """Whether it has worked at all; a run that is canceled early has not."""
        return self.started <= min(now, self.ended)

    def status(self, now: float) -> str:
        """The status that the server shows at a time."""
        if now >= self.ended:
            return self._end
        if now >= self.paused:
            return "paused"
        if now < self.started:
            return "created" if now < self.created + self._lead() / 2 else "queued"
        if self.plan.end == "flap":
            done = (now - self.started) / (self.ended - self.started)
            return next(status for until, status in _FLAP if done < until)
        return "running"

    def is_retry_pending(self, now: float) -> bool:
        """Whether it shows an end but will be run again."""
        return now < self.ended and self.status(now) == "failed"

    def attempt(self, now: float) -> int:
        """The number of the attempt it is in, from 1."""
        return 2 if self.plan.end == "flap" and now >= self.next_attempt else 1

    @property
    def first_attempt_ended(self) -> float:
        """When the first attempt of a flapping run fails."""
        return self.started + _FLAP[0][0] * (self.ended - self.started)

    @property
    def next_attempt(self) -> float:
        """When the second attempt of a flapping run is queued."""
        return self.started + _FLAP[1][0] * (self.ended - self.started)

    @property
    def _end(self) -> str:
        if self.end_replaced:
            return "failed"
        return "canceled" if self.canceled else self.plan.status

    def _lead(self) -> float:
        return min(self.plan.seconds * _LEAD_SHARE, _LEAD_SECONDS)
