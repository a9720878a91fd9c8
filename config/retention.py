"""The setting KEEP: for how many days an account retains its ended jobs, by state."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from runqueue.records.job import JobState
from runqueue.records.retention import MOST_RETENTION_SECONDS, RETENTION_SECONDS

#: The states, and the days without the setting and at most.
STATES: Final = tuple(state.value for state in JobState if state.is_over)
DEFAULT_DAYS: Final = RETENTION_SECONDS // 86_400
MOST_DAYS: Final = MOST_RETENTION_SECONDS // 86_400
_PART = re.compile(rf"\s*({'|'.join(STATES)}):([0-9]{{1,3}})d\s*")


def days_by_state(text: str) -> dict[str, int]:
    """Return the days of every state; those that are not named have the default.

    Args:
        text: such as `completed:1d,failed:30d`; empty = no state is named.

    Raises:
        ValueError: it has another form, a state twice, or less than a day or more than a year.
    """
    parts = [_PART.fullmatch(part) for part in text.split(",")] if text.strip() else []
    named = {part[1]: int(part[2]) for part in parts if part}
    if len(named) < len(parts) or not all(1 <= days <= MOST_DAYS for days in named.values()):
        raise ValueError(
            "expected <state>:<days>d with commas between them, such as completed:1d,failed:30d:"
            f" each of {', '.join(STATES)} once at most, 1 to {MOST_DAYS} days"
        )
    return dict.fromkeys(STATES, DEFAULT_DAYS) | named


def _is_valid(text: str) -> str:
    days_by_state(text)
    return text


Keep = Annotated[str, AfterValidator(_is_valid)]
