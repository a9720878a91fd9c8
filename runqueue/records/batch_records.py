"""How a batch's record reads: what the scripts give, as a `Batch`."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from runqueue.connection.endpoints import endpoint_of
from runqueue.ids import DEFAULT
from runqueue.records.batch import LIVE, STOPPED, ActiveRules, Batch, BatchCallback
from runqueue.records.forecast import Capacity, EndRate, seconds_left
from runqueue.records.job import JobState, fields_of, moment, text

_WAITING = (JobState.READY, JobState.SCHEDULED)
_PENDING = "callback:"


def read_batch(
    account: str, batch: str, flat: Any, jobs: int, seen: tuple[int, Capacity], *, paused: str
) -> Batch | None:
    """Return a batch as the scripts give it; None where it is none (any more).

    Args:
        account, batch: whose it is, and its id.
        flat: its record, as HGETALL gives it inside a script's reply.
        jobs: how many jobs it has.
        seen: when it was read (µs since 1970), and what its account can do.
        paused: a paused group in which jobs of it wait; '' = there is none, '?' = nobody knows,
            since too many are paused.
    """
    fields = fields_of(flat)
    if "sealed" not in fields:
        return None
    held, sealed = text(fields.get("held")), fields["sealed"] == b"1"
    # An upload that expired holds no jobs, whether or not all of them have been removed yet.
    is_empty = held == "expired" and not sealed
    states = {} if is_empty else _states(fields, is_canceled=held == "canceled")
    open_jobs = _left(states, held) if sealed else []
    left = None if paused else _seconds_left(fields, open_jobs, seen)
    note = None
    if sealed and left is None:
        note = _why_unknown(account, states, held, seen[1], paused)
    created_at = moment(fields["created"])
    assert created_at is not None  # noqa: S101 - every record has it
    return Batch(
        id=batch,
        account=account,
        name=fields.get("name", b"").decode(),
        sealed=sealed,
        held=held,
        total=0 if is_empty else jobs,
        states=states,
        created_at=created_at,
        held_reason=text(fields.get("why")) if held in {"aborted", "expired"} else None,
        sealed_at=moment(fields.get("sealed_at")),
        canceled_at=moment(fields.get("canceled_at")) if held == "canceled" else None,
        finished_at=moment(fields.get("finished_at")),
        expires_at=moment(fields.get("expires_at")),
        seconds_left=left,
        eta=None if left is None else _after(seen[0], left),
        callback=_callback(fields),
        rules=_rules(fields),
        paused_group=paused.removeprefix("?") or None,
        eta_note=note,
    )


def _states(fields: dict[str, bytes], *, is_canceled: bool) -> dict[JobState, int]:
    """Return the counts; what waits in a canceled batch is canceled, swept or not."""
    counts = {state: int(fields.get(f"count:{state.value}", 0)) for state in JobState}
    if is_canceled:
        counts[JobState.CANCELED] += sum(counts[state] for state in _WAITING)
        counts |= dict.fromkeys(_WAITING, 0)
    return {state: n for state, n in counts.items() if n}


def _left(states: dict[JobState, int], held: str | None) -> list[tuple[JobState, int]]:
    """Return the jobs that are to end yet, as it stands: of a batch that was stopped, its runs."""
    if held == "paused":
        return []
    return [(s, n) for s, n in states.items() if (s in LIVE if held in STOPPED else not s.is_over)]


def _seconds_left(
    fields: dict[str, bytes], left: list[tuple[JobState, int]], seen: tuple[int, Capacity]
) -> float | None:
    if not left:
        return None
    now, capacity = seen
    ends, took = (float(fields.get(name, 0)) for name in ("rate_n", "rate_us"))
    silence = max(0.0, now - float(fields.get("rate_at", now)))
    pace = EndRate(ends, took / 1e6, silence / 1e6)
    all_run = all(state in LIVE for state, _ in left)
    seconds = seconds_left(sum(n for _, n in left), pace, capacity, all_run=all_run)
    return None if seconds is None else round(seconds, 1)


def _why_unknown(
    account: str, states: dict[JobState, int], held: str | None, capacity: Capacity, paused: str
) -> str | None:
    """Say why nobody knows when a batch is over; None = nothing of it is to end."""
    left = _left(states, held)
    if held == "paused":
        is_open = any(not state.is_over for state in states)
        return "the batch is paused" if is_open else None
    if not left:
        return None
    if paused == "?":
        return "more groups are paused than can be looked at, perhaps some of its own"
    if paused:
        where = "" if account == DEFAULT else f" --account {account}"
        resume = f"runqueue group set {paused}{where} --resume"
        return f"jobs of it wait in group {paused!r}, which is paused: `{resume}`"
    if math.isinf(capacity.hold_seconds) and any(state in _WAITING for state, _ in left):
        return "the account submits nothing until a person resumes it: see `runqueue stats`"
    return "no run has ended yet, so nobody knows how long one takes"


def _after(now_us: int, seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(now_us / 1e6, tz=UTC) + timedelta(seconds=seconds)
    except OverflowError:  # at a rate of next to nothing, beyond the year 9999
        return None


def _rules(fields: dict[str, bytes]) -> ActiveRules:
    abort, canary, expires_us = (fields.get(f) for f in ("abort", "canary", "expires_after"))
    return ActiveRules(
        abort_at_failure_ratio=float(abort) if abort else None,
        abort_after=int(fields["abort_after"]) if abort else None,
        canary=int(canary) if canary else None,
        canary_ratio=float(fields["canary_ratio"]) if canary else None,
        expires_after=int(expires_us) / 1e6 if expires_us else None,
        callback_at=tuple(map(float, fields.get("callback_at", b"").split())),
    )


def _callback(fields: dict[str, bytes]) -> BatchCallback | None:
    if "callback_url" not in fields:
        return None
    return BatchCallback(
        endpoint=endpoint_of(fields["callback_url"].decode()),
        pending=sum(name.startswith(_PENDING) for name in fields),
        delivered=int(fields.get("callbacks:delivered", 0)),
        gave_up=int(fields.get("callbacks:gave_up", 0)),
        error=text(fields.get("callback_error")),
    )
