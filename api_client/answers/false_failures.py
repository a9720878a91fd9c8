"""Runs that Skyvern calls failed although they completed. Pure functions.

On 1.0.40 a run of engine 2.0 that completed turns `failed` when its webhook met a transport
error: its reason is then that of the webhook, and its output is still there. On 1.0.56 the same
reason, beside an output, is on runs that did fail. So the version decides, and only one is
believed on which a test saw the former and not the latter (`tests/real/test_false_failures.py`).
"""

from collections.abc import Mapping
from typing import Any, Final

#: Versions on which a run with this reason and an output has completed.
FALSELY_FAILING_VERSIONS: Final = frozenset({"1.0.40"})

_REASON: Final = "Failed to run task 2.0: Failed to send webhook"


def looks_completed(run: Mapping[str, Any]) -> bool:
    """Say whether a run may be one that completed, by what its body shows.

    Args:
        run: the answer of a GET, or a webhook.
    """
    reason = run.get("failure_reason")
    return (
        run.get("status") == "failed"
        and run.get("run_type", "task_v2") == "task_v2"
        and isinstance(reason, str)
        and reason.startswith(_REASON)
        and run.get("output") is not None
    )


def reason_for(version: str) -> str:
    """Return what is said of such a run of a version that is known for it."""
    return f"completed: Skyvern {version} calls it failed, for its webhook was not delivered"
