"""The calls a queue makes thousands of times: bytes in, a classified outcome out.

A submission or a read builds one request, sends it straight through the transport and parses the
answer once. Nothing is retried here and nothing raised: what came of a call is the value it
returns, and what to do about it is the caller's to decide.
"""

# A timeout here bounds one HTTP exchange and becomes an outcome; cancelling from outside
# (asyncio.timeout) could not tell "not connected" from "no answer".

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from time import monotonic
from typing import Final, Literal, TypeVar

import httpx

from api_client.answers.failures import read_answer, redirect_words
from api_client.answers.listings import (
    BulkCancellation,
    ListClass,
    RunPage,
    classify_bulk_cancel,
    classify_run_list,
)
from api_client.answers.occupied import occupant_of
from api_client.answers.outcomes import (
    CancelClass,
    Cancellation,
    ReadClass,
    RunReading,
    RunTags,
    Submission,
    SubmissionClass,
    WorkflowReading,
    classify_cancel,
    classify_exception,
    classify_failed_read,
    classify_run,
    classify_submission,
    classify_tags,
    classify_workflow,
    exception_words,
)
from api_client.answers.parts import is_json, parse_json, server_date, text_or_none
from api_client.answers.redelivery import (
    Reason,
    ReasonClass,
    Replay,
    ReplayClass,
    classify_reason_error,
    classify_replay,
)
from api_client.answers.server_clock import ServerClock
from api_client.arguments import Omit, json_body, query_string, run_path, segment, workflow_path
from api_client.calls.calls import (
    CANCEL_PATH,
    DOWNLOAD_FILES_PATH,
    LOGIN_PATH,
    MAX_PAGE_SIZE,
    REPLAY_TIMEOUT,
    RUNS_PATH,
    TASKS_PATH,
    WORKFLOWS_PATH,
)
from api_client.calls.sequences import reason_reads
from api_client.calls.session_calls import SESSIONS_PATH
from api_client.elapsed import elapsed
from api_client.errors import NotSupported, SkyvernError
from api_client.http.async_exchange import follow_redirects, send, sender_of
from api_client.http.messages import HttpAnswer, Request, RequestFactory
from api_client.http.transport import DEFAULT_TIMEOUT, AsyncTransport

RunKind = Literal["task", "workflow", "login", "download_files"]

#: Where a run of each kind is submitted.
SUBMIT_PATHS: Final[Mapping[RunKind, str]] = {
    "task": TASKS_PATH,
    "workflow": WORKFLOWS_PATH,
    "login": LOGIN_PATH,
    "download_files": DOWNLOAD_FILES_PATH,
}

#: Where a server reports its version.
VERSION_PATH: Final = "v1/version"

#: A run that does not exist.
_NO_RUN: Final = "tsk_0"
#: With a web page: the server knows no such address, or none that takes this method.
_OF_WEB_SERVERS = {404, 405, 501}

#: The list of runs, one item of it: the cheapest read that needs the key.
_KEY_CHECK_QUERY = "page=1&page_size=1"

_Outcome = TypeVar(
    "_Outcome", Submission, RunReading, Cancellation, RunPage, BulkCancellation, Replay, Reason
)


