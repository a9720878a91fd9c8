"""Numbers and times as the page shows them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from runqueue.records.waits import utc
from runqueue.store.audit import AuditEntry

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
#: Shown for unknown values (an en dash).
UNKNOWN: Final = "\u2013"
#: The size of a sparkline, in its own units.
WIDE, HIGH = 120, 24

#: Audited actions, in words.
DEEDS: Final = {
    "pause_account": "paused the account",
    "resume_account": "resumed the account",
    "set_limits": "set limits",
    "pause_group": "paused a group",
    "resume_group": "resumed a group",
    "limit_group": "limited a group",
    "set_group": "set a group",
    "set_key_limit": "set the limit of a key",
    "clear_key_limit": "cleared the limit of a key",
    "set_budget": "set a budget",
    "clear_budget": "cleared a budget",
    "pause_batch": "paused a batch",
    "resume_batch": "resumed a batch",
    "cancel_batch": "canceled a batch",
    "retry_failed": "retried what failed of a batch",
    "retry_callbacks": "had callbacks of a batch sent again",
    "apply_schedules": "applied schedules",
    "pause_schedule": "paused a schedule",
    "resume_schedule": "resumed a schedule",
    "fire_schedule": "had a schedule fire",
    "backfill_schedule": "had a schedule fire for past times",
    "remove_schedule": "removed a schedule",
    "cancel": "canceled jobs",
    "cancel_job": "canceled a job",
    "replay": "replayed jobs",
    "replay_job": "replayed a job",
    "discard": "discarded dead jobs",
    "adopt": "gave a job its run",
    "approve": "approved paused runs",
    "reject": "rejected paused runs",
    "resubmit": "had unconfirmed jobs submitted again",
    "fail": "failed unconfirmed jobs",
    "deliver": "had webhooks sent again",
    "confirm_delivery": "said that results have arrived",
    "cancel_orphans": "had orphan runs canceled",
    "repair_keys": "freed keys that ended jobs had",
    "inbox_retry": "put refused lines back",
    "inbox_discard": "threw refused lines away",
}


def number(value: float) -> str:
    """Return a number with thousands separators."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}".rstrip("0").rstrip(".")


def exact(value: float) -> str:
    """Return a number as text that parses to the same number."""
    return repr(float(value)).removesuffix(".0")


def per_minute(value: float | None) -> str:
    """Return a rate; an unknown one is a dash."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def span(seconds: float | None) -> str:
    """Return how long something takes, in two units at most."""
    if seconds is None:
        return UNKNOWN
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def in_unit(value: float | None, unit: str) -> str:
    """Return a figure of a chart: a share of 1, seconds, money, or a number of something."""
    if value is None:
        return UNKNOWN
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "money":
        return f"{value:,.2f}"
    if unit == "seconds":
        return f"{value:.1f} s" if value < 10 else span(round(value))
    return number(value)


def ago(moment: datetime | None) -> str:
    """Return how long ago a moment was, or when it will be."""
    if moment is None:
        return UNKNOWN
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"in {span(-seconds)}" if seconds < 0 else f"{span(seconds)} ago"


def utc_ms(moment: datetime) -> str:
    """Return a time as `utc` does, with its milliseconds."""
    day, _, zone = utc(moment).rpartition(" ")
    return f"{day}.{moment.microsecond // 1000:03d} {zone}"


def spark(values: Sequence[float]) -> str:
    """Return the points of a sparkline, the newest at the right edge."""
    if len(values) < 2:
        return ""
    top = max(values) or 1
    step = WIDE / (len(values) - 1)
    lift = HIGH - 2
    return " ".join(
        f"{n * step:.1f},{HIGH - 1 - value / top * lift:.1f}" for n, value in enumerate(values)
    )


def deed(entry: AuditEntry) -> str:
    """Return an action in words."""
    return DEEDS.get(entry.what, entry.what.replace("_", " "))
