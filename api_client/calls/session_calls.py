"""Calls about browser sessions: browsers that outlive a run, and are paid for by the minute.

As in `calls.py`: arguments in, a `Call` out; each function is a method of both clients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from api_client.answers.parsing import parse_nothing, parse_session
from api_client.arguments import OMIT, Omit, RequestOptions, segment
from api_client.call import Call, CallKind, make_call
from api_client.types import BrowserSessionResponse, Proxy

SESSIONS_PATH = "v1/browser_sessions"


def create_browser_session(
    *,
    timeout: int | Omit | None = OMIT,
    url: str | Omit | None = OMIT,
    proxy_location: Proxy | Omit | None = OMIT,
    proxy_session_id: str | Omit | None = OMIT,
    extensions: Sequence[str] | Omit | None = OMIT,
    browser_type: str | Omit | None = OMIT,
    browser_profile_id: str | Omit | None = OMIT,
    generate_browser_profile: bool | Omit = OMIT,
    browser_settings: Mapping[str, Any] | Omit | None = OMIT,
    needs_live_view: bool | Omit = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[BrowserSessionResponse]:
    """Open a browser session (POST v1/browser_sessions); again only if it is known that none was.

    `OMIT`, the default, leaves an argument out; None is sent as null. A session whose answer was
    lost goes on until its timeout.

    Args:
        timeout: minutes that it may live, from its start.
        url, proxy_location, proxy_session_id, extensions, browser_type, browser_profile_id,
            generate_browser_profile, browser_settings, needs_live_view: as the run API describes
            them.
        request_options: as everywhere.
    """
    fields = {name: value for name, value in locals().items() if name != "request_options"}
    return make_call(
        CallKind.CHANGE,
        SESSIONS_PATH,
        parse_session,
        fields=fields,
        request_options=request_options,
        route="browser_sessions",
    )


def get_browser_session(
    browser_session_id: str, *, request_options: RequestOptions | None = None
) -> Call[BrowserSessionResponse]:
    """Read a browser session (GET v1/browser_sessions/{browser_session_id})."""
    return make_call(
        CallKind.READ,
        _session_path(browser_session_id),
        parse_session,
        request_options=request_options,
        route="browser_sessions",
    )


def extend_browser_session(
    browser_session_id: str,
    *,
    additional_minutes: int,
    request_options: RequestOptions | None = None,
) -> Call[BrowserSessionResponse]:
    """Let a browser session live longer (POST v1/browser_sessions/{browser_session_id}/extend).

    Each call adds; so it is made again only if it is known that nothing came of it. `timeout` of
    the answer is the session's new time in all; `warning` says if that is less than was requested.

    Args:
        browser_session_id: the session.
        additional_minutes: minutes to add, 1 or more.
        request_options: as everywhere.

    Raises (from the client): `ConflictError` when the session has ended or lives as long as it may.
    """
    return make_call(
        CallKind.CHANGE,
        _session_path(browser_session_id, "extend"),
        parse_session,
        fields={"additional_minutes": additional_minutes},
        request_options=request_options,
        route="extend_browser_session",
    )


def close_browser_session(
    browser_session_id: str, *, request_options: RequestOptions | None = None
) -> Call[None]:
    """Close a browser session (POST v1/browser_sessions/{browser_session_id}/close).

    One that is closed already answers the same. A run that is in it fails.
    """
    return make_call(
        CallKind.CHANGE,
        _session_path(browser_session_id, "close"),
        parse_nothing,
        request_options=request_options,
        route="browser_sessions",
    )


def _session_path(browser_session_id: str, action: str = "") -> str:
    path = f"{SESSIONS_PATH}/{segment(browser_session_id, 'browser_session_id')}"
    return f"{path}/{action}" if action else path
