"""When a job whose run ended badly is run again: data and one pure decision.

Never, unless the job requests it: a run costs money and does things on real sites. The names are
Google Cloud Tasks' (https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

#: What `retry_on` may name besides a request's own error codes.
RUN_STATUSES: Final = ("failed", "timed_out", "terminated")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, on what, and how patiently a job's run is tried again.

    Args:
        max_attempts: runs in all, the first included; 1 = never again.
        retry_on: run statuses (`failed`, `timed_out`, `terminated`) and codes of the request's
            `error_code_mapping`.
        min_backoff, max_backoff: seconds before the next run is submitted.
        max_doublings: how often the wait doubles, from `min_backoff`, before it stays the same.
    """

    max_attempts: int = 1
    retry_on: tuple[str, ...] = ("failed", "timed_out")
    min_backoff: float = 5.0
    max_backoff: float = 3600.0
    max_doublings: int = 16

    def stored(self) -> str:
        """Return the policy as a job's record keeps it."""
        return orjson.dumps(
            [
                self.max_attempts,
                list(self.retry_on),
                self.min_backoff,
                self.max_backoff,
                self.max_doublings,
            ]
        ).decode()

    @classmethod
    def read(cls, stored: str) -> Retry:
        """Read a policy as `stored` wrote it; '' = the default, never again."""
        if not stored:
            return cls()
        attempts, on, least, most, doublings = orjson.loads(stored)
        return cls(attempts, tuple(on), least, most, doublings)

    def backoff(self, runs: int, run_status: str, result: Any, chance: float) -> float | None:
        """Return after how many seconds to run a job again; None = its end is final.

        Args:
            runs: runs that have ended, this one included.
            run_status: how it ended.
            result: the run as the API shows it, parsed; its error codes are checked.
            chance: 0 to 1; the wait is between half and all of what the doubling gives, so that
                runs that failed together do not come back together.
        """
        if runs >= self.max_attempts or run_status not in RUN_STATUSES:
            return None
        if run_status not in self.retry_on and _codes(result).isdisjoint(self.retry_on):
            return None
        doublings = min(runs - 1, self.max_doublings)
        return min(self.min_backoff * 2.0**doublings, self.max_backoff) * (0.5 + chance / 2)


def _codes(result: Any) -> set[str]:
    """Return the error codes of a run; anything in another shape has none."""
    errors = result.get("errors") if isinstance(result, dict) else None
    if not isinstance(errors, list):
        return set()
    return {
        error["error_code"]
        for error in errors
        if isinstance(error, dict) and isinstance(error.get("error_code"), str)
    }
