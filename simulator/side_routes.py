"""The calls around runs: workflows, tags, timelines, browser sessions, the version."""

from aiohttp import web

from simulator.api import RunApi
from simulator.bodies import read, read_optional
from simulator.model.fields import ExtendFields, SessionFields
from simulator.model.runs import Run
from simulator.model.sessions import session_shown
from simulator.model.tags import Tags, TagsFields
from simulator.model.workflows import WorkflowDefinitionFields, workflow_shown
from simulator.records import timeline
from simulator.replies import RefusedError, json_reply, not_found, stamp


async def create_workflow(api: RunApi, request: web.Request) -> web.Response:
    """`POST /v1/workflows`, with a `json_definition`."""
    fields = await read(WorkflowDefinitionFields, request)
    workflow = api.workflows.create(fields.json_definition, api.clock())
    return json_reply(workflow_shown(workflow))


async def get_workflow(api: RunApi, request: web.Request) -> web.Response:
    """`GET /v1/workflows/{workflow_id}`"""
    return json_reply(workflow_shown(api.workflows.get(request.match_info["workflow_id"])))


async def get_tags(api: RunApi, request: web.Request) -> web.Response:
    """`GET /v1/runs/{run_id}/tags`"""
    return _tags_shown(_tagged_run(api, request))


async def add_tags(api: RunApi, request: web.Request) -> web.Response:
    """`POST /v1/runs/{run_id}/tags`"""
    fields = await read(TagsFields, request)
    run = _tagged_run(api, request)
    run.tags = run.tags or Tags()
    run.tags.set(fields.tags)
    return _tags_shown(run)


async def delete_tag(api: RunApi, request: web.Request) -> web.Response:
    """`DELETE /v1/runs/{run_id}/tags/{key}`"""
    run = _tagged_run(api, request)
    if run.tags:
        run.tags.by_key.pop(request.match_info["key"], None)
    return _tags_shown(run)


async def get_timeline(api: RunApi, request: web.Request) -> web.Response:
    """`GET /v1/runs/{run_id}/timeline`"""
    run = api.run_of(request, "Run not found {}")
    kind = run.submission.run_type
    if kind not in ("workflow_run", "task_v2"):
        raise RefusedError(400, f"Timeline not available for run type {kind}")
    return json_reply(timeline(run, api.clock()))


async def get_artifacts(_api: RunApi, _request: web.Request) -> web.Response:
    """`GET /v1/runs/{run_id}/artifacts`: the simulator keeps none."""
    return json_reply([])


async def create_session(api: RunApi, request: web.Request) -> web.Response:
    """`POST /v1/browser_sessions`"""
    fields = await read_optional(SessionFields, request) or SessionFields()
    return json_reply(session_shown(api.sessions.create(fields, api.clock()), api.clock()))


async def list_sessions(api: RunApi, _request: web.Request) -> web.Response:
    """`GET /v1/browser_sessions`"""
    return json_reply([session_shown(one, api.clock()) for one in api.sessions.live()])


async def get_session(api: RunApi, request: web.Request) -> web.Response:
    """`GET /v1/browser_sessions/{session_id}`"""
    session = api.sessions.get(request.match_info["session_id"])
    return json_reply(session_shown(session, api.clock(), transport=True))


async def extend_session(api: RunApi, request: web.Request) -> web.Response:
    """`POST /v1/browser_sessions/{session_id}/extend`"""
    fields = await read(ExtendFields, request)
    session_id = request.match_info["session_id"]
    session = api.sessions.extend(session_id, fields.additional_minutes, api.clock())
    return json_reply(session_shown(session, api.clock()))


async def close_session(api: RunApi, request: web.Request) -> web.Response:
    """`POST /v1/browser_sessions/{session_id}/close`"""
    api.sessions.close(request.match_info["session_id"], api.clock())
    return json_reply({"message": "Browser session closed"})


async def version(api: RunApi, _request: web.Request) -> web.Response:
    """`GET /v1/version`, which needs no key."""
    return json_reply({"version": api.release.version})


async def heartbeat(_api: RunApi, _request: web.Request) -> web.Response:
    """`GET /api/v1/heartbeat`, which needs no key."""
    return web.Response(text="Server is running.")


def _tagged_run(api: RunApi, request: web.Request) -> Run:
    if not api.release.has_tags:
        raise not_found()
    return api.run_of(request, "Workflow run {} not found", kinds={"workflow_run"})


def _tags_shown(run: Run) -> web.Response:
    tags = (run.tags or Tags()).shown(stamp(run.created))
    return json_reply({"workflow_run_id": run.run_id, "tags": tags})
