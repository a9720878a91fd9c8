"""How runs end, in Skyvern's words and in ours."""

from typing import Final

#: What Skyvern calls the ends of a run, and what the job is then.
STATES: Final = {
    "completed": "completed",
    "canceled": "canceled",
    "failed": "failed",
    "terminated": "failed",
    "timed_out": "failed",
}
#: Characters of a run's failure reason that its job's record keeps, for lists and filters, which
#: read no results. The result has all of it.
REASON_CHARS: Final = 500


def short_reason(words: object) -> str:
    """Return the beginning of a run's failure reason, as a record keeps it; '' if it has none."""
    if not isinstance(words, str):
        return ""
    # Half a surrogate pair is no UTF-8.
    return words[:REASON_CHARS].encode(errors="replace").decode()
