"""How long a run may take: the job's own limit, what its body sets for Skyvern, or the account's.

A limit is a backstop against runs that hang for ever: the run is canceled and its job fails. So it
is longer than what Skyvern itself allows the run, and counts from the start of the run's current
attempt, as Skyvern's own limit does (a workflow may have a `retry_policy`).
"""

from collections.abc import Mapping
from typing import Any, Final

#: Longest `max_run_seconds` of a job: 30 days, as an account's.
MAX_RUN_SECONDS: Final = 30 * 86_400
#: Seconds that a run may take beyond Skyvern's own limit: it ends runs at that, and tidies up.
MARGIN_SECONDS: Final = 900


def own_limit_us(max_run_seconds: float | None, body: Mapping[str, Any]) -> int:
    """Return a job's own limit, microseconds; 0 = it has none, and the account's counts.

    Args:
        max_run_seconds: the job's option; None = not given.
        body: its run request; `max_elapsed_time_minutes` is Skyvern's own limit.
    """
    if max_run_seconds is not None:
        return round(max_run_seconds * 1_000_000)
    minutes = body.get("max_elapsed_time_minutes")
    if not isinstance(minutes, int) or isinstance(minutes, bool) or minutes <= 0:
        return 0
    return (minutes * 60 + MARGIN_SECONDS) * 1_000_000
