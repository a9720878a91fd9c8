"""The calls that submit, show, list and cancel runs."""

import asyncio
from collections.abc import Container
from itertools import islice
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from simulator.answers import errors, first_answer, list_item, run_answer
from simulator.bodies import checked, read, read_optional
from simulator.limits import SubmissionLimit
from simulator.model.fields import DownloadFields, LoginFields, TaskFields, WorkflowFields
from simulator.model.options import Options
from simulator.model.plan import PlanError
from simulator.model.releases import RELEASES
from simulator.model.runs import Run, RunType, Status
from simulator.model.search import ListQuery, OlderListQuery, find, find_workflow_runs
from simulator.model.store import Clock, Store
from simulator.model.submissions import (
    Prepared,
    block_of,
    block_submission,
    check_block,
    credential_of,
    task_submission,
    workflow_submission,
)
from simulator.model.tags import Terms, terms_of
from simulator.model.urls import normalised
from simulator.model.workflows import Workflows, workflow_shown
from simulator.records import task_record, workflow_record, workflow_run_record
from simulator.replies import Json, RefusedError, json_reply, not_found
from simulator.webhooks import Webhooks

#: What starts a run, by the header `x-user-agent`; else it is `api`.
_TRIGGERS = {"skyvern-ui": "manual", "skyvern-mcp": "mcp"}


class CancelFields(BaseModel):
    """The body of `POST /v1/runs/cancel`."""

    run_ids: list[str] = Field(max_length=100)


class RetryFields(BaseModel):
    """The optional body of `POST /v1/runs/{run_id}/retry_webhook`."""

    webhook_url: str | None = None


class RunQuery(BaseModel):
    """The query of `POST /v1/run/workflows`."""

    template: bool = False


class RunHeaders(BaseModel):
    """The headers of `POST /v1/run/workflows` that are read."""

    steps: Annotated[int | None, Field(alias="x-max-steps-override")] = None


class WorkflowRunsQuery(BaseModel):
    """The query of `GET /v1/workflows/runs`."""

    page: Annotated[int, Field(ge=1)] = 1
    page_size: Annotated[int, Field(ge=1)] = 10
    status: list[Status] | None = None
    search_key: Annotated[str | None, Field(max_length=500)] = None
    error_code: Annotated[str | None, Field(max_length=500)] = None


