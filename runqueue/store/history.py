"""The life of a job, as far as its record shows it.

Every record has the times of a common life: created, last claimed, run known, ended. Uncommon steps
(a lost answer, a refusal for the account's sake, another run, an operator's decision) are kept with
their causes, the last twelve of them. Earlier attempts without such an event have left
no times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from runqueue.connection.urls import shown_url
from runqueue.records.as_json import json_value
from runqueue.records.job import fields_of, moment, text
from runqueue.records.run_figures import Usage, read_usage
from runqueue.store import codec
from runqueue.store.scripts import ScriptCall, load

_STEPS: Final = {
    "unconfirmed": "unconfirmed: the answer to its submission was lost",
    "found": "running: its run was found",
    "given_back": "ready again: surely no run came of it",
    "runs_again": "scheduled to run again",
    "replayed": "ready again: replayed by a person",
    "resubmitted": "ready again: settled by a person",
    "cancel_asked": "its cancel was requested",
    "approval_asked": "a person approved its paused run: Skyvern is not asked yet",
    "approved": "its paused run goes on",
    "approval_failed": "the approval of its paused run failed",
    "no_run": "no longer unconfirmed: it has no run",
}
#: Fields of a request that are shown; others may hold secrets, and are only named.
_SHOWN: Final = ("prompt", "url", "title", "engine", "workflow_id", "webhook_url", "max_steps")
#: Those that are URLs: credentials in them are left out.
_URLS: Final = frozenset({"url", "webhook_url"})
#: Bytes of a request that is shown.
_LONGEST: Final = 65_536
_ENDS: Final = {
    "completed": "completed: its run ended well",
    "failed": "failed: its run ended badly",
    "canceled": "canceled",
    "dead": "dead: it has no run that we know of, and needs a person",
}


@dataclass(frozen=True, slots=True)
class JobStep:
    """One step of a job's life.

    Args:
        at: when; one that is still to come lies ahead.
        what: what became of the job, in words.
        cause: why; '' = that goes without saying, or is not known.
        attempt: which of its attempts; None = it is of none.
        ahead: whether it is yet to come.
    """

    at: datetime
    what: str
    cause: str = ""
    attempt: int | None = None
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that had a run; None = it is not known, or not yet.

    Args:
        attempt: its number.
        claimed_at, started_at, ended_at: when a worker took it, its run was accepted, and ended.
        run_id, status: of its run, in Skyvern's words.
        category, reason: why the run ended badly.
        steps, credits: what it took.
    """

    attempt: int
    claimed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    run_id: str
    status: str | None
    category: str | None
    reason: str | None
    steps: int | None
    credits: int | None


@dataclass(frozen=True, slots=True)
class JobHistory:
    """What is known of a job's life.

    Args:
        steps: in their order.
        attempts: those that had runs, in their order: the last twenty before the present one.
        earlier_runs: ids of runs that it had before.
        process: the process that submits it now, or submitted it last.
        forgotten: attempts that may have left no trace here.
        request: what is to be run, as it was submitted; empty = it is too large to be shown.
        created_us: when it was created, in microseconds.
        archived: whether only an archive has all of it.
        earlier_lives: how it ended under the same id before, the newest first, as archives have it.
    """

    steps: list[JobStep]
    attempts: list[Attempt]
    earlier_runs: tuple[str, ...]
    process: str
    forgotten: int
    request: dict[str, Any] = field(repr=False)
    created_us: int = 0
    archived: bool = False
    earlier_lives: tuple[JobStep, ...] = ()

    @property
    def request_shown(self) -> dict[str, str | int]:
        """The fields of the request that may be shown: no other may be free of secrets."""
        found = {name: self.request[name] for name in _SHOWN if self.request.get(name)}
        return {name: _shown(name, value) for name, value in found.items()}

    @property
    def request_hidden(self) -> list[str]:
        """The names of its other fields."""
        return sorted(set(self.request) - set(_SHOWN))

    def as_dict(self) -> dict[str, Any]:
        """Return what is shown of a job's life, as JSON values."""
        return {
            "request": self.request_shown,
            "request_hidden": self.request_hidden,
            "timeline": json_value(self.steps),
            "attempts": json_value(self.attempts),
            "earlier_runs": list(self.earlier_runs),
            "earlier_lives": json_value(self.earlier_lives),
        }


def _shown(name: str, value: Any) -> str | int:
    """Return a field of a request as it may be shown: a number, or text."""
    if isinstance(value, int):
        return value
    return shown_url(str(value)) if name in _URLS else str(value)


def read_history(account: str, job_id: str) -> ScriptCall[JobHistory | None]:
    """Read what is known of a job's life; None = no such job is on record."""
    return ScriptCall(load("read_history"), account, [job_id], _history)


def _history(reply: list[Any]) -> JobHistory | None:
    record, since, search, poll, delivery, sealed, body, removed = reply
    if not record:
        return None
    return history_of(fields_of(record), body, since, sealed, (search, poll, delivery, removed))


def history_of(
    fields: dict[str, bytes],
    body: bytes,
    since: bytes = b"",
    sealed: bytes = b"",
    coming: tuple[bytes, bytes, bytes, bytes] = (b"", b"", b"", b""),
) -> JobHistory:
    """Return what is known of a job's life.

    Args:
        fields: its record.
        body: its stored body.
        since: when it became unconfirmed; b"" = it is not.
        sealed: when its batch was sealed; b"" = not known.
        coming: the next search for its run, poll, try of its webhook, and when it is removed.
    """
    noted = list(_noted(fields))
    steps = [*_own(fields, since, noted), *noted, *_sealed(sealed, fields), *_past(fields)]
    ahead = list(_ahead(fields, *coming))
    shown = {step.attempt for step in steps if step.attempt is not None}
    attempts = int(fields.get("attempt", 0))
    return JobHistory(
        sorted(steps, key=lambda step: step.at) + sorted(ahead, key=lambda step: step.at),
        list(_attempts(fields)),
        tuple((text(fields.get("earlier")) or "").split()),
        text(fields.get("process")) or "",
        max(0, attempts - len(shown)),
        _request(body),
        int(fields.get("created") or 0),
        "archived" in fields,
    )


