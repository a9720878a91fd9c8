"""Browser sessions: made, read, extended, closed, and used by one run at a time.

They have no browser.
"""

import itertools
from dataclasses import dataclass

from simulator.model.fields import SessionFields
from simulator.model.plan import Plan
from simulator.model.runs import Run
from simulator.replies import ORGANIZATION, Json, RefusedError, stamp

#: Minutes: the longest that a session may be made for, and extended to.
_LONGEST, _LONGEST_EXTENDED = 1440, 2880
#: After so many seconds a run fails whose session is occupied.
_FAILS_SECONDS = 0.3
#: Fields that are null here: what they are about does not exist in the simulator.
_NULLS = (
    *("browser_address", "extensions", "browser_profile_id"),
    *("browser_settings", "browser_settings_receipt", "started_at", "created_by", "deleted_at"),
    *("warning", "remaining_lifetime_seconds"),
)


@dataclass(slots=True)
class BrowserSession:
    """One browser session; times are unix seconds."""

    session_id: str
    timeout: int | None
    browser_type: str | None
    generate_browser_profile: bool
    created: float
    modified: float
    completed: float | None = None
    user: Run | None = None

    def occupant(self, now: float) -> Run | None:
        """The run that has it at a time."""
        return self.user if self.user is not None and now < self.user.cleaned_up else None


class BrowserSessions:
    """The account's browser sessions.

    Args:
        release: seconds after a run's end for which it has its session still.
    """

    def __init__(self, release: float) -> None:
        self._release = release
        self._numbers = itertools.count(100_000_001)
        self._by_id: dict[str, BrowserSession] = {}

    def create(self, fields: SessionFields, now: float) -> BrowserSession:
        """Make a session.

        Raises:
            RefusedError: 404, its profile is unknown: there are none.
        """
        if fields.browser_profile_id:
            raise RefusedError(404, f"Browser profile {fields.browser_profile_id} not found")
        session = BrowserSession(
            session_id=f"pbs_{next(self._numbers)}",
            timeout=fields.timeout and min(fields.timeout, _LONGEST),
            browser_type=fields.browser_type,
            generate_browser_profile=fields.generate_browser_profile,
            created=now,
            modified=now,
        )
        self._by_id[session.session_id] = session
        return session

    def get(self, session_id: str) -> BrowserSession:
        """Find a session.

        Raises:
            RefusedError: 404, there is none.
        """
        if session_id not in self._by_id:
            raise RefusedError(404, f"Browser session {session_id} not found")
        return self._by_id[session_id]

    def live(self) -> list[BrowserSession]:
        """Those that are not closed, newest first."""
        sessions = reversed(self._by_id.values())
        return [session for session in sessions if session.completed is None]

    def extend(self, session_id: str, minutes: int, now: float) -> BrowserSession:
        """Give a session more time.

        Raises:
            RefusedError: 404, there is none; 409, it is closed.
        """
        session = self.get(session_id)
        if session.completed is not None:
            ended = "has already ended and can no longer be extended"
            raise RefusedError(409, f"Browser session {session_id} {ended}.")
        session.timeout = min((session.timeout or 0) + minutes, _LONGEST_EXTENDED)
        session.modified = now
        return session

    def close(self, session_id: str, now: float) -> None:
        """Close a session, once or again.

        Raises:
            RefusedError: 404, there is none.
        """
        session = self.get(session_id)
        if session.completed is None:
            session.completed = session.modified = now

    def begin(self, run: Run, at: float) -> None:
        """Give a run its session; one that finds it occupied fails at once."""
        session = self._by_id.get(run.submission.session_id or "")
        if session is None:
            return
        occupant = session.occupant(at)
        if occupant is None:
            session.user, run.clean_up = run, self._release
        elif occupant is not run:
            run.plan = Plan("failed", _FAILS_SECONDS)
            occupied = f"Browser session {session.session_id} is already occupied"
            run.occupied = (
                f"{occupied} by {_runnable(occupant)}."
                " Wait for that run to finish or cancel it, then retry."
            )

    def check(self, session_id: str | None) -> None:
        """Check that a run may use a session.

        Raises:
            RefusedError: 404, there is none; 410, it is closed.
        """
        if session_id is None:
            return
        session = self._by_id.get(session_id)
        if session is None:
            raise RefusedError(404, f"Browser session {session_id} does not exist or is not live.")
        if session.completed is not None:
            gone = f"Browser session {session_id} is no longer usable (status: completed)."
            raise RefusedError(410, gone)


def _runnable(run: Run) -> str:
    return run.hidden_id if run.submission.run_type == "task_v2" else run.run_id


def session_shown(session: BrowserSession, now: float, *, transport: bool = False) -> Json:
    """A session as the server shows it.

    Args:
        session: the session.
        now: unix seconds.
        transport: with the type of its live view, which only the answer for one session has.
    """
    occupant = session.occupant(now)
    return {
        "browser_session_id": session.session_id,
        "runnable_id": occupant and _runnable(occupant),
        "runnable_type": occupant
        and ("task" if _runnable(occupant).startswith("tsk_") else "workflow_run"),
        "organization_id": ORGANIZATION,
        "status": "created" if session.completed is None else "completed",
        "timeout": session.timeout,
        "app_url": f"https://app.skyvern.test/browser-session/{session.session_id}",
        "browser_type": session.browser_type,
        "generate_browser_profile": session.generate_browser_profile,
        "vnc_streaming_supported": False,
        "stream_transport": "cdp" if transport else None,
        "download_path": f"/downloads/{session.session_id}",
        "downloaded_files": [],
        "recordings": [],
        "completed_at": None if session.completed is None else stamp(session.completed),
        "created_at": stamp(session.created),
        "modified_at": stamp(session.modified),
        "source": "managed",
        **dict.fromkeys(_NULLS),
    }