class RawClient:
    """One account's calls, as cheap as they come.

    Args:
        base_url: as in `RequestFactory`; a base URL or key that cannot be sent is a ValueError.
        api_key: the account's key; it appears in no outcome and no repr.
        transport: what sends, usually an `AsyncTransport`; shared, and closed by its owner.
    """

    def __init__(self, base_url: str, api_key: str, transport: httpx.AsyncBaseTransport) -> None:
        self.requests = RequestFactory(base_url, api_key)
        self._sender = sender_of(transport)
        self.server_clock = ServerClock()
        #: Whether any answer was JSON; see `check_address`.
        self.gave_json = False

    def __repr__(self) -> str:
        return f"RawClient({self.requests.base_url!r})"

    def drop_connections(self) -> None:
        """Use no connection again that there is now: see `AsyncTransport.drop_connections`."""
        if isinstance(self._sender, AsyncTransport):
            self._sender.drop_connections()

    async def submit(
        self,
        kind: RunKind,
        content: bytes,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Submission:
        """Submit a run, once.

        Args:
            kind: `task`, `workflow`, `login` or `download_files`.
            content: the JSON body, as it is to be sent.
            headers: more headers (`x-user-agent`, `x-max-steps-override`).
            query: an encoded query string, without the question mark.
            timeout: seconds for all of it, redirects included.
        """
        try:
            request = self.requests.make(
                "POST", SUBMIT_PATHS[kind], content, headers=headers, query=query, timeout=timeout
            )
        except ValueError as exc:
            # Nothing was sent, and nothing that can be sent will come of these arguments.
            return Submission(SubmissionClass.REFUSED, detail=exception_words(exc))
        outcome = await self._outcome(request, classify_submission, classify_exception)
        if outcome.outcome is SubmissionClass.ACCEPTED:
            self.server_clock.learn(outcome.server_date)
        return outcome

    async def get_run(self, run_id: str, timeout: float = DEFAULT_TIMEOUT) -> RunReading:
        """Read one run; `timeout` in seconds for all of it.

        An answer that names another run is trouble, and the connections there are are abandoned:
        it was another call's. A 2.0 task may be read by the id of the workflow run beneath it.

        Raises:
            ValueError: the run id is empty.
        """
        start = monotonic()
        request = self.requests.make("GET", run_path(run_id), timeout=timeout)
        reading = await self._outcome(request, classify_run, classify_failed_read)
        if _names_another(reading, run_id):
            self.drop_connections()
            request = replace(request, timeout=timeout - (monotonic() - start))
            reading = await self._outcome(request, classify_run, classify_failed_read)
            if _names_another(reading, run_id):
                words = "the answer was about another run"
                return RunReading(ReadClass.TROUBLE, detail=words, status_code=reading.status_code)
        if reading.outcome is ReadClass.RUN:
            self.server_clock.learn(reading.server_date)
        return reading

    async def cancel_run(self, run_id: str, timeout: float = DEFAULT_TIMEOUT) -> Cancellation:
        """Cancel a run; arguments and errors as in `get_run`."""
        return await self._tell(run_path(run_id, "cancel"), timeout)

    async def continue_run(self, run_id: str, timeout: float = DEFAULT_TIMEOUT) -> Cancellation:
        """Approve a paused workflow run: a hidden call (`tests/real/test_paused_runs.py`).

        Its outcome is read as that of a cancel; after TROUBLE it may have come. Arguments and
        errors as in `get_run`.
        """
        path = f"v1/workflows/runs/{segment(run_id, 'run_id')}/continue"
        return await self._tell(path, timeout)

    async def _tell(self, path: str, timeout: float) -> Cancellation:
        request = self.requests.make("POST", path, timeout=timeout)
        failed = _failed(Cancellation, CancelClass.TROUBLE)
        return await self._outcome(request, classify_cancel, failed)

    async def list_runs(
        self,
        *,
        search_key: str | None = None,
        status: Sequence[str] = (),
        tags: Sequence[str] = (),
        page: int = 1,
        page_size: int = MAX_PAGE_SIZE,
        timeout: float = DEFAULT_TIMEOUT,
        path: str = RUNS_PATH,
    ) -> RunPage:
        """Read one page of the account's runs, newest first; arguments as in `calls.list_runs`.

        Args:
            timeout: seconds for all of it.
            path: `WORKFLOW_RUNS_PATH` = of the list of workflow runs, which has no tags.
        """
        query = query_string(
            {
                "search_key": search_key,
                "status": list(status),
                "tags": list(tags),
                "page": page,
                "page_size": page_size,
            }
        )
        request = self.requests.make("GET", path, query=query, timeout=timeout)
        sent = elapsed()

        def read(status: int, body: bytes, headers: Mapping[str, str]) -> RunPage:
            date = server_date(headers)
            age = self.server_clock.age(date, sent)
            page = classify_run_list(status, body, headers, page_size, age)
            if page.outcome is ListClass.DONE:
                self.server_clock.learn(date)
            return page

        return await self._outcome(request, read, _failed(RunPage, ListClass.TROUBLE))

    async def get_workflow(
        self, workflow_id: str, timeout: float = DEFAULT_TIMEOUT
    ) -> WorkflowReading:
        """Read a workflow's definition, in its newest version; arguments as in `get_run`."""
        path = workflow_path(workflow_id)
        answer = await self._read_of(path, "workflow_permanent_id", workflow_id, timeout)
        return (
            WorkflowReading() if answer is None else classify_workflow(answer.status, answer.body)
        )

    async def get_run_tags(self, run_id: str, timeout: float = DEFAULT_TIMEOUT) -> RunTags:
        """Read the tags of a workflow run; arguments as in `get_run`."""
        answer = await self._read_of(run_path(run_id, "tags"), "workflow_run_id", run_id, timeout)
        return RunTags() if answer is None else classify_tags(answer.status, answer.body)

    async def session_occupant(
        self, browser_session_id: str, timeout: float = DEFAULT_TIMEOUT
    ) -> str | None:
        """Read which run has a browser session; None = none has it, or it cannot be read.

        Args:
            browser_session_id: the session.
            timeout: seconds for all of it.
        """
        path = f"{SESSIONS_PATH}/{segment(browser_session_id, 'browser_session_id')}"
        answer = await self._read_of(path, "browser_session_id", browser_session_id, timeout)
        return occupant_of(answer.body) if answer is not None and answer.is_success else None

    async def cancel_runs(
        self, run_ids: Sequence[str], timeout: float = DEFAULT_TIMEOUT
    ) -> BulkCancellation:
        """Cancel up to 100 runs; `timeout` in seconds for all of it."""
        content = json_body({"run_ids": list(run_ids)})
        request = self.requests.make("POST", CANCEL_PATH, content, timeout=timeout)
        failed = _failed(BulkCancellation, ListClass.TROUBLE)
        return await self._outcome(request, classify_bulk_cancel, failed)

    async def check_key(self, timeout: float = DEFAULT_TIMEOUT) -> bool | None:
        """Read one item of the list of runs, to see whether the key is allowed anything.

        Returns:
            True: allowed. False: refused (401, 403). None: it is not known, because the server
            has no such list or did not answer.
        """
        answer = await self._read(RUNS_PATH, timeout, _KEY_CHECK_QUERY)
        if answer is None or not (answer.is_success or answer.status in {401, 403}):
            return None
        return answer.is_success

    async def check_address(self, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Read a run that does not exist, to see whether the base URL leads to an API.

        Returns:
            What was answered instead of JSON ("200 with HTML"), by which this is no API; '' = it
            was JSON, or nothing was learned: only a success, a redirect, and a page of a web server
            that knows no such address or method is believed.
        """
        answer = await self._read(run_path(_NO_RUN), timeout)
        if answer is None or is_json(answer.body):
            return ""
        is_page = answer.status in _OF_WEB_SERVERS and _is_html(answer)
        return _shape(answer) if answer.is_success or answer.is_redirect or is_page else ""

    async def server_version(self, timeout: float = DEFAULT_TIMEOUT) -> str | None:
        """Read the server's version (`1.0.56`).

        Args:
            timeout: seconds for all of it.

        Returns:
            '' = the server has no such answer; None = nothing was learned, try again later.
        """
        answer = await self._read(VERSION_PATH, timeout)
        if answer is None or not answer.is_success:
            return "" if answer is not None and answer.status in {404, 405} else None
        parsed = parse_json(answer.body)
        return (text_or_none(parsed.get("version")) or "") if isinstance(parsed, dict) else ""

    async def retry_webhook(
        self, run_id: str, webhook_url: str | None = None, timeout: float = REPLAY_TIMEOUT
    ) -> Replay:
        """Have Skyvern send a run's webhook once more, within the call.

        Args:
            run_id: a run that is over; an empty id is a ValueError.
            webhook_url: where to, on newer servers; None = to the run's own URL.
            timeout: seconds for all of it; the receiver alone may take 60.
        """
        content = b"" if webhook_url is None else json_body({"webhook_url": webhook_url})
        path = run_path(run_id, "retry_webhook")
        request = self.requests.make("POST", path, content, timeout=timeout)
        failed = _failed(Replay, ReplayClass.TROUBLE)
        return await self._outcome(request, classify_replay, failed)

    async def webhook_failure_reason(
        self, run_id: str, permit: Callable[[], Awaitable[None]], timeout: float = DEFAULT_TIMEOUT
    ) -> Reason:
        """Read why Skyvern gave up on a run's webhook, wherever this server reports it.

        Args:
            run_id: the run.
            permit: waits for leave to make another call than the first.
            timeout: seconds for each call.
        """
        try:
            reason = await self._failure_reason(run_id, permit, timeout)
        except SkyvernError as exc:
            return self._without_key(classify_reason_error(exc, exception_words(exc)))
        return Reason(ReasonClass.REPORTED, reason=reason)

    async def _failure_reason(
        self, run_id: str, permit: Callable[[], Awaitable[None]], timeout: float
    ) -> str | None:
        reads = reason_reads(run_id)
        for read in reads:
            if read is not reads[0]:
                await permit()
            request = self.requests.make("GET", read.path, query=read.query, timeout=timeout)
            answer = await send(self._sender, request)
            try:
                reason = read_answer(read, request, answer, self.requests.without_key)
            except NotSupported:
                if read is reads[-1]:
                    raise
            else:
                if not isinstance(reason, Omit):
                    return reason
        raise NotSupported(f"this server does not report the webhook of run {run_id}")

    async def _outcome(
        self,
        request: Request,
        classify: Callable[[int, bytes, Mapping[str, str]], _Outcome],
        failed: Callable[[Exception], _Outcome],
    ) -> _Outcome:
        """Send a request once, and return what came of it.

        Args:
            request: the request.
            classify: says what its answer means: status, body and headers.
            failed: says what an exception means, by which no answer came.
        """
        start = monotonic()
        try:
            answer = await self._sender.exchange(request)
            if answer.is_redirect:
                answer = await follow_redirects(self._sender, request, answer, start)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is classified
            return self._without_key(failed(exc))
        self.gave_json = self.gave_json or is_json(answer.body)
        return self._without_key(classify(answer.status, answer.body, answer.headers))

    async def _read(self, path: str, timeout: float, query: str = "") -> HttpAnswer | None:
        """Make a GET; None = no answer came, so nothing was learned."""
        request = self.requests.make("GET", path, query=query, timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception:  # noqa: BLE001 - a read that failed is one to make again
            return None
        self.gave_json = self.gave_json or is_json(answer.body)
        return answer

    async def _read_of(self, path: str, field: str, name: str, timeout: float) -> HttpAnswer | None:
        """Read what the server says of something; None also if it says it of another, twice.

        Args:
            path: of the GET.
            field: the field in which a successful answer names what it is about.
            name: what is asked about.
            timeout: seconds for all of it.
        """
        start = monotonic()
        answer = await self._read(path, timeout)
        if answer is None or not answer.is_success or _names(answer.body, field, name):
            return answer
        self.drop_connections()
        again = await self._read(path, timeout - (monotonic() - start))
        if again is None or not again.is_success or _names(again.body, field, name):
            return again
        return None

    def _without_key(self, outcome: _Outcome) -> _Outcome:
        if not outcome.detail:  # as of nearly all
            return outcome
        detail = self.requests.without_key(outcome.detail)
        return outcome if detail == outcome.detail else replace(outcome, detail=detail)


def _failed(make: Callable[..., _Outcome], outcome: StrEnum) -> Callable[[Exception], _Outcome]:
    """Return what makes the outcome of a call that got no answer."""
    return lambda exc: make(outcome, detail=exception_words(exc))


def _is_html(answer: HttpAnswer) -> bool:
    return answer.body.lstrip().startswith(b"<")


def _shape(answer: HttpAnswer) -> str:
    """Say what an answer that is no JSON is, in our own words."""
    if answer.is_redirect:
        return f"{answer.status}{redirect_words(answer)}"
    what = "what is no JSON" if answer.body.strip() else "an empty body"
    if _is_html(answer):
        what = "HTML"
    return f"{answer.status} with {what}"


def _names(body: bytes, field: str, name: str) -> bool:
    parsed = parse_json(body)
    return isinstance(parsed, dict) and parsed.get(field) == name


def _names_another(reading: RunReading, run_id: str) -> bool:
    if reading.run_id == run_id or reading.run_id is None:
        return False
    where = text_or_none(reading.shown.get("app_url"))
    # A 2.0 task has the id of the workflow run beneath it there (`tests/real/test_conformance.py`).
    return (where or "").rpartition("/")[2] != run_id
