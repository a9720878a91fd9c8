"""The calls of the Skyvern run API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from simulator.answers import list_item, run_answer, task_item, workflow_run_item
from simulator.faults import Route
from simulator.limits import SubmissionLimit
from simulator.options import Options
from simulator.plan import PlanError
from simulator.replies import Json, RefusedError, json_reply, not_found
from simulator.runs import Run, Submission
from simulator.search import ListQuery, find
from simulator.store import Clock, Store
from simulator.submissions import field_errors, parse, task_submission, workflow_submission
from simulator.webhooks import Webhooks


class CancelFields(BaseModel):
    """The body of `POST /v1/runs/cancel`."""

    run_ids: list[str] = Field(max_length=100)


class RetryFields(BaseModel):
    """The optional body of `POST /v1/runs/{run_id}/retry_webhook`."""

    webhook_url: str | None = None


class RunApi:
    """One account's API.

    Args:
        options: the limit on submissions, and whether runs can be listed.
        store: the runs.
        webhooks: what reports them.
        clock: unix seconds.
    """

    def __init__(self, options: Options, store: Store, webhooks: Webhooks, clock: Clock) -> None:
        self._options = options
        self._store = store
        self._webhooks = webhooks
        self._clock = clock
        self._limit = SubmissionLimit(options)

    async def run_task(self, request: web.Request) -> web.Response:
        """`POST /v1/run/tasks`"""
        body = await request.read()
        self._limit.check(self._clock())
        return self._create(request, task_submission(body))

    async def run_workflow(self, request: web.Request) -> web.Response:
        """`POST /v1/run/workflows` and `POST /v1/run/agents`"""
        body = await request.read()
        self._limit.check(self._clock())
        declared = self._options.declared_parameters
        return self._create(request, workflow_submission(body, declared))

    async def get_run(self, request: web.Request) -> web.Response:
        """`GET /v1/runs/{run_id}`"""
        return json_reply(run_answer(self._known_run(request), self._clock()))

    async def list_runs(self, request: web.Request) -> web.Response:
        """`GET /v1/runs`"""
        if not self._options.list_supported:
            raise not_found()
        given: dict[str, object] = dict(request.query)
        if "status" in given:
            given["status"] = request.query.getall("status")
        try:
            query = ListQuery.model_validate(given)
        except ValidationError as error:
            raise RefusedError(422, field_errors(error, "query")) from None
        now = self._clock()
        return json_reply([list_item(run, now) for run in find(self._store, query, now)])

    async def cancel_run(self, request: web.Request) -> web.Response:
        """`POST /v1/runs/{run_id}/cancel`; the webhook is sent within the request."""
        run = self._known_run(request)
        if not run.is_over(self._clock()):
            self._store.cancel(run, report=False)
        elif run.submission.kind == "task":
            status = run.status(self._clock())
            raise RefusedError(400, f"Run {run.run_id} is {status} already and cannot be canceled")
        attempt = await self._webhooks.report(run)
        if attempt is not None and not attempt.arrived:
            return json_reply({"error": f"Unexpected error: {attempt.error}"}, status=500)
        return json_reply(None)

    async def cancel_runs(self, request: web.Request) -> web.Response:
        """`POST /v1/runs/cancel`; what is unknown or over already counts as failed."""
        fields = parse(CancelFields, await request.read())
        cancelled, failed = [], []
        for run_id in fields.run_ids:
            run = self._store.get(run_id)
            if run is None or run.is_over(self._clock()):
                failed.append(run_id)
            else:
                self._store.cancel(run)
                cancelled.append(run_id)
        return json_reply({"cancelled": cancelled, "failed": failed})

    async def retry_webhook(self, request: web.Request) -> web.Response:
        """`POST /v1/runs/{run_id}/retry_webhook`: one try, made within the request."""
        run = self._known_run(request)
        body = await request.read()
        override = parse(RetryFields, body).webhook_url if body else None
        if run.is_retry_pending(self._clock()):
            raise RefusedError(409, f"A retry of run {run.run_id} is pending")
        if not run.is_over(self._clock()):
            raise RefusedError(400, f"Run {run.run_id} is not over yet")
        url = override or run.submission.webhook_url
        if url is None:
            raise RefusedError(400, f"Run {run.run_id} has no webhook URL")
        return json_reply(await self._webhooks.replay(run, url))

    async def agent_runs(self, request: web.Request) -> web.Response:
        """`GET /v1/agents/runs?search_key=`, here by a run's id alone."""
        run = self._store.get(request.query.get("search_key", ""))
        found = [run] if run is not None and run.submission.kind == "workflow" else []
        return json_reply([workflow_run_item(run, self._clock()) for run in found])

    async def workflow_run(self, request: web.Request) -> web.Response:
        """`GET /v1/workflows/runs/{run_id}`"""
        run = self._known_run(request)
        if run.submission.kind != "workflow":
            raise _unknown_run(run.run_id)
        return json_reply(workflow_run_item(run, self._clock()))

    async def task(self, request: web.Request) -> web.Response:
        """`GET /api/v1/tasks/{run_id}`"""
        run = self._known_run(request)
        if run.submission.kind != "task":
            raise _unknown_run(run.run_id)
        return json_reply(task_item(run, self._clock()))

    def _create(self, request: web.Request, submission: Submission) -> web.Response:
        try:
            run = self._store.create(submission, request.headers["x-api-key"])
        except PlanError as problem:
            detail: Json = {"type": "value_error", "loc": ["body", problem.key]}
            detail["msg"] = problem.reason
            raise RefusedError(
                422, [detail | {"input": submission.forced.get(problem.key)}]
            ) from None
        return json_reply(run_answer(run, self._clock()))

    def _known_run(self, request: web.Request) -> Run:
        run_id = request.match_info["run_id"]
        run = self._store.get(run_id)
        if run is None:
            raise _unknown_run(run_id)
        return run


def _unknown_run(run_id: str) -> RefusedError:
    return RefusedError(404, f"Run {run_id} not found")


Call = Callable[[RunApi, web.Request], Awaitable[web.Response]]

#: Every call: method, path, its name in fault rules and in the ledger, and what answers it.
CALLS: tuple[tuple[str, str, Route, Call], ...] = (
    ("POST", "/v1/run/tasks", "run_task", RunApi.run_task),
    ("POST", "/v1/run/workflows", "run_workflow", RunApi.run_workflow),
    ("POST", "/v1/run/agents", "run_workflow", RunApi.run_workflow),
    ("GET", "/v1/runs", "list_runs", RunApi.list_runs),
    ("POST", "/v1/runs/cancel", "cancel_runs", RunApi.cancel_runs),
    ("GET", "/v1/runs/{run_id}", "get_run", RunApi.get_run),
    ("POST", "/v1/runs/{run_id}/cancel", "cancel_run", RunApi.cancel_run),
    ("POST", "/v1/runs/{run_id}/retry_webhook", "retry_webhook", RunApi.retry_webhook),
    ("GET", "/v1/agents/runs", "agent_runs", RunApi.agent_runs),
    ("GET", "/v1/workflows/runs/{run_id}", "workflow_run", RunApi.workflow_run),
    ("GET", "/api/v1/tasks/{run_id}", "task", RunApi.task),
)