class RunApi:
    """One account's API.

    Args:
        options: the limit on submissions, the release that is imitated, whether runs are listed.
        store: the runs.
        webhooks: reports them.
        clock: unix seconds.
    """

    def __init__(self, options: Options, store: Store, webhooks: Webhooks, clock: Clock) -> None:
        self.release = RELEASES[options.version]
        self.workflows = Workflows(options.any_workflow, options.declared_parameters)
        self.sessions = store.sessions
        self.store = store
        self.clock = clock
        self._options = options
        self._webhooks = webhooks
        self._limit = SubmissionLimit(options)

    async def run_task(self, request: web.Request) -> web.Response:
        """`POST /v1/run/tasks`"""
        fields = await read(TaskFields, request)
        if fields.engine in self.release.lacks_engines:
            problem: Json = {"type": "enum", "loc": ["body", "engine"], "msg": "no engine"}
            raise RefusedError(422, [problem | {"input": fields.engine}])
        self._limit.check(self.clock())
        self.sessions.check(fields.browser_session_id)
        return self.create(request, task_submission(fields, any_profile=self._options.any_workflow))

    async def run_workflow(self, request: web.Request) -> web.Response:
        """`POST /v1/run/workflows` and `POST /v1/run/agents`"""
        fields = await read(WorkflowFields, request)
        query = checked(RunQuery, dict(request.query), "query")
        checked(RunHeaders, dict(request.headers), "header")
        self._limit.check(self.clock())
        if query.template:
            unknown = f"Invalid template workflow permanent id: {fields.workflow_id}."
            raise RefusedError(400, unknown)
        self.sessions.check(fields.browser_session_id)
        workflow = self.workflows.get(fields.workflow_id)
        return self.create(
            request, workflow_submission(fields, workflow, any_profile=self._options.any_workflow)
        )

    async def login(self, request: web.Request) -> web.Response:
        """`POST /v1/run/tasks/login`"""
        return await self._run_block(request, LoginFields, "Login")

    async def download_files(self, request: web.Request) -> web.Response:
        """`POST /v1/run/tasks/download_files`"""
        return await self._run_block(request, DownloadFields, "File Download")

    async def retry_workflow_run(self, request: web.Request) -> web.Response:
        """`POST /v1/workflows/runs/{run_id}/retry`: an extra run with the same parameters."""
        run = self.run_of(request, "Workflow run not found {}", kinds={"workflow_run"})
        if not run.is_over(self.clock()):
            raise RefusedError(400, "Only terminal workflow runs can be retried")
        self._limit.check(self.clock())
        echo = checked_echo(run)
        again = run.submission.replaced(tags=run.tags.by_key if run.tags else None)
        return self.create(request, Prepared(again, echo))

    async def continue_workflow_run(self, request: web.Request) -> web.Response:
        """`POST /v1/workflows/runs/{run_id}/continue`: a paused run goes on; no other is found."""
        missing = "Workflow run not found {}"
        run = self.run_of(request, missing, kinds={"workflow_run"})
        if run.status(self.clock()) != "paused":
            raise RefusedError(404, missing.format(run.run_id))
        self.store.approve(run)
        return json_reply(None)

    async def get_run(self, request: web.Request) -> web.Response:
        """`GET /v1/runs/{run_id}`"""
        run = self.run_of(request, "Task run not found {}")
        if run.submission.unreadable is not None:
            raise RefusedError(400, run.submission.unreadable)
        return self.reply(run_answer(run, self.clock()))

    async def list_runs(self, request: web.Request) -> web.Response:
        """`GET /v1/runs`"""
        if not self._options.list_supported:
            raise not_found()
        query = self._list_query(_query_of(request))
        terms = terms_of(query.tags or []) if self.release.has_tags else Terms()
        now = self.clock()
        inputs = self.release.searches_inputs
        found = find(self.store, query, terms, now, inputs=inputs)
        return self.reply([list_item(one, now) for one in found])

    async def cancel_run(self, request: web.Request) -> web.Response:
        """`POST /v1/runs/{run_id}/cancel`; the webhook is sent within the request."""
        run_id = request.match_info["run_id"]
        if not await self._cancel(run_id):
            error = self._known(run_id).error_of_a_cancel(self.release)
            return json_reply({"error": error}, status=500)
        return json_reply(None)

    async def cancel_runs(self, request: web.Request) -> web.Response:
        """`POST /v1/runs/cancel`; runs that cannot be canceled, or reported, count as failed."""
        fields = await read(CancelFields, request)
        cancelled: list[str] = []
        failed: list[str] = []

        async def cancel(run_id: str) -> None:
            try:
                (cancelled if await self._cancel(run_id) else failed).append(run_id)
            except RefusedError:
                failed.append(run_id)

        await asyncio.gather(*(cancel(run_id) for run_id in dict.fromkeys(fields.run_ids)))
        return json_reply({"cancelled": cancelled, "failed": failed})

    async def retry_webhook(self, request: web.Request) -> web.Response:
        """`POST /v1/runs/{run_id}/retry_webhook`: one try, made within the request."""
        fields = await read_optional(RetryFields, request)
        run = self.run_of(request, "Run {} not found")
        run_id = request.match_info["run_id"]
        if run.is_retry_pending(self.clock()):
            pending = "is not final; webhook replay is unavailable until it is final"
            raise RefusedError(409, f"Run {run_id} {pending}.")
        status = run.status(self.clock())
        if not run.is_over(self.clock()):
            live = f"has not reached a terminal state (status={status})"
            raise RefusedError(400, f"Run {run_id} {live}.")
        url = (fields and fields.webhook_url) or run.submission.webhook_url
        if not url:
            raise RefusedError(400, "No webhook URL configured for the run.")
        return json_reply(await self._webhooks.replay(run, normalised(url)))

    async def workflow_runs(self, request: web.Request) -> web.Response:
        """`GET /v1/workflows/runs` and `GET /v1/agents/runs`: workflow runs, newest first."""
        query, now = checked(WorkflowRunsQuery, _query_of(request), "query"), self.clock()

        def is_wanted(run: Run) -> bool:
            if query.status and run.status(now) not in query.status:
                return False
            codes = [error["error_code"] for error in errors(run, now)]
            return not query.error_code or query.error_code in codes

        by_url = self.release.searches_inputs
        found = find_workflow_runs(self.store, query.search_key or "", webhook_urls=by_url)
        first = (query.page - 1) * query.page_size
        wanted = (one for one in found if is_wanted(one.run))
        page = islice(wanted, first, first + query.page_size)
        return self.reply([workflow_run_record(one, now) for one in page])

    async def workflow_run(self, request: web.Request) -> web.Response:
        """`GET /v1/workflows/runs/{run_id}`"""
        run = self.run_of(request, "Workflow not found for workflow run {}", kinds={"workflow_run"})
        workflow = run.submission.workflow
        assert workflow is not None  # noqa: S101 # it is what such a run runs
        record = workflow_record(run, self.clock()) | {"workflow": workflow_shown(workflow)}
        names = {"agent_id": workflow.permanent_id, "agent_run_id": request.match_info["run_id"]}
        return self.reply(record | names)

    async def task(self, request: web.Request) -> web.Response:
        """`GET /api/v1/tasks/{run_id}`: tasks of every engine but 2.0."""
        kinds = set(RunType) - {RunType.TASK_V2, RunType.WORKFLOW_RUN}
        run = self.run_of(request, "Task {} not found", kinds=kinds)
        return json_reply(task_record(run, self.clock()))

    def run_of(
        self, request: web.Request, missing: str, *, kinds: Container[str] = frozenset(RunType)
    ) -> Run:
        """Find the run that a path names.

        Args:
            request: the request.
            missing: what is said if there is none.
            kinds: the types of runs that the call knows.

        Raises:
            RefusedError: 404, there is none.
        """
        run_id = request.match_info["run_id"]
        run = self.store.get(run_id)
        if run is None or run.submission.run_type not in kinds:
            raise RefusedError(404, missing.format(run_id))
        return run

    def create(self, request: web.Request, prepared: Prepared) -> web.Response:
        """Make a run and answer with it."""
        submission = prepared.submission
        if trigger := _TRIGGERS.get(request.headers.get("x-user-agent", "")):
            submission = submission.replaced(trigger_type=trigger)
        try:
            run = self.store.create(submission, request.headers["x-api-key"])
        except PlanError as problem:
            detail: Json = {"type": "value_error", "loc": ["body", problem.key]}
            detail["msg"] = problem.reason
            raise RefusedError(
                422, [detail | {"input": submission.forced.get(problem.key)}]
            ) from None
        return self.reply(first_answer(run, prepared.echo, self.clock()))

    def reply(self, content: object) -> web.Response:
        """Answer with the fields that the imitated release has."""
        return json_reply(self.release.shown(content))

    def _list_query(self, given: dict[str, object]) -> ListQuery:
        if self.release.filters:
            query = checked(ListQuery, given, "query")
            query.check_depth()
            return query
        older = checked(OlderListQuery, given, "query")
        return ListQuery.model_validate(older.model_dump())

    async def _run_block(
        self, request: web.Request, model: type[LoginFields] | type[DownloadFields], title: str
    ) -> web.Response:
        fields: LoginFields | DownloadFields = await read(model, request)
        self._limit.check(self.clock())
        self.sessions.check(fields.browser_session_id)
        check_block(fields, any_credential=self._options.any_credential)
        block, credential = block_of(fields), credential_of(fields)
        workflow = self.workflows.create_for(title, block, credential, self.clock())
        return self.create(
            request, block_submission(fields, workflow, any_profile=self._options.any_workflow)
        )

    async def _cancel(self, run_id: str) -> bool:
        """Cancel a run and report it; false if it is canceled but its receiver is not reached.

        Raises:
            RefusedError: 404, there is none; 400, it is a task that is over.
        """
        run = self._known(run_id)
        kind = run.submission.run_type
        if run.is_over(self.clock()):
            if kind != "workflow_run" and not self._may_cancel_again(run):
                return True
        else:
            self.store.cancel(run, report=False)
        attempt = await self._webhooks.report(run)
        return kind == "workflow_run" or attempt is None or attempt.status_code is not None

    def _known(self, run_id: str) -> Run:
        run = self.store.get(run_id)
        if run is None:
            raise RefusedError(404, f"Run not found {run_id}")
        return run

    def _may_cancel_again(self, run: Run) -> bool:
        """Whether canceling a task that is over is reported again.

        Raises:
            RefusedError: 400, it is of an engine that refuses it.
        """
        status = run.status(self.clock())
        if run.submission.run_type == "task_v2":
            return status == "canceled"
        why = f"from {status} to canceled for {run.run_id}"
        if status == "canceled":
            why = f"to canceled for {run.run_id} because task is already canceled"
        raise RefusedError(400, f"Invalid task status transition {why}")


def checked_echo(run: Run) -> bytes:
    """The echo of a run that is made again: its own, with the way it was run."""
    content = WorkflowFields.model_validate_json(run.submission.request)
    content.run_with = run.submission.run_with
    return content.model_dump_json().encode()


def _query_of(request: web.Request) -> dict[str, object]:
    """A query with every value of a name that may be repeated, and the last one of others."""
    lists = ("status", "run_type", "workflow_permanent_id", "tags")
    given: dict[str, object] = dict(request.query.items())
    return given | {name: request.query.getall(name) for name in lists if name in request.query}
