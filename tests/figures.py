"""An account's figures, as a test wants them."""

from runqueue.records.account import AccountStats
from runqueue.records.forecast import Capacity
from runqueue.records.job import JobState
from runqueue.request.job_spec import Priority


def stats(**changed: object) -> AccountStats:
    """An account's figures, with some of your own."""
    values: dict[str, object] = {
        "account": "default",
        "states": {JobState.READY: 5},
        "by_priority": {},
        "live": 2,
        "limits": {"concurrent_runs": 10, "submissions_per_second": 2, "requests_per_second": 10},
        "overridden": {},
        "seeded": {},
        "deliveries": {},
        "totals": {},
        "times": {},
        "oldest_ready_seconds": 1.5,
        "processes": 1,
        "orphans": 0,
        "orphans_live": 0,
        "pace": None,
        "full_pace": 2.0,
        "clock_lost": 0.0,
        "capacity": Capacity(),
        "in_line": {Priority.NORMAL: 5},
        "claimable": 5,
        "waited_for": 0,
        "shares_capacity": False,
        "others": None,
        "long_queued": 0,
        "refused_lines": 0,
        "permits": {"submission": 1, "request": 1},
        "hold_reason": None,
        "hold_seconds": 0.0,
        "hold_kind": "account"
        if changed.get("hold_reason") and not changed.get("paused")
        else None,
        "paused": False,
        "reads_failing_seconds": None,
        "reads_why": None,
        "paused_runs": 0,
        "quarantined": 0,
        "quarantined_ids": (),
        "archive": None,
        "damage": None,
        "waits_for": (),
        "jobs_wait_for": (),
    }
    return AccountStats(**{**values, **changed})  # type: ignore[arg-type]