def _request(body: bytes) -> dict[str, Any]:
    try:
        # Packed it was short enough to be handed over; what it unpacks to may not be.
        is_short = len(codec.parts(body)[1]) <= _LONGEST
        return codec.read_request(body)[1] if is_short else {}
    except (ValueError, KeyError):
        return {}


def _noted(fields: dict[str, bytes]) -> Iterator[JobStep]:
    """Yield the uncommon steps, the oldest first."""
    for line in reversed((text(fields.get("history")) or "").splitlines()):
        at, attempt, step, cause = [*line.split(" ", 3), "", "", ""][:4]
        when = moment(at)
        if when is not None:
            yield JobStep(when, _STEPS.get(step, step), cause, int(attempt) or None)


def _past(fields: dict[str, bytes]) -> Iterator[JobStep]:
    """Yield the claims and starts of attempts before this one; steps of their ends are noted."""
    for one, _ in _earlier(fields):
        if one.claimed_at:
            yield JobStep(one.claimed_at, "submitting: claimed by a worker", "", one.attempt)
        if one.started_at:
            yield JobStep(one.started_at, "running: its run is known", one.run_id, one.attempt)


def _earlier(fields: dict[str, bytes]) -> Iterator[tuple[Attempt, Usage]]:
    """Yield the earlier attempts with runs, and what the job had taken by their ends."""
    before = Usage()
    for line in reversed((text(fields.get("past")) or "").splitlines()):
        parts = [None if part == "-" else part for part in line.split(" ", 8)]
        parts += [None] * (9 - len(parts))
        number, claimed, started, ended, status, usage, category, run_id, reason = parts
        until_then = read_usage((usage or ":::").encode())
        times = (moment(claimed), moment(started), moment(ended))
        yield (
            Attempt(
                *(int(number or 0), *times, run_id or "", status, category, reason or None),
                *_more(until_then, before),
            ),
            until_then,
        )
        before = until_then


def _attempts(fields: dict[str, bytes]) -> Iterator[Attempt]:
    """Yield the attempts that had runs, the oldest first."""
    earlier = list(_earlier(fields))
    yield from (attempt for attempt, _ in earlier)
    before = earlier[-1][1] if earlier else Usage()
    if run_id := text(fields.get("run_id")):
        taken, started, ended = (moment(fields.get(n)) for n in ("taken", "started", "ended"))
        yield Attempt(
            *(int(fields.get("attempt", 0)), taken, started, ended, run_id),
            text(fields.get("run_status")),
            text(fields.get("category")) or None,
            text(fields.get("reason")) or None,
            *_more(read_usage(fields.get("usage")), before),
        )


def _more(now: Usage, before: Usage) -> tuple[int | None, int | None]:
    """Return the steps and credits that were added; None = not known."""
    return (
        None if now.steps is None else now.steps - (before.steps or 0),
        None if now.credits is None else now.credits - (before.credits or 0),
    )


def _own(fields: dict[str, bytes], since: bytes, noted: list[JobStep]) -> Iterator[JobStep]:
    """Yield what the record's own times show."""
    attempt = int(fields.get("attempt", 0)) or None
    reason = text(fields.get("reason")) or ""
    run = text(fields.get("run_id")) or ""
    state = text(fields.get("state")) or ""
    if created := moment(fields.get("created")):
        yield JobStep(created, "created: accepted by the queue")
    if taken := moment(fields.get("taken")):
        yield JobStep(taken, "submitting: claimed by a worker", "", attempt)
    lost = moment(since)
    if lost and not any(step.at == lost for step in noted):
        yield JobStep(lost, _STEPS["unconfirmed"], reason, attempt)
    if started := moment(fields.get("started")):
        yield JobStep(started, "running: its run is known", run, attempt)
    if ended := moment(fields.get("ended")):
        status = text(fields.get("run_status")) or ""
        cause = reason or (f"the run is {status}" if status and status != state else "")
        yield JobStep(ended, _ENDS.get(state, state), cause, attempt)
    if reported := moment(fields.get("delivery_at")):
        what = f"webhook {(text(fields.get('delivery')) or '').replace('_', ' ')}"
        yield JobStep(reported, what, text(fields.get("delivery_error")) or "")


def _sealed(sealed: bytes, fields: dict[str, bytes]) -> Iterator[JobStep]:
    at = moment(sealed)
    created = moment(fields.get("created"))
    if at and created and at > created:
        yield JobStep(at, "its batch was sealed: from now on it may run")


def _ahead(
    fields: dict[str, bytes], search: bytes, poll: bytes, delivery: bytes, removed: bytes
) -> Iterator[JobStep]:
    """Yield what is to come."""
    coming = {
        # What is deferred for a budget waits for that, not for a time.
        "may run from now on": None if "deferred" in fields else fields.get("run_at"),
        "deadline": None if "ended" in fields else fields.get("deadline"),
        "next search for its run": search,
        "next poll of its run": poll,
        "next try of its webhook": delivery,
        "its record is removed": removed,
    }
    for what, at in coming.items():
        if when := moment(at):
            yield JobStep(when, what, ahead=True)
