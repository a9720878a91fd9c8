"""Jobs, batches, groups and statistics as the gateway's answers show them; jobs as it takes them.

Every function here raises what a wrong shape raises (`KeyError`, `TypeError`, `ValueError`): the
caller says what that means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter

from runqueue.operator.decisions import Settled
from runqueue.operator.refused_lines import InboxPage, RefusedLine
from runqueue.producer.listing import JobCount
from runqueue.records.account import AccountStats
from runqueue.records.archived import Chart, ErrorGroups
from runqueue.records.batch import Batch, Retried
from runqueue.records.delivery import DeliveryState, WebhookDelivery
from runqueue.records.job import Candidate, Enqueued, Job, JobState, Orphan
from runqueue.records.limits import AccountLimits
from runqueue.records.schedule import ScheduleChange
from runqueue.records.waits import Wait
from runqueue.request.job_spec import Priority
from runqueue.store.audit import AuditEntry
from runqueue.store.budgets import BudgetUse
from runqueue.store.groups import Group, GroupCredits
from runqueue.store.key_limits import EndedHolder, KeyUse
from runqueue.store.live_processes import Process
from runqueue.store.operator_calls import CancelCounts

M = TypeVar("M")

_JOB, _BATCH, _GROUP = TypeAdapter(Job), TypeAdapter(Batch), TypeAdapter(Group)
_ENQUEUED = TypeAdapter(Enqueued)
_BUDGET_USE = TypeAdapter(BudgetUse)
_COUNT = TypeAdapter(int)
_WAITS = TypeAdapter(tuple[Wait, ...])
_SETTLED, _INBOX = TypeAdapter(dict[str, Settled]), TypeAdapter(InboxPage)
#: What a results line has of a run, where it has it.
_OF_THE_RESULT = (
    *("output", "failure_reason", "app_url", "recording_url", "screenshot_urls"),
    *("downloaded_files", "result_omitted"),
)
#: What a results line does not have of a job.
_NOT_IN_A_LINE = {
    "namespace": "",
    "reason": None,
    "cancel_requested": False,
    "run_at": None,
    "deadline": None,
}


def read_strictly(adapter: TypeAdapter[M], values: object) -> M:
    """Read JSON values; none is converted to another type of JSON.

    Args:
        adapter: of what they are read as.
        values: as an answer has them.
    """
    return adapter.validate_json(orjson.dumps(values), strict=True)


def reader(kind: type[M]) -> Callable[[Any], M]:
    """Return what reads a record whose fields are those of its JSON object."""
    adapter, names = TypeAdapter(kind), getattr(kind, "_fields", None)

    def read(values: dict[str, Any]) -> M:
        known = values if names is None else {n: values[n] for n in names if n in values}
        return read_strictly(adapter, known)

    return read


read_key_use, read_holder = reader(KeyUse), reader(EndedHolder)
read_limits, read_entry, read_worker = reader(AccountLimits), reader(AuditEntry), reader(Process)
read_orphan, read_retried = reader(Orphan), reader(Retried)
read_usage, read_job_count = reader(GroupCredits), reader(JobCount)
read_errors, read_chart = reader(ErrorGroups), reader(Chart)
read_schedule_change = reader(ScheduleChange)


def known_values(values: Any, record: type[NamedTuple]) -> dict[str, Any]:
    """Return the values that a record has."""
    return {name: values[name] for name in record._fields if name in values}


def read_budget_use(values: dict[str, Any]) -> BudgetUse:
    """Return how a budget is used."""
    budget = {**values, "is_strict": values["strict"]}
    return read_strictly(_BUDGET_USE, {**values, "budget": budget})


def read_count(values: dict[str, Any], name: str) -> int:
    """Return a number of an answer."""
    return read_strictly(_COUNT, values[name])


def read_job(values: dict[str, Any], account: str = "default") -> Job:
    """Return a job.

    Args:
        values: as `GET /v1/jobs/{id}`, or a line of a batch's results, has it.
        account: whose it is where that does not say.
    """
    webhook = values["webhook"]  # a results line has its state alone
    is_state = isinstance(webhook, str)
    read: dict[str, Any] = {
        "account": account,
        "result": _result(values),
        **_NOT_IN_A_LINE,
        **values,
        "id": values["job_id"],
        "priority": Priority[values["priority"].upper()],
        "webhook": {"state": webhook} if is_state else known_values(webhook, WebhookDelivery),
        "candidates": [known_values(one, Candidate) for one in values.get("candidates") or ()],
        "waits_for": _waits(values),
    }
    return read_strictly(_JOB, read)


def _waits(values: dict[str, Any], name: str = "waits_for") -> list[dict[str, Any]]:
    return [known_values(one, Wait) for one in values.get(name) or ()]


def _result(line: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a results line has of the run, so that the job makes the same line again."""
    found = {name: line[name] for name in _OF_THE_RESULT if line.get(name) is not None}
    return found or None


