"""Every call of the API: its method, path, name and handler."""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from simulator import side_routes
from simulator.api import RunApi
from simulator.faults import Route


class RouteCall(NamedTuple):
    """One call.

    Args:
        method: HTTP method.
        path: with the names of its variable parts in braces.
        name: in fault rules and in the ledger.
        answer: its handler.
        open: it needs no key.
    """

    method: str
    path: str
    name: Route
    answer: Callable[[RunApi, web.Request], Awaitable[web.Response]]
    open: bool = False


CALLS: tuple[RouteCall, ...] = (
    RouteCall("POST", "/v1/run/tasks", "run_task", RunApi.run_task),
    RouteCall("POST", "/v1/run/workflows", "run_workflow", RunApi.run_workflow),
    RouteCall("POST", "/v1/run/agents", "run_workflow", RunApi.run_workflow),
    RouteCall("POST", "/v1/run/tasks/login", "login", RunApi.login),
    RouteCall("POST", "/v1/run/tasks/download_files", "download_files", RunApi.download_files),
    RouteCall("GET", "/v1/runs", "list_runs", RunApi.list_runs),
    RouteCall("POST", "/v1/runs/cancel", "cancel_runs", RunApi.cancel_runs),
    RouteCall("GET", "/v1/runs/{run_id}", "get_run", RunApi.get_run),
    RouteCall("POST", "/v1/runs/{run_id}/cancel", "cancel_run", RunApi.cancel_run),
    RouteCall("POST", "/v1/runs/{run_id}/retry_webhook", "retry_webhook", RunApi.retry_webhook),
    RouteCall("GET", "/v1/workflows/runs", "workflow_runs", RunApi.workflow_runs),
    RouteCall("GET", "/v1/agents/runs", "agent_runs", RunApi.workflow_runs),
    RouteCall("GET", "/v1/workflows/runs/{run_id}", "workflow_run", RunApi.workflow_run),
    RouteCall("POST", "/v1/workflows/runs/{run_id}/retry", "retry_run", RunApi.retry_workflow_run),
    RouteCall(
        "POST", "/v1/workflows/runs/{run_id}/continue", "continue_run", RunApi.continue_workflow_run
    ),
    RouteCall("POST", "/v1/agents/runs/{run_id}/retry", "retry_run", RunApi.retry_workflow_run),
    RouteCall("GET", "/api/v1/tasks/{run_id}", "task", RunApi.task),
    RouteCall("POST", "/v1/workflows", "workflows", side_routes.create_workflow),
    RouteCall("POST", "/v1/agents", "workflows", side_routes.create_workflow),
    RouteCall("GET", "/v1/workflows/{workflow_id}", "workflows", side_routes.get_workflow),
    RouteCall("GET", "/v1/agents/{workflow_id}", "workflows", side_routes.get_workflow),
    RouteCall("GET", "/v1/runs/{run_id}/tags", "tags", side_routes.get_tags),
    RouteCall("POST", "/v1/runs/{run_id}/tags", "tags", side_routes.add_tags),
    RouteCall("DELETE", "/v1/runs/{run_id}/tags/{key}", "tags", side_routes.delete_tag),
    RouteCall("GET", "/v1/runs/{run_id}/timeline", "timeline", side_routes.get_timeline),
    RouteCall("GET", "/v1/runs/{run_id}/artifacts", "artifacts", side_routes.get_artifacts),
    RouteCall("POST", "/v1/browser_sessions", "sessions", side_routes.create_session),
    RouteCall("GET", "/v1/browser_sessions", "sessions", side_routes.list_sessions),
    RouteCall("GET", "/v1/browser_sessions/{session_id}", "sessions", side_routes.get_session),
    RouteCall(
        "POST", "/v1/browser_sessions/{session_id}/extend", "sessions", side_routes.extend_session
    ),
    RouteCall(
        "POST", "/v1/browser_sessions/{session_id}/close", "sessions", side_routes.close_session
    ),
    RouteCall("GET", "/v1/version", "version", side_routes.version, open=True),
    RouteCall("GET", "/api/v1/heartbeat", "version", side_routes.heartbeat, open=True),
)

_PATHS = re.compile(
    "|".join(re.sub(r"\{\w+\}", "[^/]+", path) for path in {call.path for call in CALLS})
)


def is_known(path: str) -> bool:
    """Whether some method is answered at a path."""
    return _PATHS.fullmatch(path) is not None
