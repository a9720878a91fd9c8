"""Browser sessions that are occupied: one run at a time may use one.

What a server does with a second run, and when it gives a session back, is in
`tests/real/test_browser_sessions.py`.
"""

import re
from collections.abc import Mapping
from typing import Any

from api_client.answers.parts import parse_json

#: Begins the refusal of a submission (400), and the failure reason of a run.
_OCCUPIED = re.compile(r"Browser session \S+ is already occupied by ")


def says_occupied(words: str | None) -> bool:
    """Say whether the server's words are that a browser session is another run's."""
    return words is not None and _OCCUPIED.match(words) is not None


def found_occupied(shown: Mapping[str, Any], session: str = "") -> bool:
    """Say whether a run failed in its first step, since its browser session was another run's.

    In that step a run gets its session, before it does anything. One that loses its session later
    fails with the same words, in another step.

    Args:
        shown: the run, as the API shows it: a task without its session (seen on 1.0.56).
        session: the browser session that its request names, as far as that is known.
    """
    reason, steps = shown.get("failure_reason"), shown.get("step_count")
    has_session = bool(session) or isinstance(shown.get("browser_session_id"), str)
    is_first = has_session and isinstance(steps, int) and steps <= 1
    return is_first and isinstance(reason, str) and says_occupied(reason)


def occupant_of(body: bytes) -> str | None:
    """Return the run that has a browser session, by the body of GET v1/browser_sessions/{id}.

    A 2.0 task has it under the id of the workflow run beneath it. None = no run has it, or the
    body does not say.
    """
    parsed = parse_json(body)
    occupant = parsed.get("runnable_id") if isinstance(parsed, dict) else None
    return occupant if isinstance(occupant, str) and occupant else None