def read_answer(values: dict[str, Any]) -> Enqueued:
    """Return the answer to one submitted job."""
    field, _, message = (values.get("error") or "").partition(": ")
    fault = {"field": field, "message": message} if field else None
    return read_strictly(_ENQUEUED, {**known_values(values, Enqueued), "fault": fault})


def read_batch(values: dict[str, Any]) -> Batch:
    """Return a batch."""
    return read_strictly(_BATCH, {**values, "id": values["batch_id"], "waits_for": _waits(values)})


def read_group(values: dict[str, Any]) -> Group:
    """Return a group."""
    return read_strictly(_GROUP, {**values, "name": values["group"]})


def read_canceled(values: dict[str, Any]) -> CancelCounts:
    """Return what the cancel of a batch came to."""
    names = ("canceled", "will_be_canceled", "over")  # in the order of `CancelCounts`
    return CancelCounts(*(read_count(values, name) for name in names))


def read_states(values: dict[str, Any]) -> list[tuple[JobState | None, float]]:
    """Return the states of jobs, and for how many seconds each is unconfirmed."""
    return [
        (None if one["state"] is None else JobState(one["state"]), one["unconfirmed_seconds"])
        for one in values["states"]
    ]


def read_settled(values: dict[str, Any]) -> dict[str, Settled]:
    """Return what came of jobs."""
    return read_strictly(_SETTLED, values["jobs"])


def read_orphans(values: dict[str, Any]) -> tuple[list[Orphan], str | None]:
    """Return a page of orphan runs, and the next cursor; None = that was all."""
    return list(map(read_orphan, values["orphans"])), values["cursor"]


def read_inbox(values: dict[str, Any]) -> InboxPage:
    """Return a page of an inbox."""
    lines = [known_values(one, RefusedLine) for one in values["lines"]]
    return read_strictly(_INBOX, {**known_values(values, InboxPage), "lines": lines})


@dataclass(frozen=True, slots=True)
class ReportedStats(AccountStats):
    """An account's statistics as a gateway reported them; what it does not report is None.

    Args:
        reported: the statistics as JSON values.
    """

    reported: dict[str, Any] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return self.reported


def read_stats(account: str, values: dict[str, Any]) -> AccountStats:
    """Return an account's statistics."""
    split = values["by_priority"]
    found: dict[str, Any] = {one.name: values.get(one.name) for one in fields(AccountStats)}
    found |= {
        "account": account,
        "states": {state: values["states"].get(state.value, 0) for state in JobState},
        "by_priority": {
            state: {p: split.get(state.value, {}).get(p.name.lower(), 0) for p in Priority}
            for state in JobState
        },
        "deliveries": {DeliveryState(state): n for state, n in values["deliveries"].items()},
        "waits_for": read_strictly(_WAITS, _waits(values)),
        "jobs_wait_for": read_strictly(_WAITS, _waits(values, "jobs_wait_for")),
        "hold_seconds": math.inf if values["hold_seconds"] is None else values["hold_seconds"],
    }
    return ReportedStats(**found, reported=values)
