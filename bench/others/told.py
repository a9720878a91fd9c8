"""What a rival's program is told by its environment and its input; imports nothing but Python."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

BASE_URL = os.environ["SKYVERN_BASE_URL"]
HEADERS = {"x-api-key": os.environ["SKYVERN_API_KEY"]}
REDIS_URL = os.environ["RUNQUEUE_BROKER_URL"]

#: Seconds between two looks at a run; 0 = the first look follows its submission at once.
LOOK_SECONDS = float(os.environ.get("LOOK_SECONDS", "1"))
#: Calls, or tasks, that one worker has open at once.
AT_ONCE = int(os.environ.get("AT_ONCE", "100"))
#: Submissions a second; 0 = no limit.
RATE = int(os.environ.get("RATE", "0"))

#: Tries of one submission, and the most seconds between two of them.
TRIES, LONGEST_BACKOFF = 10, 10

_OVER = frozenset({"completed", "failed", "terminated", "timed_out", "canceled"})


def is_over(answer: dict[str, Any]) -> bool:
    """Tell whether the answer to a look says that the run has ended."""
    return answer["status"] in _OVER


def bodies() -> Iterator[dict[str, Any]]:
    """Read the request bodies that are to be submitted, one a line of stdin."""
    return map(json.loads, sys.stdin)
