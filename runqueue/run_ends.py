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
