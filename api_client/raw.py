"""The calls a queue makes thousands of times: bytes in, a classified outcome out.

A submission or a read builds one request, sends it straight through the transport and parses the
answer once. Nothing is retried here and nothing raised: what came of a call is the value it
returns, and what to do about it is the caller's to decide.
"""

# A timeout here bounds one HTTP exchange and becomes an outcome; cancelling from outside
# (asyncio.timeout) could not tell "not connected" from "no answer".

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Final, Literal, TypeVar, cast

import httpx

from api_client.answers.failures import read_answer
from api_client.answers.listings import (
    BulkCancellation,
    ListClass,
    RunPage,
    classify_bulk_cancel,
    classify_run_list,
)
from api_client.answers.outcomes import (
    CancelClass,
    Cancellation,
    ReadClass,
    RunReading,
    Submission,
    SubmissionClass,
    WorkflowReading,
    classify_cancel,
    classify_exception,
    classify_large_run,
    classify_run,
    classify_submission,
    classify_workflow,
    exception_words,
)
from api_client.answers.parts import parse_json, server_date, text_or_none
from api_client.answers.redelivery import (
    Reason,
    ReasonClass,
    Replay,
    ReplayClass,
    classify_reason_error,
    classify_replay,
)
from api_client.answers.run_times import ServerClock
from api_client.arguments import json_body, query_string, run_path, workflow_path
from api_client.call import Call
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
from api_client.calls.flows import webhook_failure_reason
from api_client.errors import BodyTooLargeError, SkyvernError
from api_client.http.exchange import async_sender, send
from api_client.http.request_builder import RequestFactory
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
        self._sender = async_sender(transport)
        self._server_clock = ServerClock()
        #: The first run that was answered by another id twice, that id, and whether others were.
        self._renamed: tuple[str, str] | None = None
        self._renames_runs = False

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
            request = self.requests.post(
                SUBMIT_PATHS[kind], content, headers=headers, query=query, timeout=timeout
            )
        except ValueError as exc:
            # Nothing was sent, and nothing that can be sent will come of these arguments.
            return Submission(SubmissionClass.REFUSED, detail=exception_words(exc))
        try:
            answer = await send(self._sender, request)
        except Exception as exc:  # noqa: BLE001 - whatever it is, a run may exist: it is classified
            return self._without_key(classify_exception(exc))
        outcome = classify_submission(answer.status, answer.body, answer.headers)
        if outcome.outcome is SubmissionClass.ACCEPTED:
            self._server_clock.learn(outcome.server_date)
        return self._without_key(outcome)

    async def get_run(self, run_id: str, timeout: float = DEFAULT_TIMEOUT) -> RunReading:
        """Read one run; `timeout` in seconds for all of it.

        An answer that names another run is trouble, and the connections there are are given up:
        it was another call's. A 2.0 task may be read by the id of the workflow run beneath it.
        Where two runs come by an other id of their own each, and again over new connections, that
        is how this server calls runs, and is believed from then on.

        Raises:
            ValueError: the run id is empty.
        """
        start = monotonic()
        reading = await self._get_run(run_id, timeout)
        if self._renames_runs or not _names_another(reading, run_id):
            return reading
        self.drop_connections()
        again = await self._get_run(run_id, timeout - (monotonic() - start))
        if not _names_another(again, run_id):
            return again
        if again.run_id == reading.run_id and self._is_renamed(run_id, str(again.run_id)):
            return again
        words = "the answer was about another run"
        return RunReading(ReadClass.TROUBLE, detail=words, status_code=again.status_code)

    def _is_renamed(self, requested: str, named: str) -> bool:
        # One answer that is repeated, to any number of runs, may be a proxy's that is in disorder.
        first = self._renamed = self._renamed or (requested, named)
        self._renames_runs |= first[0] != requested and first[1] != named
        return self._renames_runs

    async def _get_run(self, run_id: str, timeout: float) -> RunReading:
        request = self.requests.get(run_path(run_id), timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except BodyTooLargeError as exc:
            return self._without_key(classify_large_run(exc))
        except Exception as exc:  # noqa: BLE001 - a read that failed is one to make again
            return self._without_key(RunReading(ReadClass.TROUBLE, detail=exception_words(exc)))
        reading = classify_run(answer.status, answer.body, answer.headers)
        if reading.outcome is ReadClass.RUN:
            self._server_clock.learn(reading.server_date)
        return self._without_key(reading)

    async def cancel_run(self, run_id: str, timeout: float = DEFAULT_TIMEOUT) -> Cancellation:
        """Cancel a run; arguments and errors as in `get_run`."""
        request = self.requests.post(run_path(run_id, "cancel"), timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception as exc:  # noqa: BLE001 - the caller reads the run to see what came of it
            return self._without_key(Cancellation(CancelClass.TROUBLE, detail=exception_words(exc)))
        return self._without_key(classify_cancel(answer.status, answer.body, answer.headers))

    async def list_runs(
        self,
        *,
        search_key: str | None = None,
        status: Sequence[str] = (),
        tags: Sequence[str] = (),
        page: int = 1,
        page_size: int = MAX_PAGE_SIZE,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> RunPage:
        """Read one page of the account's runs, newest first; arguments as in `calls.list_runs`.

        Args:
            timeout: seconds for all of it.
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
        request = self.requests.get(RUNS_PATH, query=query, timeout=timeout)
        sent = monotonic()
        try:
            answer = await send(self._sender, request)
        except Exception as exc:  # noqa: BLE001 - a read that failed is one to make again
            return self._without_key(RunPage(ListClass.TROUBLE, detail=exception_words(exc)))
        date = server_date(answer.headers)
        age = self._server_clock.age(date, sent)
        read = classify_run_list(answer.status, answer.body, answer.headers, page_size, age)
        if read.outcome is ListClass.DONE:
            self._server_clock.learn(date)
        return self._without_key(read)

    async def get_workflow(
        self, workflow_id: str, timeout: float = DEFAULT_TIMEOUT
    ) -> WorkflowReading:
        """Read a workflow's definition, in its newest version; arguments as in `get_run`."""
        request = self.requests.get(workflow_path(workflow_id), timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception:  # noqa: BLE001 - a read that failed is one to make again
            return WorkflowReading()
        return classify_workflow(answer.status, answer.body)

    async def cancel_runs(
        self, run_ids: Sequence[str], timeout: float = DEFAULT_TIMEOUT
    ) -> BulkCancellation:
        """Cancel up to 100 runs; `timeout` in seconds for all of it."""
        content = json_body({"run_ids": list(run_ids)})
        request = self.requests.post(CANCEL_PATH, content, timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception as exc:  # noqa: BLE001 - the caller reads the runs to see what came of it
            detail = exception_words(exc)
            return self._without_key(BulkCancellation(ListClass.TROUBLE, detail=detail))
        return self._without_key(classify_bulk_cancel(answer.status, answer.body, answer.headers))

    async def check_key(self, timeout: float = DEFAULT_TIMEOUT) -> bool | None:
        """Read one item of the list of runs, to see whether the key is allowed anything.

        Returns:
            True: allowed. False: refused (401, 403). None: it is not known, because the server
            has no such list or did not answer.
        """
        request = self.requests.get(RUNS_PATH, query=_KEY_CHECK_QUERY, timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception:  # noqa: BLE001 - nothing was learned of the key
            return None
        if answer.status in {401, 403}:
            return False
        return True if answer.is_success else None

    async def server_version(self, timeout: float = DEFAULT_TIMEOUT) -> str | None:
        """Read the server's version (`1.0.56`).

        Args:
            timeout: seconds for all of it.

        Returns:
            '' = the server has no such answer; None = nothing was learned, try again later.
        """
        request = self.requests.get(VERSION_PATH, timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception:  # noqa: BLE001 - a read that failed is one to make again
            return None
        if not answer.is_success:
            return "" if answer.status in {404, 405} else None
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
        request = self.requests.post(run_path(run_id, "retry_webhook"), content, timeout=timeout)
        try:
            answer = await send(self._sender, request)
        except Exception as exc:  # noqa: BLE001 - it may have been sent: the caller decides
            return self._without_key(Replay(ReplayClass.TROUBLE, detail=exception_words(exc)))
        return self._without_key(classify_replay(answer.status, answer.body, answer.headers))

    async def webhook_failure_reason(
        self, run_id: str, permit: Callable[[], Awaitable[None]], timeout: float = DEFAULT_TIMEOUT
    ) -> Reason:
        """Read why Skyvern gave up on a run's webhook, wherever this server reports it.

        Args:
            run_id: the run.
            permit: waits for leave to make another call than the first.
            timeout: seconds for each call.
        """
        flow = webhook_failure_reason(run_id)
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._read(cast(Call[Any], step), timeout)
                except SkyvernError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
                await permit()
        except StopIteration as end:
            return Reason(ReasonClass.TOLD, reason=end.value)
        except SkyvernError as exc:
            return self._without_key(classify_reason_error(exc, exception_words(exc)))

    async def _read(self, call: Call[Any], timeout: float) -> Any:
        request = self.requests.get(call.path, query=call.query, timeout=timeout)
        answer = await send(self._sender, request)
        return read_answer(call, request, answer, self.requests.without_key)

    def _without_key(self, outcome: _Outcome) -> _Outcome:
        if not outcome.detail:  # as of nearly all
            return outcome
        detail = self.requests.without_key(outcome.detail)
        return outcome if detail == outcome.detail else replace(outcome, detail=detail)


def _names_another(reading: RunReading, run_id: str) -> bool:
    if reading.run_id in {None, run_id}:
        return False
    parsed = parse_json(reading.body)
    where = text_or_none(parsed.get("app_url")) if isinstance(parsed, dict) else None
    # A 2.0 task has the id of the workflow run beneath it there (`tests/real/test_conformance.py`).
    return (where or "").rpartition("/")[2] != run_id
